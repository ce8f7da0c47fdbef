//! What a person sees while a run goes on: one living line on a terminal, a plain line now and then elsewhere.

use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::clock::{Micros, SECOND};

/// How often a line is printed where there is no terminal, and how often one is redrawn.
const PLAIN: Micros = 5 * SECOND;
const LIVING: Micros = SECOND / 5;

/// Progress on stderr; stdout is for results.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    phase: &'static str,
    next: Micros,
    quiet: bool,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = (stderr().is_terminal() && !quiet).then(|| {
            let bar = ProgressBar::new(1);
            let style = ProgressStyle::with_template("{prefix:>12} {bar:24} {percent:>3}% {msg}");
            bar.set_style(style.expect("invariant: the template is valid").progress_chars("=> "));
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        Self { bar, phase: "", next: 0, quiet }
    }

    /// Begins a phase of `length` units of whatever it counts.
    pub(crate) fn phase(&mut self, phase: &'static str, length: u64) {
        self.phase = phase;
        self.next = 0;
        if let Some(bar) = &self.bar {
            bar.set_prefix(phase);
            bar.set_length(length.max(1));
            bar.set_position(0);
        }
    }

    /// Shows how far the phase is, if it is time to.
    pub(crate) fn show(&mut self, now: Micros, position: u64, line: impl FnOnce() -> String) {
        if self.quiet || now < self.next {
            return;
        }
        match &self.bar {
            Some(bar) => {
                bar.set_position(position);
                bar.set_message(line());
                self.next = now + LIVING;
            }
            None => {
                // Progress that can't be written is not worth a run.
                let _ = writeln!(stderr(), "{}: {}", self.phase, line());
                self.next = now + PLAIN;
            }
        }
    }

    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
