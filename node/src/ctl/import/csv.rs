//! Comma-separated values (RFC 4180): quotes, doubled quotes, line breaks in quotes.

use super::{Read, row};

/// Most columns of a file.
const MAX_COLUMNS: usize = 128;

/// Reads devices; the first record is the heading.
pub(super) fn devices(text: &str) -> Result<Read, String> {
    let mut records = Records { rest: text, line: 1 };
    let (_, heading) = records.next().unwrap_or_else(|| Err("line 1: there is no heading".into()))?;
    let heading: Vec<String> = heading.iter().map(|name| name.trim().to_owned()).collect();
    if let Some(twice) = heading.iter().enumerate().find(|(at, name)| heading[..*at].contains(name)) {
        return Err(format!("line 1: the column {} comes twice", twice.1));
    }
    let mut read = Read::default();
    for record in records {
        let (line, cells) = record?;
        if cells.len() != heading.len() {
            return Err(format!("line {line}: has {} cells, the heading {}", cells.len(), heading.len()));
        }
        let device = row::device(heading.iter().cloned().zip(cells));
        read.devices.push(device.map_err(|fault| format!("line {line}: {fault}"))?);
    }
    Ok(read)
}

/// The records of a text, each with the line on which it begins. Empty lines are passed over.
struct Records<'a> {
    rest: &'a str,
    line: usize,
}

impl Iterator for Records<'_> {
    type Item = Result<(usize, Vec<String>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(rest) = self.rest.strip_prefix("\r\n").or_else(|| self.rest.strip_prefix('\n')) {
            self.rest = rest;
            self.line += 1;
        }
        if self.rest.is_empty() {
            return None;
        }
        let begin = self.line;
        let mut cells = Vec::new();
        loop {
            let cell = match self.rest.strip_prefix('"') {
                Some(quoted) => self.quoted(quoted),
                None => Ok(self.plain()),
            };
            match cell {
                Ok(cell) if cells.len() < MAX_COLUMNS => cells.push(cell),
                Ok(_) => return self.give_up(format!("line {begin}: more than {MAX_COLUMNS} cells")),
                Err(fault) => return self.give_up(fault),
            }
            if let Some(rest) = self.rest.strip_prefix(',') {
                self.rest = rest;
            } else if self.rest.is_empty() || self.rest.starts_with(['\r', '\n']) {
                return Some(Ok((begin, cells)));
            } else {
                return self.give_up(format!("line {}: text behind a closing quote", self.line));
            }
        }
    }
}

impl Records<'_> {
    fn give_up(&mut self, fault: String) -> Option<Result<(usize, Vec<String>), String>> {
        self.rest = "";
        Some(Err(fault))
    }

    fn plain(&mut self) -> String {
        let end = self.rest.find([',', '\r', '\n']).unwrap_or(self.rest.len());
        let (cell, rest) = self.rest.split_at(end);
        self.rest = rest;
        cell.to_owned()
    }

    fn quoted(&mut self, mut text: &str) -> Result<String, String> {
        let begin = self.line;
        let mut cell = String::new();
        loop {
            let (before, behind) =
                text.split_once('"').ok_or_else(|| format!("line {begin}: a quote is not closed"))?;
            self.line += before.matches('\n').count();
            cell.push_str(before);
            match behind.strip_prefix('"') {
                Some(rest) => {
                    cell.push('"');
                    text = rest;
                }
                None => {
                    self.rest = &self.rest[self.rest.len() - behind.len()..];
                    return Ok(cell);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(text: &str) -> Result<Vec<Vec<String>>, String> {
        Records { rest: text, line: 1 }.map(|record| record.map(|(_, cells)| cells)).collect()
    }

    #[test]
    fn quotes_keep_commas_quotes_and_line_breaks() {
        let read = cells("a,\"b,\"\"c\"\"\r\nd\",\r\n\n,e").unwrap();
        assert_eq!(read, [vec!["a", "b,\"c\"\r\nd", ""], vec!["", "e"]]);
    }

    #[test]
    fn broken_quotes_are_refused_with_their_line() {
        assert!(cells("a\n\"b").unwrap_err().contains("line 2"));
        assert!(cells("\"a\"b").unwrap_err().contains("behind a closing quote"));
    }

    #[test]
    fn a_file_becomes_devices() {
        let read = devices("endpoint,profile,psk_hex\r\na,lamp,00ff\nb,,\n").unwrap();
        assert_eq!(read.devices.len(), 2);
        assert_eq!(read.devices[0].profile, "lamp");
        assert_eq!(read.devices[1].credential, None);
    }

    #[test]
    fn a_record_of_another_length_is_refused() {
        assert!(devices("endpoint,profile\na").unwrap_err().contains("line 2: has 1 cells"));
        assert!(devices("endpoint,endpoint\na,a").unwrap_err().contains("comes twice"));
        assert!(devices("").is_err());
    }
}
