//! Content formats: payload bytes to entries and back (Core 1.2 §7.4).
//!
//! Every decoder is bounded by [`Limits`] and answers any input with a value or a [`DecodeError`].
//! Types come from the object model ([`Types`]); for what a model does not know, from the format as
//! far as it tells them.

mod error;

pub use error::{DecodeError, EncodeError, Found, Limit, Reason};

use crate::entry::{Content, Entry};
use crate::path::Path;
use crate::value::ValueType;

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

/// Reads a payload. Values outside `context.base` are refused, and so are two values for one path at
/// one time.
pub fn decode(
    format: ContentFormat,
    context: &DecodeContext<'_>,
    payload: &[u8],
) -> Result<Content, DecodeError> {
    let _ = (context, payload);
    Err(DecodeError::Unsupported { format })
}

/// Writes values as an answer to, or the body of, a request for `base`.
pub fn encode(
    format: ContentFormat,
    base: Path,
    entries: &[Entry],
    types: &dyn Types,
) -> Result<Vec<u8>, EncodeError> {
    let _ = (base, entries, types);
    Err(EncodeError::Unsupported { format })
}

/// Writes a payload with empty nodes and nulls; those that the format cannot carry are an error.
pub fn encode_content(
    format: ContentFormat,
    base: Path,
    content: &Content,
    types: &dyn Types,
) -> Result<Vec<u8>, EncodeError> {
    encode(format, base, &content.entries, types)
}

/// Reads the paths of a Read-Composite or Observe-Composite.
pub fn decode_paths(
    format: ContentFormat,
    payload: &[u8],
    limits: &Limits,
) -> Result<Vec<Path>, DecodeError> {
    let _ = (payload, limits);
    Err(DecodeError::Unsupported { format })
}

/// Writes the paths of a Read-Composite or Observe-Composite: SenML JSON, SenML CBOR (also their
/// ETCH twins) and LwM2M CBOR.
pub fn encode_paths(format: ContentFormat, paths: &[Path]) -> Result<Vec<u8>, EncodeError> {
    let _ = paths;
    Err(EncodeError::Unsupported { format })
}
