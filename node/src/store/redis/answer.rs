//! Reading what Redis answers.

use redis::Value;

use crate::identity::Owner;
use crate::store::{Refused, StoreError, header};

/// An answer of another shape than its command has: something that is no Redis, or a script of another version.
fn odd() -> StoreError {
    StoreError::Unavailable("Redis gave an answer of an unknown shape".to_owned())
}

/// Text or bytes; nothing counts as none.
pub(super) fn bytes(value: Value) -> Result<Vec<u8>, StoreError> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        Value::Nil => Ok(Vec::new()),
        Value::Int(number) => Ok(number.to_string().into_bytes()),
        _ => Err(odd()),
    }
}

/// Text or bytes, or nothing.
pub(super) fn maybe(value: Value) -> Result<Option<Vec<u8>>, StoreError> {
    if value == Value::Nil { Ok(None) } else { bytes(value).map(Some) }
}

/// A list of texts.
pub(super) fn list(value: Value) -> Result<Vec<Vec<u8>>, StoreError> {
    parts(value)?.into_iter().map(bytes).collect()
}

/// A list.
pub(super) fn parts(value: Value) -> Result<Vec<Value>, StoreError> {
    match value {
        Value::Array(values) | Value::Set(values) => Ok(values),
        Value::Map(pairs) => Ok(pairs.into_iter().flat_map(|(key, value)| [key, value]).collect()),
        Value::Nil => Ok(Vec::new()),
        _ => Err(odd()),
    }
}

/// A number, also one that was written as a text: a score may be.
pub(super) fn number(value: Value) -> Result<i64, StoreError> {
    match value {
        Value::Int(number) => Ok(number),
        #[expect(clippy::cast_possible_truncation, reason = "times are below 2^53")]
        Value::Double(number) => Ok(number as i64),
        Value::Nil => Ok(0),
        value => {
            let bytes = bytes(value)?;
            let text = std::str::from_utf8(&bytes).map_err(|_| odd())?;
            #[expect(clippy::cast_possible_truncation, reason = "times are below 2^53")]
            let number = text.parse::<i64>().or_else(|_| text.parse::<f64>().map(|it| it as i64));
            number.map_err(|_| odd())
        }
    }
}

/// A time.
pub(super) fn time(value: Value) -> Result<u64, StoreError> {
    Ok(u64::try_from(number(value)?).unwrap_or(0))
}

/// What a script answered, one part after the other.
#[derive(Debug)]
pub(super) struct Reply(std::vec::IntoIter<Value>);

/// What a script says first.
#[derive(Debug)]
pub(super) enum Verdict {
    Done(Reply),
    /// Something must be reserved first.
    Reserve,
    Missing,
    /// The revision that was found.
    Conflict(u64),
    TooManySessions,
    /// A later write of the same owner came first.
    Late,
    /// There are none left, or they are another's.
    NoLanes,
    LanesLost,
}

impl Reply {
    pub(super) fn next(&mut self) -> Value {
        self.0.next().unwrap_or(Value::Nil)
    }

    pub(super) fn time(&mut self) -> Result<u64, StoreError> {
        time(self.next())
    }

    pub(super) fn number(&mut self) -> Result<i64, StoreError> {
        number(self.next())
    }

    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, StoreError> {
        bytes(self.next())
    }

    pub(super) fn list(&mut self) -> Result<Vec<Vec<u8>>, StoreError> {
        list(self.next())
    }
}

/// Reads a script's answer.
pub(super) fn verdict(value: Value) -> Result<Verdict, StoreError> {
    let mut reply = Reply(parts(value)?.into_iter());
    Ok(match reply.bytes()?.as_slice() {
        b"ok" => Verdict::Done(reply),
        b"reserve" => Verdict::Reserve,
        b"missing" => Verdict::Missing,
        b"conflict" => Verdict::Conflict(reply.time()?),
        b"sessions" => Verdict::TooManySessions,
        b"late" => Verdict::Late,
        b"none" => Verdict::NoLanes,
        b"lost" => Verdict::LanesLost,
        b"refused" => {
            let (header, _) = header::decode(&reply.bytes()?)?;
            let owner = header.owner.unwrap_or(Owner { node: "".into(), boot: 0 });
            return Err(Refused { term: header.term, owner }.into());
        }
        b"unreadable" => {
            let what = match reply.bytes()?.as_slice() {
                b"header" => "header",
                b"document" => "document",
                b"lane" => "lane",
                _ => "device",
            };
            let version = u8::try_from(reply.number()?).unwrap_or(0);
            return Err(StoreError::Unreadable { what, version });
        }
        _ => return Err(odd()),
    })
}

impl Verdict {
    /// The answer of a script that did what was asked.
    pub(super) fn done(self) -> Result<Reply, StoreError> {
        Err(match self {
            Self::Done(reply) => return Ok(reply),
            Self::Missing => StoreError::NoSuchDevice,
            Self::Conflict(found) => StoreError::Conflict { found },
            Self::TooManySessions => StoreError::Invalid { what: "one more session of a device" },
            Self::Late => StoreError::Unavailable("a later write came before this one".to_owned()),
            Self::NoLanes => StoreError::Unavailable(
                "no lane of the nonce space is free; one is, 90 s after it was held".to_owned(),
            ),
            Self::LanesLost => StoreError::LanesLost,
            Self::Reserve => odd(),
        })
    }
}
