//! Values in the content formats that a simulated device speaks.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::path::Path;

/// Content format numbers, LwM2M 1.1 Core §7.4.
pub(crate) const TEXT: u16 = 0;
pub(crate) const LINKS: u16 = 40;
pub(crate) const OPAQUE: u16 = 42;
pub(crate) const SENML_JSON: u16 = 110;
pub(crate) const SENML_CBOR: u16 = 112;
pub(crate) const TLV: u16 = 11542;
pub(crate) const LWM2M_CBOR: u16 = 11544;

/// A resource's value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Datum {
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Text(Cow<'static, str>),
    Opaque(Vec<u8>),
    /// Instances of a multiple resource.
    Multiple(Vec<(u16, i64)>),
}

/// Whether [`encode`] knows the format.
pub(crate) fn is_spoken(format: u16) -> bool {
    matches!(format, TEXT | SENML_JSON | SENML_CBOR | TLV | LWM2M_CBOR)
}

/// Appends `values`, which lie at or below `root`, in the given format; `false` when they don't fit into it
/// (more than one value, or a multiple one, as text).
pub(crate) fn encode(format: u16, root: Path, values: &[(Path, Datum)], out: &mut Vec<u8>) -> bool {
    match format {
        TEXT => return encode_text(values, out),
        TLV => encode_tlv(root.ids().len(), values, out),
        SENML_CBOR => encode_senml_cbor(values, out),
        SENML_JSON => encode_senml_json(values, out),
        LWM2M_CBOR => encode_lwm2m_cbor(0, values, out),
        _ => return false,
    }
    true
}

fn encode_text(values: &[(Path, Datum)], out: &mut Vec<u8>) -> bool {
    use std::io::Write as _;
    let [(_, datum)] = values else { return false };
    let written = match datum {
        Datum::Integer(value) => write!(out, "{value}"),
        Datum::Float(value) => write!(out, "{value}"),
        Datum::Boolean(value) => write!(out, "{}", u8::from(*value)),
        Datum::Text(value) => write!(out, "{value}"),
        Datum::Opaque(_) | Datum::Multiple(_) => return false,
    };
    written.is_ok()
}

fn encode_tlv(depth: usize, values: &[(Path, Datum)], out: &mut Vec<u8>) {
    if depth == 1 {
        for group in values.chunk_by(|a, b| a.0.ids()[1] == b.0.ids()[1]) {
            let mut inner = Vec::new();
            encode_tlv(2, group, &mut inner);
            tlv(0b00, group[0].0.ids()[1], &inner, out);
        }
        return;
    }
    for (path, datum) in values {
        let (kind, id) = match *path.ids() {
            [_, _, _, instance] => (0b01, instance),
            [.., resource] => (0b11, resource),
            [] => return,
        };
        match datum {
            Datum::Integer(value) => tlv(kind, id, shortest(&value.to_be_bytes()), out),
            Datum::Float(value) => tlv(kind, id, &value.to_be_bytes(), out),
            Datum::Boolean(value) => tlv(kind, id, &[u8::from(*value)], out),
            Datum::Text(value) => tlv(kind, id, value.as_bytes(), out),
            Datum::Opaque(value) => tlv(kind, id, value, out),
            Datum::Multiple(instances) => {
                let mut inner = Vec::new();
                for (instance, value) in instances {
                    tlv(0b01, *instance, shortest(&value.to_be_bytes()), &mut inner);
                }
                tlv(0b10, id, &inner, out);
            }
        }
    }
}

/// The last 1, 2, 4 or 8 bytes that still hold the number with its sign.
fn shortest(bytes: &[u8; 8]) -> &[u8] {
    let value = i64::from_be_bytes(*bytes);
    let length = match value {
        -0x80..0x80 => 1,
        -0x8000..0x8000 => 2,
        -0x8000_0000..0x8000_0000 => 4,
        _ => 8,
    };
    &bytes[8 - length..]
}

/// One entry, LwM2M 1.1 Core §7.4.3.
fn tlv(kind: u8, id: u16, value: &[u8], out: &mut Vec<u8>) {
    let wide = u8::from(id > 0xFF) << 5;
    let length = value.len();
    let size = match length {
        0..8 => length as u8,
        8..0x100 => 1 << 3,
        0x100..0x1_0000 => 2 << 3,
        _ => 3 << 3,
    };
    out.push(kind << 6 | wide | size);
    out.extend_from_slice(&id.to_be_bytes()[usize::from(wide == 0)..]);
    let bytes = (length as u32).to_be_bytes();
    out.extend_from_slice(&bytes[4 - usize::from(size >> 3)..]);
    out.extend_from_slice(value);
}

/// A CBOR head: major type and argument.
fn head(major: u8, argument: u64, out: &mut Vec<u8>) {
    let major = major << 5;
    match argument {
        0..24 => out.push(major | argument as u8),
        24..0x100 => out.extend_from_slice(&[major | 24, argument as u8]),
        0x100..0x1_0000 => {
            out.push(major | 25);
            out.extend_from_slice(&(argument as u16).to_be_bytes());
        }
        0x1_0000..0x1_0000_0000 => {
            out.push(major | 26);
            out.extend_from_slice(&(argument as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend_from_slice(&argument.to_be_bytes());
        }
    }
}

fn cbor_text(text: &str, out: &mut Vec<u8>) {
    head(3, text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

fn cbor_integer(value: i64, out: &mut Vec<u8>) {
    match u64::try_from(value) {
        Ok(value) => head(0, value, out),
        Err(_) => head(1, !value as u64, out),
    }
}

fn cbor(datum: &Datum, out: &mut Vec<u8>) {
    match datum {
        Datum::Integer(value) => cbor_integer(*value, out),
        Datum::Float(value) => {
            out.push(0xFB);
            out.extend_from_slice(&value.to_be_bytes());
        }
        Datum::Boolean(value) => out.push(if *value { 0xF5 } else { 0xF4 }),
        Datum::Text(value) => cbor_text(value, out),
        Datum::Opaque(value) => {
            head(2, value.len() as u64, out);
            out.extend_from_slice(value);
        }
        Datum::Multiple(instances) => {
            head(5, instances.len() as u64, out);
            for (instance, value) in instances {
                head(0, u64::from(*instance), out);
                cbor_integer(*value, out);
            }
        }
    }
}

/// Single values: what SenML has one record for each of.
fn singles(values: &[(Path, Datum)]) -> Vec<(Path, Cow<'_, Datum>)> {
    let mut all = Vec::with_capacity(values.len());
    for (path, datum) in values {
        match datum {
            Datum::Multiple(instances) => all.extend(
                instances
                    .iter()
                    .filter_map(|(id, value)| Some((path.child(*id)?, Cow::Owned(Datum::Integer(*value))))),
            ),
            datum => all.push((*path, Cow::Borrowed(datum))),
        }
    }
    all
}

/// RFC 8428 §6: labels n 0, v 2, vs 3, vb 4, vd 8; each record carries its full path.
fn encode_senml_cbor(values: &[(Path, Datum)], out: &mut Vec<u8>) {
    let records = singles(values);
    head(4, records.len() as u64, out);
    for (path, datum) in records {
        head(5, 2, out);
        head(0, 0, out);
        cbor_text(&path.to_string(), out);
        let label = match *datum {
            Datum::Text(_) => 3,
            Datum::Boolean(_) => 4,
            Datum::Opaque(_) => 8,
            _ => 2,
        };
        head(0, label, out);
        cbor(&datum, out);
    }
}

fn encode_senml_json(values: &[(Path, Datum)], out: &mut Vec<u8>) {
    let mut text = String::from("[");
    for (n, (path, datum)) in singles(values).into_iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        let _infallible = match datum.as_ref() {
            Datum::Integer(value) => write!(text, r#"{comma}{{"n":"{path}","v":{value}}}"#),
            Datum::Float(value) => write!(text, r#"{comma}{{"n":"{path}","v":{value}}}"#),
            Datum::Boolean(value) => write!(text, r#"{comma}{{"n":"{path}","vb":{value}}}"#),
            Datum::Text(value) => {
                write!(text, r#"{comma}{{"n":"{path}","vs":{}}}"#, serde_json::Value::from(value.as_ref()))
            }
            Datum::Opaque(_) | Datum::Multiple(_) => Ok(()),
        };
    }
    text.push(']');
    out.extend_from_slice(text.as_bytes());
}

/// LwM2M 1.2 Core §7.4.7: nested maps from object to resource instance.
fn encode_lwm2m_cbor(depth: usize, values: &[(Path, Datum)], out: &mut Vec<u8>) {
    let same = |a: &(Path, Datum), b: &(Path, Datum)| a.0.ids()[depth] == b.0.ids()[depth];
    head(5, values.chunk_by(same).count() as u64, out);
    for group in values.chunk_by(same) {
        head(0, u64::from(group[0].0.ids()[depth]), out);
        match group[0].0.ids().len() == depth + 1 {
            true => cbor(&group[0].1, out),
            false => encode_lwm2m_cbor(depth + 1, group, out),
        }
    }
}

/// Reads a written TLV payload: resources at or below `root`, opaque until the model types them. `None` when
/// it is malformed or nests deeper than its root allows.
pub(crate) fn decode_tlv(root: Path, payload: &[u8]) -> Option<Vec<(Path, Vec<u8>)>> {
    let mut values = Vec::new();
    let mut rest = payload;
    while !rest.is_empty() {
        let (kind, id, value) = tlv_entry(&mut rest)?;
        match (kind, root.ids().len()) {
            (0b00, 1) => values.extend(decode_tlv(root.child(id)?, value)?),
            (0b10 | 0b11, 2) => values.push((root.child(id)?, value.to_vec())),
            (0b10 | 0b11, 3) if root.ids()[2] == id => values.push((root, value.to_vec())),
            (0b01, 3) => values.push((root.child(id)?, value.to_vec())),
            _ => return None,
        }
    }
    Some(values)
}

fn tlv_entry<'a>(rest: &mut &'a [u8]) -> Option<(u8, u16, &'a [u8])> {
    let mut take = |count: usize| {
        let (taken, tail) = rest.split_at_checked(count)?;
        *rest = tail;
        Some(taken)
    };
    let head = take(1)?[0];
    let id = take(1 + usize::from(head >> 5 & 1))?.iter().fold(0, |id, &byte| id << 8 | u16::from(byte));
    let length = match usize::from(head >> 3 & 3) {
        0 => usize::from(head & 7),
        bytes => take(bytes)?.iter().fold(0, |length, &byte| length << 8 | usize::from(byte)),
    };
    Some((head >> 6, id, take(length)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        text.parse().unwrap()
    }

    fn encoded(format: u16, root: &str, values: &[(&str, Datum)]) -> Vec<u8> {
        let values: Vec<_> = values.iter().map(|(text, datum)| (path(text), datum.clone())).collect();
        let mut out = Vec::new();
        assert!(encode(format, path(root), &values, &mut out));
        out
    }

    #[test]
    fn a_counter_takes_the_bytes_that_each_format_prescribes() {
        let value = [("/3303/0/5700", Datum::Float(1.5))];
        assert_eq!(encoded(TEXT, "/3303/0/5700", &value), b"1.5");
        assert_eq!(encoded(TLV, "/3303/0/5700", &value), [0xE8, 0x16, 0x44, 8, 0x3F, 0xF8, 0, 0, 0, 0, 0, 0]);
        let mut senml = vec![0x81, 0xA2, 0x00, 0x6C];
        senml.extend_from_slice(b"/3303/0/5700");
        senml.extend_from_slice(&[0x02, 0xFB, 0x3F, 0xF8, 0, 0, 0, 0, 0, 0]);
        assert_eq!(encoded(SENML_CBOR, "/3303/0/5700", &value), senml);
        assert_eq!(encoded(SENML_JSON, "/3303/0/5700", &value), br#"[{"n":"/3303/0/5700","v":1.5}]"#);
        assert_eq!(
            encoded(LWM2M_CBOR, "/3303/0/5700", &value),
            [0xA1, 0x19, 0x0C, 0xE7, 0xA1, 0x00, 0xA1, 0x19, 0x16, 0x44, 0xFB, 0x3F, 0xF8, 0, 0, 0, 0, 0, 0]
        );
    }

    #[test]
    fn integers_are_as_short_as_their_sign_allows() {
        for (value, bytes) in [(127, 1), (128, 2), (-128, 1), (-129, 2), (40_000, 4), (1 << 40, 8)] {
            let out = encoded(TLV, "/3/0/9", &[("/3/0/9", Datum::Integer(value))]);
            assert_eq!(out.len(), if bytes == 8 { 11 } else { 2 + bytes }, "{value}");
        }
    }

    #[test]
    fn written_tlv_reads_back_at_every_level() {
        let values = [("/3/0/14", Datum::Text("+01:00".into())), ("/3/0/15", Datum::Text("CET".into()))];
        let want = Some(vec![(path("/3/0/14"), b"+01:00".to_vec()), (path("/3/0/15"), b"CET".to_vec())]);
        assert_eq!(decode_tlv(path("/3/0"), &encoded(TLV, "/3/0", &values)), want);
        assert_eq!(decode_tlv(path("/3"), &encoded(TLV, "/3", &values)), want);
        let one = encoded(TLV, "/3/0/14", &values[..1]);
        assert_eq!(decode_tlv(path("/3/0/14"), &one), Some(vec![(path("/3/0/14"), b"+01:00".to_vec())]));
    }

    #[test]
    fn malformed_tlv_is_refused_at_every_cut() {
        let whole = encoded(TLV, "/3/0", &[("/3/0/14", Datum::Text("a rather long time zone".into()))]);
        for cut in 1..whole.len() {
            assert_eq!(decode_tlv(path("/3/0"), &whole[..cut]), None);
        }
    }

    #[test]
    fn text_holds_one_single_value_only() {
        let two = [(path("/3/0/9"), Datum::Integer(1)), (path("/3/0/10"), Datum::Integer(2))];
        assert!(!encode(TEXT, path("/3/0"), &two, &mut Vec::new()));
        assert!(!encode(
            TEXT,
            path("/3/0/11"),
            &[(path("/3/0/11"), Datum::Multiple(vec![(0, 0)]))],
            &mut Vec::new()
        ));
    }
}
