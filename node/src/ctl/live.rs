//! A table that redraws itself on a terminal.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    console::{Console, Table},
    fault::CtlError,
};

/// The least time between two drawings: a fleet changes faster than anybody reads.
const FRAME: Duration = Duration::from_millis(200);

/// Rows that are drawn; the rest is counted.
const ROWS: usize = 40;

/// Rows by name, drawn over each other.
pub(super) struct Live {
    heading: &'static [&'static str],
    rows: BTreeMap<String, Vec<String>>,
    drawn: Option<Instant>,
    stale: bool,
}

impl Live {
    pub(super) fn new(heading: &'static [&'static str]) -> Self {
        Self { heading, rows: BTreeMap::new(), drawn: None, stale: true }
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.stale = true;
    }

    /// Sets a row, or removes it.
    pub(super) fn set(&mut self, name: &str, row: Option<Vec<String>>) {
        self.stale = true;
        match row {
            Some(row) => drop(self.rows.insert(name.to_owned(), row)),
            None => drop(self.rows.remove(name)),
        }
    }

    /// When the next drawing is due, if something changed.
    pub(super) fn due(&self) -> Option<Instant> {
        let next = self.drawn.map_or_else(crate::clock::now, |drawn| drawn + FRAME);
        self.stale.then_some(next)
    }

    /// Draws the table in place of the one before.
    pub(super) fn draw(&mut self, title: &str, console: &mut Console<'_>) -> Result<(), CtlError> {
        self.drawn = Some(crate::clock::now());
        self.stale = false;
        let mut table = Table::new(self.heading);
        for row in self.rows.values().take(ROWS) {
            table.row(row.iter().cloned());
        }
        let more = self.rows.len().saturating_sub(ROWS);
        let more = if more > 0 { format!("… and {more} more\n") } else { String::new() };
        // Home, each line cleared behind its text, then everything below: no flicker.
        let text = format!("{title}\n\n{}{more}", table.render()).replace('\n', "\x1b[K\n");
        Ok(console.line(&format!("\x1b[H{text}\x1b[J"))?)
    }
}
