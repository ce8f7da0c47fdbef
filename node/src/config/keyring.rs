//! Secrets in rotation: several 32-byte secrets in one setting. The first is used, all are accepted.
//!
//! ```text
//! [generation:]64 hexadecimal digits, separated by white space or commas
//! ```
//! To change a secret, on every node: put the new one behind the old; then before it; then, when nothing made under the old
//! one is left, take the old one out.

use data_encoding::HEXLOWER_PERMISSIVE as HEX;
use thiserror::Error;

use super::Secret;

/// One secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// 0 to 7, told by what was made under the secret where a byte has room for no more than that.
    pub generation: u8,
    /// The secret itself.
    pub secret: Secret<[u8; 32]>,
}

/// What is wrong with a text of secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyringError {
    /// Nothing in it.
    #[error("holds no secret")]
    Empty,
    /// More than are accepted.
    #[error("holds more than {0} secrets")]
    TooMany(usize),
    /// Number `.0`, from 1, is not 32 bytes.
    #[error("secret {0} is not 32 bytes")]
    NotASecret(usize),
    /// The generation of number `.0` is not a number from 0 to 7.
    #[error("the generation of secret {0} is not a number from 0 to 7")]
    NotAGeneration(usize),
    /// Number `.0` has a generation that an earlier one has, or is an earlier one.
    #[error("secret {0} repeats a generation or a secret")]
    Repeated(usize),
}

/// Reads at most `most` secrets that have generations.
pub fn generations(text: &str, most: usize) -> Result<Vec<Entry>, KeyringError> {
    let entries = parse(text, most)?;
    let repeated = |at: usize| {
        entries[..at].iter().any(|earlier| {
            earlier.generation == entries[at].generation || earlier.secret == entries[at].secret
        })
    };
    match (0..entries.len()).find(|at| repeated(*at)) {
        Some(at) => Err(KeyringError::Repeated(at + 1)),
        None => Ok(entries),
    }
}

/// Reads at most `most` secrets without generations.
pub fn plain(text: &str, most: usize) -> Result<Vec<Secret<[u8; 32]>>, KeyringError> {
    if text.contains(':') {
        return Err(KeyringError::NotASecret(1));
    }
    Ok(parse(text, most)?.into_iter().map(|entry| entry.secret).collect())
}

fn parse(text: &str, most: usize) -> Result<Vec<Entry>, KeyringError> {
    let words: Vec<_> =
        text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty()).collect();
    if words.is_empty() {
        return Err(KeyringError::Empty);
    }
    if words.len() > most {
        return Err(KeyringError::TooMany(most));
    }
    words.into_iter().enumerate().map(|(at, word)| entry(at + 1, word)).collect()
}

fn entry(at: usize, word: &str) -> Result<Entry, KeyringError> {
    let (generation, digits) = match word.split_once(':') {
        Some((generation, digits)) => {
            let generation = generation.parse().ok().filter(|generation| *generation < 8);
            (generation.ok_or(KeyringError::NotAGeneration(at))?, digits)
        }
        None => (0, word),
    };
    let bytes = HEX.decode(digits.as_bytes()).ok();
    let secret = bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(KeyringError::NotASecret(at))?;
    Ok(Entry { generation, secret: Secret::new(secret) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: &str = "0101010101010101010101010101010101010101010101010101010101010101";
    const B: &str = "0202020202020202020202020202020202020202020202020202020202020202";

    #[test]
    fn the_first_of_several_secrets_is_used() {
        let ring = generations(&format!("1:{A}\n{B}\n"), 8).unwrap();
        assert_eq!((ring[0].generation, ring[0].secret.expose()), (1, &[1; 32]));
        assert_eq!((ring[1].generation, ring[1].secret.expose()), (0, &[2; 32]));
        assert_eq!(plain(&format!("{A},{B}"), 2).unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_secret_is_refused_with_its_place() {
        for (text, error) in [
            (" \n", KeyringError::Empty),
            ("01", KeyringError::NotASecret(1)),
            (&format!("{A} 8:{B}"), KeyringError::NotAGeneration(2)),
            (&format!("{A} {B}"), KeyringError::Repeated(2)),
            (&format!("0:{A} 1:{A}"), KeyringError::Repeated(2)),
            (&format!("0:{A} 1:{B} 2:{A}"), KeyringError::TooMany(2)),
        ] {
            assert_eq!(generations(text, 2), Err(error), "{text}");
        }
        assert_eq!(plain(&format!("1:{A}"), 2), Err(KeyringError::NotASecret(1)));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9a-f:, ]{0,200}") {
            let _ = generations(&text, 8);
        }
    }
}
