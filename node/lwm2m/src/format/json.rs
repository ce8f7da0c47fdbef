//! A JSON reader (RFC 8259) that keeps integers whole, borrows strings and says where it stopped.

use std::borrow::Cow;
use std::fmt::Display;

use super::raw::Raw;
use super::{DecodeError, Limit, Reason};

pub(super) struct Reader<'a> {
    text: &'a str,
    position: usize,
    max_depth: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(payload: &'a [u8], max_depth: usize) -> Result<Reader<'a>, DecodeError> {
        match str::from_utf8(payload) {
            Ok(text) => Ok(Reader { text, position: 0, max_depth }),
            Err(e) => Err(DecodeError::Malformed { offset: e.valid_up_to(), reason: Reason::Utf8 }),
        }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Goes back to a [`position`](Self::position).
    pub(super) fn rewind(&mut self, position: usize) {
        self.position = position;
    }

    pub(super) fn malformed(&self, reason: Reason) -> DecodeError {
        DecodeError::Malformed { offset: self.position, reason }
    }

    /// What is next after white space; the end is an error.
    fn peek(&mut self) -> Result<u8, DecodeError> {
        let rest = &self.text.as_bytes()[self.position..];
        let space = rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')).count();
        self.position += space;
        rest.get(space).copied().ok_or(self.malformed(Reason::Truncated))
    }

    fn take(&mut self, expected: u8) -> Result<bool, DecodeError> {
        let found = self.peek()? == expected;
        self.position += usize::from(found);
        Ok(found)
    }

    fn expect(&mut self, expected: u8) -> Result<(), DecodeError> {
        if self.take(expected)? { Ok(()) } else { Err(self.malformed(Reason::Unexpected)) }
    }

    /// Calls `element` at each element, which it has to read.
    pub(super) fn array(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        self.expect(b'[')?;
        if self.take(b']')? {
            return Ok(());
        }
        loop {
            element(self)?;
            if self.take(b']')? {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    /// Calls `member` at each value, which it has to read.
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        self.expect(b'{')?;
        if self.take(b'}')? {
            return Ok(());
        }
        loop {
            let key = self.string()?;
            self.expect(b':')?;
            member(self, key)?;
            if self.take(b'}')? {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    /// Reads into `slot`, which must be free.
    pub(super) fn once<T>(
        &mut self,
        slot: &mut Option<T>,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<(), DecodeError> {
        if slot.is_some() {
            return Err(self.malformed(Reason::Repeated));
        }
        *slot = Some(read(self)?);
        Ok(())
    }

    /// Borrowed unless it has escapes.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        self.expect(b'"')?;
        let mut whole = String::new();
        loop {
            let start = self.position;
            let rest = &self.text.as_bytes()[start..];
            let plain = rest.iter().take_while(|b| !matches!(b, b'"' | b'\\' | 0..0x20)).count();
            self.position += plain;
            let piece = &self.text[start..self.position];
            match rest.get(plain) {
                Some(b'"') => {
                    self.position += 1;
                    return Ok(if whole.is_empty() { piece.into() } else { (whole + piece).into() });
                }
                Some(b'\\') => {
                    whole.push_str(piece);
                    self.position += 1;
                    whole.push(self.escape()?);
                }
                Some(_) => return Err(self.malformed(Reason::Unexpected)),
                None => return Err(self.malformed(Reason::Truncated)),
            }
        }
    }

    fn escape(&mut self) -> Result<char, DecodeError> {
        let letter = self.text.as_bytes().get(self.position).ok_or(self.malformed(Reason::Truncated))?;
        self.position += 1;
        Ok(match letter {
            b'"' | b'\\' | b'/' => char::from(*letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return Err(self.malformed(Reason::Unexpected)),
        })
    }

    fn unicode(&mut self) -> Result<char, DecodeError> {
        let mut code = self.hex4()?;
        if (0xd800..0xdc00).contains(&code) && self.text[self.position..].starts_with("\\u") {
            self.position += 2;
            let low = self.hex4()?.wrapping_sub(0xdc00);
            code = if low < 0x400 { 0x1_0000 + ((code - 0xd800) << 10) + low } else { u32::MAX };
        }
        char::from_u32(code).ok_or(self.malformed(Reason::Utf8))
    }

    fn hex4(&mut self) -> Result<u32, DecodeError> {
        let digits = self.text.as_bytes().get(self.position..self.position + 4);
        let digits = digits.ok_or(self.malformed(Reason::Truncated))?;
        let code = digits.iter().try_fold(0, |code, d| Some(code << 4 | char::from(*d).to_digit(16)?));
        let code = code.ok_or(self.malformed(Reason::Unexpected))?;
        self.position += 4;
        Ok(code)
    }

    /// Integers up to 2^127 stay whole; anything else is the nearest double and must be finite.
    pub(super) fn number(&mut self) -> Result<Raw<'a>, DecodeError> {
        self.peek()?;
        let rest = &self.text[self.position..];
        let len = number_len(rest.as_bytes()).ok_or(self.malformed(Reason::Number))?;
        let token = &rest[..len];
        let raw = match token.parse::<i128>() {
            // −0 keeps its sign as a float only.
            Ok(0) if token.starts_with('-') => Raw::Float(-0.0),
            Ok(number) => Raw::Integer(number),
            Err(_) => {
                let float: Option<f64> = token.parse().ok();
                Raw::Float(float.filter(|f| f.is_finite()).ok_or(self.malformed(Reason::Number))?)
            }
        };
        self.position += len;
        Ok(raw)
    }

    pub(super) fn boolean(&mut self) -> Result<bool, DecodeError> {
        match self.peek()? {
            b't' => self.word("true").map(|()| true),
            _ => self.word("false").map(|()| false),
        }
    }

    /// Takes `null` if it is next.
    pub(super) fn null(&mut self) -> Result<bool, DecodeError> {
        match self.peek()? {
            b'n' => self.word("null").map(|()| true),
            _ => Ok(false),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), DecodeError> {
        if !self.text[self.position..].starts_with(word) {
            return Err(self.malformed(Reason::Unexpected));
        }
        self.position += word.len();
        Ok(())
    }

    /// Passes over one value of any kind.
    pub(super) fn skip(&mut self, depth: usize) -> Result<(), DecodeError> {
        self.check_depth(depth)?;
        match self.peek()? {
            b'{' => self.object(|reader, _| reader.skip(depth + 1)),
            b'[' => self.array(|reader| reader.skip(depth + 1)),
            b'"' => self.string().map(drop),
            b'n' => self.null().map(drop),
            b't' | b'f' => self.boolean().map(drop),
            _ => self.number().map(drop),
        }
    }

    pub(super) fn check_depth(&self, depth: usize) -> Result<(), DecodeError> {
        if depth < self.max_depth {
            return Ok(());
        }
        Err(DecodeError::Limit { limit: Limit::Depth, max: self.max_depth })
    }

    /// Nothing but white space may follow.
    pub(super) fn end(&mut self) -> Result<(), DecodeError> {
        match self.peek() {
            Ok(_) => Err(self.malformed(Reason::Trailing)),
            Err(_) => Ok(()),
        }
    }
}

/// The length of a number by JSON's grammar, which knows neither `+1` nor `01`, `.5` or `5.`.
fn number_len(bytes: &[u8]) -> Option<usize> {
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 || (whole > 1 && bytes[at] == b'0') {
        return None;
    }
    at += whole;
    if bytes.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        at += 1 + (fraction > 0).then_some(fraction)?;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at);
        at += (exponent > 0).then_some(exponent)?;
    }
    Some(at)
}

/// Appends `"key":value` pairs to an object, each after its comma.
pub(super) struct Writer {
    out: String,
}

impl Writer {
    pub(super) fn new(open: &str) -> Writer {
        Writer { out: open.to_owned() }
    }

    pub(super) fn finish(mut self, close: &str) -> Vec<u8> {
        self.out.push_str(close);
        self.out.into_bytes()
    }

    /// As it is; with a comma before it when something stands there.
    pub(super) fn open(&mut self, bracket: &str) {
        self.comma();
        self.out.push_str(bracket);
    }

    pub(super) fn close(&mut self, bracket: char) {
        self.out.push(bracket);
    }

    fn comma(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with(['{', '[', ':']) {
            self.out.push(',');
        }
    }

    /// A number or a word, as it prints itself.
    pub(super) fn plain(&mut self, key: &str, value: impl Display) {
        self.comma();
        self.out.push_str(&format!("\"{key}\":{value}"));
    }

    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.plain(key, quoted(value));
    }

    /// Finite floats only, in the shortest form that reads back the same.
    pub(super) fn float(&mut self, key: &str, value: f64) {
        self.plain(key, format_args!("{value:?}"));
    }

    /// A Unix time: an integer where it is one.
    pub(super) fn time(&mut self, key: &str, time: f64) {
        self.plain(key, time);
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1f}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T>(
        text: &str,
        read: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let mut reader = Reader::new(text.as_bytes(), 16)?;
        let value = read(&mut reader)?;
        reader.end()?;
        Ok(value)
    }

    #[test]
    fn integers_stay_whole() {
        let number = |text| read(text, |r| r.number()?.typed(crate::path::Path::ROOT, None));
        use crate::value::Value;
        assert_eq!(number(" -9223372036854775808 "), Ok(Value::Integer(i64::MIN)));
        assert_eq!(number("18446744073709551615"), Ok(Value::Unsigned(u64::MAX)));
        assert_eq!(number("1.5e3"), Ok(Value::Float(1500.0)));
        assert_eq!(number("1E400"), Err(DecodeError::Malformed { offset: 0, reason: Reason::Number }));
        for text in ["01", "+1", ".5", "5.", "1e", "-", "NaN", "0x1", "--1"] {
            assert!(number(text).is_err(), "{text}");
        }
    }

    #[test]
    fn strings_read_back_as_written() {
        for text in ["", "plain", "a \"test\"", "\u{0}\n\t\\/", "é 🦀"] {
            assert_eq!(read(&quoted(text), |r| r.string().map(Cow::into_owned)).unwrap(), text);
        }
        let crab = read(r#""\ud83e\udd80\u00e9\/""#, |r| r.string().map(Cow::into_owned));
        assert_eq!(crab.unwrap(), "🦀é/");
        for text in [r#""\ud83e""#, r#""\udd80""#, r#""\ud83e\u0041""#, r#""\x""#, "\"\n\"", "\"open"] {
            assert!(read(text, |r| r.string().map(drop)).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_skipped_is_checked_and_bounded() {
        assert_eq!(read(r#"{"a":[1,{"b":null}],"c":[true,false,[]]}"#, |r| r.skip(0)), Ok(()));
        for text in ["{", "[1,]", "{\"a\"}", "[1 2]", "nul", "{1:2}", "[]]"] {
            assert!(read(text, |r| r.skip(0)).is_err(), "{text}");
        }
        let deep = "[".repeat(100_000);
        let limit = DecodeError::Limit { limit: Limit::Depth, max: 16 };
        assert_eq!(read(&deep, |r| r.skip(0)), Err(limit));
    }
}
