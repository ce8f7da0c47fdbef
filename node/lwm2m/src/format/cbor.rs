//! CBOR (RFC 8949) as far as LwM2M uses it: the plain format 60, and the reader and writer of the
//! other two CBOR formats.

use std::borrow::Cow;
use std::convert::Infallible;

use minicbor::data::{Tag, Type};
use minicbor::{Decoder, Encoder};

use super::raw::Raw;
use super::{DecodeContext, DecodeError, Limit, Reason, text};
use crate::entry::Content;
use crate::value::Value;

/// Decimal fraction: exponent and mantissa. Leshan writes SenML times so.
const DECIMAL: u64 = 4;
/// RFC 3339 text, and seconds since 1970.
const DATE: u64 = 0;
const EPOCH: u64 = 1;
/// "This is CBOR"; means nothing inside of CBOR.
const SELF_DESCRIBED: u64 = 55_799;

/// Reads one element after the other; knows where it is when something is wrong.
pub(super) struct Reader<'a> {
    decoder: Decoder<'a>,
    max_depth: usize,
}

/// A map or an array while it is read.
pub(super) struct Items {
    /// `None`: until the break.
    left: Option<u64>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(payload: &'a [u8], max_depth: usize) -> Reader<'a> {
        Reader { decoder: Decoder::new(payload), max_depth }
    }

    pub(super) fn position(&self) -> usize {
        self.decoder.position()
    }

    pub(super) fn malformed(&self, reason: Reason) -> DecodeError {
        DecodeError::Malformed { offset: self.position(), reason }
    }

    pub(super) fn datatype(&self) -> Result<Type, DecodeError> {
        self.decoder.datatype().map_err(|e| self.error(&e))
    }

    pub(super) fn array(&mut self) -> Result<Items, DecodeError> {
        let left = self.decoder.array();
        left.map(|left| Items { left }).map_err(|e| self.error(&e))
    }

    pub(super) fn map(&mut self) -> Result<Items, DecodeError> {
        let left = self.decoder.map();
        left.map(|left| Items { left }).map_err(|e| self.error(&e))
    }

    /// Whether there is another element (or pair), which the caller reads next.
    pub(super) fn next(&mut self, items: &mut Items) -> Result<bool, DecodeError> {
        match &mut items.left {
            Some(0) => Ok(false),
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
            None if self.datatype()? == Type::Break => {
                self.decoder.set_position(self.position() + 1);
                items.left = Some(0);
                Ok(false)
            }
            None => Ok(true),
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

    pub(super) fn integer(&mut self) -> Result<i128, DecodeError> {
        let int = self.decoder.int();
        int.map(i128::from).map_err(|e| self.error(&e))
    }

    pub(super) fn text(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        let start = self.position();
        if self.datatype()? == Type::StringIndef {
            let mut whole = String::new();
            let chunks = self
                .decoder
                .str_iter()
                .and_then(|mut chunks| chunks.try_for_each(|chunk| chunk.map(|chunk| whole.push_str(chunk))));
            return chunks.map(|()| whole.into()).map_err(|e| self.text_error(start, &e));
        }
        let text = self.decoder.str();
        text.map(Cow::Borrowed).map_err(|e| self.text_error(start, &e))
    }

    /// minicbor has no kind of its own for text that is not UTF-8.
    fn text_error(&self, start: usize, error: &minicbor::decode::Error) -> DecodeError {
        if error.is_end_of_input() || error.is_type_mismatch() {
            return self.error(error);
        }
        DecodeError::Malformed { offset: start, reason: Reason::Utf8 }
    }

    fn bytes(&mut self) -> Result<Cow<'a, [u8]>, DecodeError> {
        if self.datatype()? == Type::BytesIndef {
            let mut whole = Vec::new();
            let chunks = self.decoder.bytes_iter().and_then(|mut chunks| {
                chunks.try_for_each(|chunk| chunk.map(|chunk| whole.extend_from_slice(chunk)))
            });
            return chunks.map(|()| whole.into()).map_err(|e| self.error(&e));
        }
        let bytes = self.decoder.bytes();
        bytes.map(Cow::Borrowed).map_err(|e| self.error(&e))
    }

    /// A value; `None` for null.
    pub(super) fn scalar(&mut self) -> Result<Option<Raw<'a>>, DecodeError> {
        self.scalar_with_tags(2)
    }

    fn scalar_with_tags(&mut self, tags: u8) -> Result<Option<Raw<'a>>, DecodeError> {
        let raw = match self.datatype()? {
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => Raw::Integer(self.integer()?),
            Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => Raw::Integer(self.integer()?),
            Type::F16 => Raw::Float(self.decoder.f16().map_err(|e| self.error(&e))?.into()),
            Type::F32 => Raw::Float(self.decoder.f32().map_err(|e| self.error(&e))?.into()),
            Type::F64 => Raw::Float(self.decoder.f64().map_err(|e| self.error(&e))?),
            Type::Bool => Raw::Boolean(self.decoder.bool().map_err(|e| self.error(&e))?),
            Type::String | Type::StringIndef => Raw::Text(self.text()?),
            Type::Bytes | Type::BytesIndef => Raw::Bytes(self.bytes()?),
            Type::Tag if tags > 0 => self.tagged(tags - 1)?,
            Type::Null => {
                self.decoder.null().map_err(|e| self.error(&e))?;
                return Ok(None);
            }
            _ => return Err(self.malformed(Reason::Unexpected)),
        };
        Ok(Some(raw))
    }

    fn tagged(&mut self, tags: u8) -> Result<Raw<'a>, DecodeError> {
        let unexpected = self.malformed(Reason::Unexpected);
        let tag = self.tag()?;
        if tag == DECIMAL {
            return self.decimal();
        }
        match (tag, self.scalar_with_tags(tags)?) {
            (SELF_DESCRIBED, Some(raw))
            | (DATE, Some(raw @ Raw::Text(_)))
            | (EPOCH, Some(raw @ (Raw::Integer(_) | Raw::Float(_)))) => Ok(raw),
            _ => Err(unexpected),
        }
    }

    fn tag(&mut self) -> Result<u64, DecodeError> {
        let tag = self.decoder.tag();
        tag.map(Tag::as_u64).map_err(|e| self.error(&e))
    }

    fn decimal(&mut self) -> Result<Raw<'a>, DecodeError> {
        if self.array()?.left != Some(2) {
            return Err(self.malformed(Reason::Number));
        }
        let exponent = self.integer()?;
        let mantissa = self.integer()?;
        decimal(exponent, mantissa).ok_or_else(|| self.malformed(Reason::Number))
    }

    /// Passes over one element of any kind.
    pub(super) fn skip(&mut self, depth: usize) -> Result<(), DecodeError> {
        self.check_depth(depth)?;
        match self.datatype()? {
            Type::Array | Type::ArrayIndef => {
                let mut items = self.array()?;
                while self.next(&mut items)? {
                    self.skip(depth + 1)?;
                }
                Ok(())
            }
            Type::Map | Type::MapIndef => {
                let mut items = self.map()?;
                while self.next(&mut items)? {
                    self.skip(depth + 1)?;
                    self.skip(depth + 1)?;
                }
                Ok(())
            }
            Type::Tag => {
                self.tag()?;
                self.skip(depth + 1)
            }
            Type::Bytes | Type::BytesIndef => self.bytes().map(drop),
            Type::String | Type::StringIndef => self.text().map(drop),
            Type::Break => Err(self.malformed(Reason::Unexpected)),
            _ => self.decoder.skip().map_err(|e| self.error(&e)),
        }
    }

    pub(super) fn check_depth(&self, depth: usize) -> Result<(), DecodeError> {
        if depth < self.max_depth {
            return Ok(());
        }
        Err(DecodeError::Limit { limit: Limit::Depth, max: self.max_depth })
    }

    /// Nothing may follow.
    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.position() == self.decoder.input().len() {
            return Ok(());
        }
        Err(self.malformed(Reason::Trailing))
    }

    fn error(&self, error: &minicbor::decode::Error) -> DecodeError {
        let reason = if error.is_end_of_input() { Reason::Truncated } else { Reason::Unexpected };
        let offset = error.position().unwrap_or(self.position()).min(self.decoder.input().len());
        DecodeError::Malformed { offset, reason }
    }
}

/// mantissa × 10^exponent, exact while it is a whole number of at most 38 digits, else the nearest
/// double; `None` if that is not finite.
fn decimal(exponent: i128, mantissa: i128) -> Option<Raw<'static>> {
    if let Ok(exponent) = u32::try_from(exponent) {
        let exact = 10i128.checked_pow(exponent).and_then(|power| power.checked_mul(mantissa));
        if let Some(exact) = exact {
            return Some(Raw::Integer(exact));
        }
    }
    let float = match exponent {
        // Both operands are exact doubles, so the quotient is the nearest one.
        -22..=-1 if mantissa.unsigned_abs() <= 1 << 53 => mantissa as f64 / 10f64.powi(-exponent as i32),
        _ => format!("{mantissa}e{exponent}").parse().ok()?,
    };
    float.is_finite().then_some(Raw::Float(float))
}

/// Format 60: one value.
pub(super) fn decode(context: &DecodeContext<'_>, payload: &[u8]) -> Result<Content, DecodeError> {
    let mut reader = Reader::new(payload, context.limits.depth);
    let raw = reader.scalar()?.ok_or(DecodeError::Malformed { offset: 0, reason: Reason::Value })?;
    reader.end()?;
    text::single(context, raw)
}

/// Writes to memory, which cannot fail.
pub(super) struct Writer(Encoder<Vec<u8>>);

fn sure<T>(result: Result<T, minicbor::encode::Error<Infallible>>) {
    result.expect("invariant: writing to a Vec does not fail");
}

impl Writer {
    pub(super) fn new() -> Writer {
        Writer(Encoder::new(Vec::new()))
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0.into_writer()
    }

    pub(super) fn array(&mut self, len: usize) {
        sure(self.0.array(len as u64));
    }

    pub(super) fn map(&mut self, len: usize) {
        sure(self.0.map(len as u64));
    }

    pub(super) fn integer(&mut self, n: i64) {
        sure(self.0.i64(n));
    }

    pub(super) fn text(&mut self, text: &str) {
        sure(self.0.str(text));
    }

    pub(super) fn null(&mut self) {
        sure(self.0.null());
    }

    /// The shortest of the three float forms that holds the value.
    pub(super) fn float(&mut self, f: f64) {
        let single = f as f32;
        if f64::from(single) != f && !f.is_nan() {
            sure(self.0.f64(f));
            return;
        }
        let start = self.0.writer().len();
        sure(self.0.f16(single));
        let half = Decoder::new(&self.0.writer()[start..]).f16();
        if !half.is_ok_and(|half| half == single || f.is_nan()) {
            self.0.writer_mut().truncate(start);
            sure(self.0.f32(single));
        }
    }

    /// A Unix time: an integer where it is one.
    pub(super) fn time(&mut self, time: f64) {
        match time.fract() == 0.0 && time.abs() < 9e15 {
            true => self.integer(time as i64),
            false => self.float(time),
        }
    }

    /// Times as integers, object links as text.
    pub(super) fn value(&mut self, value: &Value) {
        match value {
            Value::String(text) | Value::CoreLink(text) => self.text(text),
            Value::Integer(n) | Value::Time(n) => self.integer(*n),
            Value::Unsigned(n) => sure(self.0.u64(*n)),
            Value::Float(f) => self.float(*f),
            Value::Boolean(b) => sure(self.0.bool(*b)),
            Value::Opaque(bytes) => sure(self.0.bytes(bytes)),
            Value::ObjectLink { object, instance } => self.text(&format!("{object}:{instance}")),
        }
    }
}

/// Format 60. A time has tag 1 (RFC 8949 §3.4.2), without which Leshan refuses it.
pub(super) fn encode(value: &Value) -> Vec<u8> {
    let mut writer = Writer::new();
    if matches!(value, Value::Time(_)) {
        sure(writer.0.tag(Tag::new(EPOCH)));
    }
    writer.value(value);
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_take_the_shortest_form_that_holds_them() {
        let len = |f: f64| {
            let mut writer = Writer::new();
            writer.float(f);
            writer.finish().len()
        };
        for f in [0.0, -0.0, 1.5, 65504.0, 5.960_464_477_539_063e-8, f64::NAN, f64::INFINITY] {
            assert_eq!(len(f), 3, "{f}");
        }
        assert_eq!((len(100_000.0), len(65505.0), len(f32::MIN_POSITIVE.into())), (5, 5, 5));
        assert_eq!((len(1.1), len(1e300)), (9, 9));
    }

    #[test]
    fn decimal_fractions_are_exact_or_nearest() {
        assert_eq!(decimal(2, 3), Some(Raw::Integer(300)));
        assert_eq!(decimal(-2, 27315), Some(Raw::Float(273.15)));
        assert_eq!(decimal(-9, 1_700_000_000_123_456_789), Some(Raw::Float(1_700_000_000.123_456_7)));
        assert_eq!(decimal(100, 2), Some(Raw::Float(2e100)));
        assert_eq!(decimal(-100, -2), Some(Raw::Float(-2e-100)));
        assert_eq!(decimal(i128::from(u64::MAX), 1), None);
        assert_eq!(decimal(-i128::from(u64::MAX), 1), Some(Raw::Float(0.0)));
    }
}
