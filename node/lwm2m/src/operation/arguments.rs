//! Arguments of Execute (Core 1.2.2 §6.3.5).

use std::fmt;
use std::str::FromStr;

/// Up to ten arguments: a digit each, with or without a value.
///
/// ```
/// use godwit_lwm2m::operation::Arguments;
/// let arguments: Arguments = "7,0='https://www.example.com'".parse()?;
/// assert_eq!(arguments.to_string(), "7,0='https://www.example.com'");
/// # Ok::<(), godwit_lwm2m::operation::ArgumentsError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments(Vec<(u8, Option<String>)>);

/// Why a string is no list of arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentsError {
    /// Something else than a digit, a comma or `='` at this byte.
    #[error("byte {0}: arguments are digits with or without ='value', divided by commas")]
    Syntax(usize),
    /// A blank, a quote, a backslash or a character that is not ASCII in a value.
    #[error("byte {0}: this character cannot be in a value")]
    Character(usize),
    /// A digit comes twice.
    #[error("argument {0} comes twice")]
    Repeated(u8),
}

impl Arguments {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Digits and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u8, Option<&str>)> {
        self.0.iter().map(|(digit, value)| (*digit, value.as_deref()))
    }
}

impl FromStr for Arguments {
    type Err = ArgumentsError;

    fn from_str(text: &str) -> Result<Self, ArgumentsError> {
        let mut arguments = Self::default();
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() || !arguments.is_empty() {
            let digit =
                bytes.get(at).filter(|b| b.is_ascii_digit()).ok_or(ArgumentsError::Syntax(at))? - b'0';
            at += 1;
            let mut value = None;
            if bytes.get(at) == Some(&b'=') {
                if bytes.get(at + 1) != Some(&b'\'') {
                    return Err(ArgumentsError::Syntax(at + 1));
                }
                let start = at + 2;
                at = start;
                while bytes.get(at).is_some_and(|b| *b != b'\'') {
                    if !is_value(bytes[at]) {
                        return Err(ArgumentsError::Character(at));
                    }
                    at += 1;
                }
                if at == bytes.len() {
                    return Err(ArgumentsError::Syntax(at));
                }
                value = Some(text[start..at].to_owned());
                at += 1;
            }
            if arguments.0.iter().any(|(known, _)| *known == digit) {
                return Err(ArgumentsError::Repeated(digit));
            }
            arguments.0.push((digit, value));
            match bytes.get(at) {
                None => break,
                Some(b',') => at += 1,
                Some(_) => return Err(ArgumentsError::Syntax(at)),
            }
        }
        Ok(arguments)
    }
}

fn is_value(b: u8) -> bool {
    b.is_ascii_graphic() && !b"\"'\\".contains(&b)
}

impl fmt::Display for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (digit, value)) in self.0.iter().enumerate() {
            write!(f, "{}{digit}", if at == 0 { "" } else { "," })?;
            if let Some(value) = value {
                write!(f, "='{value}'")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn arguments_read_back_as_written() {
        for text in ["", "5", "2='10.3'", "7,0='https://www.oma.org'", "0,1,2=''", "0='a,b=c'"] {
            assert_eq!(text.parse::<Arguments>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_list_of_arguments_says_where() {
        use ArgumentsError::{Character, Repeated, Syntax};
        for (text, error) in [
            ("a", Syntax(0)),
            ("10", Syntax(1)),
            ("1,", Syntax(2)),
            (",1", Syntax(0)),
            ("1=", Syntax(2)),
            ("1=2", Syntax(2)),
            ("1='2", Syntax(4)),
            ("1='2'3", Syntax(5)),
            ("1='2 3'", Character(4)),
            ("1='\"'", Character(3)),
            ("1='é'", Character(3)),
            ("1,1", Repeated(1)),
        ] {
            assert_eq!(text.parse::<Arguments>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_it_stands_or_refused(text in "[0-3,='a é]{0,20}") {
            if let Ok(arguments) = text.parse::<Arguments>() {
                prop_assert_eq!(arguments.to_string(), text);
            }
        }
    }
}
