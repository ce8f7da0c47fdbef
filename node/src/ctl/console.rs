//! What is written: tables for people, JSON for scripts.

use std::{
    io::{self, Write},
    sync::LazyLock,
};

use clap::ValueEnum;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

use super::fault::CtlError;

/// How results are written.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Tables, for people.
    #[default]
    Table,
    /// One JSON document per line, as Protobuf's JSON mapping has it, for scripts.
    Json,
}

/// Where results and faults go.
pub(super) struct Console<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    format: Format,
    terminal: bool,
}

impl<'a> Console<'a> {
    pub(super) fn new(
        out: &'a mut dyn Write,
        err: &'a mut dyn Write,
        format: Format,
        terminal: bool,
    ) -> Self {
        Self { out, err, format, terminal }
    }

    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether a table may redraw itself.
    pub(super) fn is_live(&self) -> bool {
        self.terminal && !self.is_json()
    }

    /// Writes a message as one line of JSON. `name` is its full name, "godwit.v1.Device".
    pub(super) fn message(&mut self, name: &str, message: &impl Message) -> io::Result<()> {
        self.json(&json(name, message))
    }

    pub(super) fn json(&mut self, value: &Value) -> io::Result<()> {
        writeln!(self.out, "{value}")?;
        self.out.flush()
    }

    pub(super) fn table(&mut self, table: &Table) -> io::Result<()> {
        write!(self.out, "{}", table.render())?;
        self.out.flush()
    }

    pub(super) fn line(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "{line}")?;
        self.out.flush()
    }

    /// Writes what stands beside the results: notes and warnings.
    pub(super) fn note(&mut self, note: &str) -> io::Result<()> {
        writeln!(self.err, "{note}")
    }

    pub(super) fn fault(&mut self, error: &CtlError) -> io::Result<()> {
        if self.is_json() {
            return writeln!(self.err, "{}", error.json());
        }
        writeln!(self.err, "error: {error}")?;
        let CtlError::Status(status) = error else { return Ok(()) };
        match super::fault::reason(status) {
            Some(reason) => writeln!(self.err, "reason: {reason}"),
            None => Ok(()),
        }
    }
}

/// A message by Protobuf's JSON mapping. Fields with their defaults are left out, 64-bit numbers are strings.
pub(super) fn json(name: &str, message: &impl Message) -> Value {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        DescriptorPool::decode(godwit_proto::DESCRIPTORS)
            .expect("invariant: descriptors that were compiled in can be read")
    });
    let descriptor = POOL.get_message_by_name(name).expect("invariant: the name is one of our messages");
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .expect("invariant: a message is what its descriptor says");
    let options = SerializeOptions::new().skip_default_fields(true);
    dynamic
        .serialize_with_options(serde_json::value::Serializer, &options)
        .expect("invariant: every message has a JSON form")
}

/// Rows under a heading, each column as wide as its widest cell.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().map(ToString::to_string).collect()] }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(super) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                // A device says what its values are; what it says must not move the cursor.
                let clean: String =
                    cell.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
                line.push_str(&format!("{clean:<width$}  "));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A time as RFC 3339, "-" for none.
pub(super) fn time(time: Option<&prost_types::Timestamp>) -> String {
    time.map_or_else(|| "-".to_owned(), ToString::to_string)
}

/// A text, "-" for none.
pub(super) fn dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use godwit_proto::v1::{Device, PathValue, Value, value::Kind};

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["NAME", "X"]);
        table.row(["über-lang".to_owned(), "1".to_owned()]);
        table.row(["b".to_owned(), String::new()]);
        assert_eq!(table.render(), "NAME       X\nüber-lang  1\nb\n");
    }

    #[test]
    fn what_a_device_says_cant_move_the_cursor() {
        let mut table = Table::new(&["VALUE"]);
        table.row(["\u{1b}[2Jgone".to_owned()]);
        assert!(!table.render().contains('\u{1b}'));
    }

    #[test]
    fn messages_take_the_form_of_protobufs_json() {
        let device = Device { endpoint: "ep".into(), disabled: true, ..Default::default() };
        assert_eq!(
            json("godwit.v1.Device", &device),
            serde_json::json!({ "endpoint": "ep", "disabled": true })
        );
        let value = Some(Value { kind: Some(Kind::Integer(5)) });
        let value = PathValue { path: "/3/0/9".into(), value, ..Default::default() };
        assert_eq!(
            json("godwit.v1.PathValue", &value),
            serde_json::json!({ "path": "/3/0/9", "value": { "integer": "5" } })
        );
    }
}
