//! Content formats: payload bytes to entries and back (Core 1.2 §7.4).
//!
//! Every decoder is bounded by [`Limits`] and answers any input with a value or a [`DecodeError`].
//! Types come from the object model ([`Types`]); for what a model does not know, from the format as
//! far as it tells them.

mod cbor;
mod collect;
mod error;
mod json;
mod lwm2m_cbor;
mod names;
mod oma_json;
mod raw;
mod senml;
mod senml_cbor;
mod senml_json;
mod text;
mod tlv;

use std::borrow::Cow;
use std::sync::LazyLock;

use data_encoding::{Encoding, Specification};

pub use error::{DecodeError, EncodeError, Found, Limit, Reason};

use crate::entry::{Content, Entry};
use crate::path::{Path, UNASSIGNED};
use crate::value::{Value, ValueType};
use collect::{Conflict, conflict};

/// The content formats LwM2M uses, by CoAP Content-Format number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum ContentFormat {
    /// `text/plain`: one value.
    Text = 0,
    /// `application/link-format` (RFC 6690): one value, unparsed.
    CoreLink = 40,
    /// `application/octet-stream`: one opaque value.
    Opaque = 42,
    /// `application/cbor`: one value.
    Cbor = 60,
    /// SenML JSON (RFC 8428).
    SenmlJson = 110,
    /// SenML CBOR (RFC 8428).
    SenmlCbor = 112,
    /// SenML-ETCH JSON (RFC 8790): paths, or values and nulls.
    SenmlEtchJson = 320,
    /// SenML-ETCH CBOR (RFC 8790).
    SenmlEtchCbor = 322,
    /// LwM2M TLV.
    Tlv = 11542,
    /// LwM2M JSON (1.0).
    Json = 11543,
    /// LwM2M CBOR (1.2).
    Lwm2mCbor = 11544,
}

impl ContentFormat {
    /// Each of them.
    pub const ALL: [ContentFormat; 11] = [
        ContentFormat::Text,
        ContentFormat::CoreLink,
        ContentFormat::Opaque,
        ContentFormat::Cbor,
        ContentFormat::SenmlJson,
        ContentFormat::SenmlCbor,
        ContentFormat::SenmlEtchJson,
        ContentFormat::SenmlEtchCbor,
        ContentFormat::Tlv,
        ContentFormat::Json,
        ContentFormat::Lwm2mCbor,
    ];

    /// The format of a Content-Format number; also reads 1541 to 1544, which clients written before
    /// the registration of 11542 and 11543 send for text, TLV, JSON and opaque.
    pub const fn from_number(number: u16) -> Option<ContentFormat> {
        Some(match number {
            0 | 1541 => ContentFormat::Text,
            40 => ContentFormat::CoreLink,
            42 | 1544 => ContentFormat::Opaque,
            60 => ContentFormat::Cbor,
            110 => ContentFormat::SenmlJson,
            112 => ContentFormat::SenmlCbor,
            320 => ContentFormat::SenmlEtchJson,
            322 => ContentFormat::SenmlEtchCbor,
            11542 | 1542 => ContentFormat::Tlv,
            11543 | 1543 => ContentFormat::Json,
            11544 => ContentFormat::Lwm2mCbor,
            _ => return None,
        })
    }

    /// The registered number.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Whether a payload of this format holds one value and needs the path of the request for it.
    pub const fn is_single(self) -> bool {
        matches!(
            self,
            ContentFormat::Text | ContentFormat::CoreLink | ContentFormat::Opaque | ContentFormat::Cbor
        )
    }
}

/// What an object model knows about a path of level 3 or 4.
pub trait Types {
    /// The type of the resource; `None` when object or resource are unknown.
    fn value_type(&self, path: &Path) -> Option<ValueType>;
    /// Whether the resource may have several instances; `None` as above.
    fn is_multiple(&self, path: &Path) -> Option<bool>;
}

/// Knows nothing: types come from the content format.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTypes;

impl Types for NoTypes {
    fn value_type(&self, _: &Path) -> Option<ValueType> {
        None
    }

    fn is_multiple(&self, _: &Path) -> Option<bool> {
        None
    }
}

/// Bounds of one decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Payload bytes; default 64 KiB.
    pub bytes: usize,
    /// Values, empty nodes, nulls and paths together; default 8192. One costs about 64 bytes.
    pub entries: usize,
    /// Nested maps, arrays and TLVs; default 16. LwM2M itself needs 4.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bytes: 64 * 1024, entries: 8192, depth: 16 }
    }
}

/// What a decoder needs besides the bytes.
#[derive(Clone, Copy)]
pub struct DecodeContext<'a> {
    /// The path of the request; the root for composite operations and Send.
    pub base: Path,
    /// The device's object models.
    pub types: &'a dyn Types,
    /// Unix time in seconds; SenML and JSON times below 2^28 are relative to it (RFC 8428 §4.5.3).
    pub now: f64,
    /// Bounds.
    pub limits: &'a Limits,
}

/// Reads a payload. Values outside of `context.base` are refused, and so are two values for one path
/// at one time. Where the model says otherwise than the payload, a number becomes the model's number
/// if it loses nothing; else it is [`DecodeError::Type`].
pub fn decode(
    format: ContentFormat,
    context: &DecodeContext<'_>,
    payload: &[u8],
) -> Result<Content, DecodeError> {
    check_bytes(payload, context.limits)?;
    match format {
        ContentFormat::Text => text::decode(context, payload),
        ContentFormat::CoreLink => text::decode_links(context, payload),
        ContentFormat::Opaque => text::decode_opaque(context, payload),
        ContentFormat::Cbor => cbor::decode(context, payload),
        ContentFormat::SenmlJson => senml::decode(context, payload, senml_json::read, false),
        ContentFormat::SenmlCbor => senml::decode(context, payload, senml_cbor::read, false),
        ContentFormat::SenmlEtchJson => senml::decode(context, payload, senml_json::read, true),
        ContentFormat::SenmlEtchCbor => senml::decode(context, payload, senml_cbor::read, true),
        ContentFormat::Tlv => tlv::decode(context, payload),
        ContentFormat::Json => oma_json::decode(context, payload),
        ContentFormat::Lwm2mCbor => lwm2m_cbor::decode(context, payload),
    }
}

/// Writes values as an answer to, or the body of, a request for `base`, each in the type of the model.
/// SenML and JSON write times, which must be absolute (from July 1978 on); the others refuse them.
///
/// In TLV the values of a Create without an instance id are given below the instance [`UNASSIGNED`].
pub fn encode(
    format: ContentFormat,
    base: Path,
    entries: &[Entry],
    types: &dyn Types,
) -> Result<Vec<u8>, EncodeError> {
    encode_body(format, base, &Body { entries, empty: &[], nulls: &[], types })
}

/// Writes a payload with empty nodes and nulls; those that the format cannot carry are an error.
pub fn encode_content(
    format: ContentFormat,
    base: Path,
    content: &Content,
    types: &dyn Types,
) -> Result<Vec<u8>, EncodeError> {
    let Content { entries, empty, nulls } = content;
    encode_body(format, base, &Body { entries, empty, nulls, types })
}

/// What an encoder writes.
struct Body<'a> {
    entries: &'a [Entry],
    empty: &'a [Path],
    nulls: &'a [Path],
    types: &'a dyn Types,
}

impl Body<'_> {
    fn paths(&self) -> impl Iterator<Item = &Path> {
        self.entries.iter().map(|entry| &entry.path).chain(self.nulls).chain(self.empty)
    }
}

fn encode_body(format: ContentFormat, base: Path, body: &Body<'_>) -> Result<Vec<u8>, EncodeError> {
    check_paths(format, base, body)?;
    match format {
        ContentFormat::Tlv | ContentFormat::Lwm2mCbor => {
            let timed = body.entries.iter().find(|entry| entry.time.is_some());
            inexpressible(format, timed.map(|entry| &entry.path))?;
        }
        _ => {
            names::check_times(format, body)?;
            // An empty list says that the path of the request is empty, and nothing else.
            let empty = body.empty.iter().find(|path| **path != base);
            inexpressible(format, empty)?;
        }
    }
    if !matches!(
        format,
        ContentFormat::SenmlEtchJson | ContentFormat::SenmlEtchCbor | ContentFormat::Lwm2mCbor
    ) {
        inexpressible(format, body.nulls.first())?;
    }
    match format {
        ContentFormat::Text => text::encode(base, single(format, base, body)?.as_ref()),
        ContentFormat::CoreLink => text::encode_links(base, single(format, base, body)?.as_ref()),
        ContentFormat::Opaque => text::encode_opaque(base, single(format, base, body)?.as_ref()),
        ContentFormat::Cbor => Ok(cbor::encode(single(format, base, body)?.as_ref())),
        ContentFormat::SenmlJson | ContentFormat::SenmlEtchJson => senml_json::encode(format, base, body),
        ContentFormat::SenmlCbor | ContentFormat::SenmlEtchCbor => senml_cbor::encode(base, body),
        ContentFormat::Tlv if base == Path::ROOT => Err(EncodeError::Unsupported { format }),
        ContentFormat::Tlv => tlv::encode(base, body),
        ContentFormat::Json => oma_json::encode(base, body),
        ContentFormat::Lwm2mCbor => lwm2m_cbor::encode(body),
    }
}

fn inexpressible(format: ContentFormat, path: Option<&Path>) -> Result<(), EncodeError> {
    path.map_or(Ok(()), |path| Err(EncodeError::Inexpressible { format, path: *path }))
}

/// The value of a format that holds one, which has neither time nor name.
fn single<'a>(format: ContentFormat, base: Path, body: &Body<'a>) -> Result<Cow<'a, Value>, EncodeError> {
    match body.entries {
        [Entry { path, time: None, value }] if *path == base => raw::fit(base, value, body.types),
        [entry] => Err(EncodeError::Inexpressible { format, path: entry.path }),
        _ => Err(EncodeError::Unsupported { format }),
    }
}

fn check_paths(format: ContentFormat, base: Path, body: &Body<'_>) -> Result<(), EncodeError> {
    for path in body.paths() {
        if !path.starts_with(&base) {
            return Err(EncodeError::Outside { path: *path, base });
        }
        let mut ids = path.segments().iter().skip(if format == ContentFormat::Tlv { 2 } else { 1 });
        if ids.any(|id| *id == UNASSIGNED) {
            return Err(EncodeError::Inexpressible { format, path: *path });
        }
    }
    let values = body.entries.iter().map(|entry| &entry.path).chain(body.nulls);
    let misplaced = values.clone().find(|path| !path.is_value());
    let misplaced = misplaced.or(body.empty.iter().find(|path| !matches!(path.level(), 2 | 3)));
    if let Some(path) = misplaced {
        return Err(EncodeError::Misplaced { path: *path });
    }
    match conflict(body.entries, body.empty, body.nulls) {
        None => Ok(()),
        Some(Conflict::Twice(path)) => Err(EncodeError::Duplicate { path }),
        Some(Conflict::Above(path)) => Err(EncodeError::Misplaced { path }),
    }
}

/// Reads the paths of a Read-Composite or Observe-Composite, in their order.
pub fn decode_paths(
    format: ContentFormat,
    payload: &[u8],
    limits: &Limits,
) -> Result<Vec<Path>, DecodeError> {
    check_bytes(payload, limits)?;
    match format {
        ContentFormat::SenmlJson | ContentFormat::SenmlEtchJson => {
            senml::decode_paths(payload, limits, senml_json::read)
        }
        ContentFormat::SenmlCbor | ContentFormat::SenmlEtchCbor => {
            senml::decode_paths(payload, limits, senml_cbor::read)
        }
        ContentFormat::Lwm2mCbor => lwm2m_cbor::decode_paths(payload, limits),
        _ => Err(DecodeError::Unsupported { format }),
    }
}

/// Writes the paths of a Read-Composite or Observe-Composite: SenML JSON, SenML CBOR (also their
/// ETCH twins) and LwM2M CBOR, whose maps cannot name a path and what lies below it.
pub fn encode_paths(format: ContentFormat, paths: &[Path]) -> Result<Vec<u8>, EncodeError> {
    match format {
        ContentFormat::SenmlJson | ContentFormat::SenmlEtchJson => Ok(senml_json::encode_paths(paths)),
        ContentFormat::SenmlCbor | ContentFormat::SenmlEtchCbor => Ok(senml_cbor::encode_paths(paths)),
        ContentFormat::Lwm2mCbor => {
            inexpressible(format, paths.iter().find(|path| **path == Path::ROOT))?;
            match conflict(&[], paths, &[]) {
                None => Ok(lwm2m_cbor::encode_paths(paths)?),
                Some(Conflict::Twice(path)) => Err(EncodeError::Duplicate { path }),
                Some(Conflict::Above(path)) => Err(EncodeError::Inexpressible { format, path }),
            }
        }
        _ => Err(EncodeError::Unsupported { format }),
    }
}

fn check_bytes(payload: &[u8], limits: &Limits) -> Result<(), DecodeError> {
    if payload.len() <= limits.bytes {
        return Ok(());
    }
    Err(DecodeError::Limit { limit: Limit::Bytes, max: limits.bytes })
}

/// Base64 with either alphabet, padded or not: SenML wants the URL-safe one without padding, LwM2M
/// JSON and text the other, and clients mix them.
fn base64(text: &str) -> Option<Vec<u8>> {
    static EITHER: LazyLock<Encoding> = LazyLock::new(|| {
        let mut either = Specification::new();
        either.symbols.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
        either.translate.from.push_str("-_");
        either.translate.to.push_str("+/");
        either.encoding().expect("invariant: the specification is constant")
    });
    EITHER.decode(text.trim_end_matches('=').as_bytes()).ok()
}
