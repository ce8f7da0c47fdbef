//! What can be wrong with a configuration. All faults are reported at once, each with its key, its source and the fix.

use std::fmt;

use super::source::Source;

/// One fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The setting, `section.key`; `None` where no key can be told.
    pub key: Option<String>,
    /// Who set it.
    pub source: Source,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a setting.
#[derive(Clone, Debug, PartialEq)]
pub enum Problem {
    /// A file can't be read, for the reason given.
    Unreadable(String),
    /// Not TOML.
    Syntax(String),
    /// `--set` without `=`.
    NoAssignment(String),
    /// No preset of that name.
    UnknownPreset {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// No setting of that name.
    UnknownKey {
        /// The nearest one there is.
        nearest: Option<String>,
    },
    /// A section was given a value.
    Section,
    /// The value has the wrong type or shape.
    WrongValue {
        /// The decoder's words.
        reason: String,
        /// What it should look like.
        shape: String,
    },
    /// The number is out of its range.
    OutOfRange {
        /// The range, in words.
        range: String,
    },
    /// The file that it names holds something else.
    Content {
        /// What it holds.
        reason: String,
        /// What to do.
        fix: String,
    },
    /// Valid by itself, but not with the rest.
    Contradiction {
        /// What doesn't go together.
        reason: String,
        /// What to do.
        fix: String,
    },
}

impl Fault {
    pub(super) fn new(key: Option<&str>, source: Source, problem: Problem) -> Self {
        Self { key: key.map(str::to_owned), source, problem }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{key} ({}): {}", self.source, self.problem),
            None => write!(f, "{}: {}", self.source, self.problem),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(reason) => write!(f, "can't be read: {reason}"),
            Self::Syntax(reason) => write!(f, "not TOML: {}", reason.trim()),
            Self::NoAssignment(text) => write!(f, "`{text}` has no `=`; write section.key=value"),
            Self::UnknownPreset { name, known } => {
                write!(f, "no preset `{name}`; there are {}", known.join(", "))
            }
            Self::UnknownKey { nearest: Some(nearest) } => {
                write!(f, "no such setting; did you mean {nearest}?")
            }
            Self::UnknownKey { nearest: None } => {
                f.write_str("no such setting; `godwit config print` lists all of them")
            }
            Self::Section => f.write_str("is a section, not a setting; set one of its keys"),
            Self::WrongValue { reason, shape } => write!(f, "{}; give it {shape}", reason.trim()),
            Self::OutOfRange { range } => write!(f, "out of range; give it {range}"),
            Self::Content { reason, fix } | Self::Contradiction { reason, fix } => {
                write!(f, "{reason}; {fix}")
            }
        }
    }
}

/// Every fault of a configuration, one per line.
#[derive(Clone, Debug, PartialEq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
