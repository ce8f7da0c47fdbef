//! SenML packs that servers send: paths to read or observe, values to write (RFC 8428).

use minicbor::Decoder;
use minicbor::data::Type;
use serde_json::Value as Json;

use crate::content::Datum;
use crate::path::Path;

/// Records that one pack may hold.
const MAX_RECORDS: usize = 256;

/// Paths, each with its value if it has one; `None` for what is malformed, too long or names no path.
pub(crate) type Pack = Vec<(Path, Option<Datum>)>;

#[derive(Default)]
struct Draft {
    base: Option<String>,
    name: String,
    value: Option<Datum>,
}

/// Joins names with the base name, which holds from the record that brings it.
fn finish(drafts: Vec<Draft>) -> Option<Pack> {
    let mut base = String::new();
    let mut pack = Vec::with_capacity(drafts.len());
    for draft in drafts {
        base = draft.base.unwrap_or(base);
        let name = format!("{base}{}", draft.name);
        let name = if name.len() > 1 { name.trim_end_matches('/') } else { &name };
        pack.push((name.parse().ok()?, draft.value));
    }
    Some(pack)
}

/// Reads a pack in CBOR.
pub(crate) fn decode_cbor(payload: &[u8]) -> Option<Pack> {
    let mut decoder = Decoder::new(payload);
    let mut drafts = Vec::new();
    let length = decoder.array().ok()?;
    while more(&mut decoder, length, drafts.len() as u64)? {
        if drafts.len() == MAX_RECORDS {
            return None;
        }
        let mut draft = Draft::default();
        let fields = decoder.map().ok()?;
        let mut read = 0;
        while more(&mut decoder, fields, read)? {
            match decoder.i64().ok()? {
                -2 => draft.base = Some(decoder.str().ok()?.to_owned()),
                0 => draft.name = decoder.str().ok()?.to_owned(),
                2 => draft.value = Some(number(&mut decoder)?),
                3 => draft.value = Some(Datum::Text(decoder.str().ok()?.to_owned().into())),
                4 => draft.value = Some(Datum::Boolean(decoder.bool().ok()?)),
                8 => draft.value = Some(Datum::Opaque(decoder.bytes().ok()?.to_vec())),
                _ => decoder.skip().ok()?,
            }
            read += 1;
        }
        drafts.push(draft);
    }
    finish(drafts)
}

/// Whether an array or map goes on after `read` items; takes the end mark of one without a length.
fn more(decoder: &mut Decoder<'_>, length: Option<u64>, read: u64) -> Option<bool> {
    match length {
        Some(length) => Some(read < length),
        None if decoder.datatype().ok()? == Type::Break => {
            decoder.skip().ok()?;
            Some(false)
        }
        None => Some(true),
    }
}

fn number(decoder: &mut Decoder<'_>) -> Option<Datum> {
    Some(match decoder.datatype().ok()? {
        Type::F16 | Type::F32 | Type::F64 => Datum::Float(decoder.f64().ok()?),
        _ => Datum::Integer(decoder.i64().ok()?),
    })
}

/// Reads a pack in JSON.
pub(crate) fn decode_json(payload: &[u8]) -> Option<Pack> {
    let records: Vec<Json> = serde_json::from_slice(payload).ok()?;
    if records.len() > MAX_RECORDS {
        return None;
    }
    let text = |value: &Json| value.as_str().map(str::to_owned);
    let mut drafts = Vec::with_capacity(records.len());
    for record in &records {
        let mut draft = Draft::default();
        for (key, value) in record.as_object()? {
            match key.as_str() {
                "bn" => draft.base = Some(text(value)?),
                "n" => draft.name = text(value)?,
                "v" => {
                    let float = || value.as_f64().map(Datum::Float);
                    draft.value = Some(value.as_i64().map(Datum::Integer).or_else(float)?);
                }
                "vs" => draft.value = Some(Datum::Text(text(value)?.into())),
                "vb" => draft.value = Some(Datum::Boolean(value.as_bool()?)),
                _ => {}
            }
        }
        drafts.push(draft);
    }
    finish(drafts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content;

    fn path(text: &str) -> Path {
        text.parse().unwrap()
    }

    #[test]
    fn what_devices_encode_reads_back_in_both_forms() {
        let values = [
            (path("/3/0/9"), Datum::Integer(-7)),
            (path("/3/0/14"), Datum::Text("+01:00".into())),
            (path("/1/0/6"), Datum::Boolean(true)),
            (path("/3303/0/5700"), Datum::Float(1.5)),
        ];
        let want: Pack = values.iter().map(|(path, value)| (*path, Some(value.clone()))).collect();
        for (format, decode) in
            [(content::SENML_CBOR, decode_cbor as fn(&[u8]) -> _), (content::SENML_JSON, decode_json)]
        {
            let mut payload = Vec::new();
            content::encode(format, Path::ROOT, &values, &mut payload);
            assert_eq!(decode(&payload), Some(want.clone()));
        }
    }

    #[test]
    fn a_base_name_holds_for_the_records_after_it() {
        let pack =
            decode_json(br#"[{"bn":"/3/0/","n":"9"},{"n":"14","vs":"x"},{"bn":"/3303/0/5700"}]"#).unwrap();
        let paths: Vec<_> = pack.iter().map(|(path, _)| path.to_string()).collect();
        assert_eq!(paths, ["/3/0/9", "/3/0/14", "/3303/0/5700"]);
        // [_ {_ -2: "/3/0/", 0: "9"}], both without a length.
        let cbor = b"\x9f\xbf\x21\x65/3/0/\x00\x619\xff\xff";
        assert_eq!(decode_cbor(cbor), Some(vec![(path("/3/0/9"), None)]));
    }

    #[test]
    fn what_is_no_pack_of_paths_is_refused() {
        for payload in
            [&b""[..], b"\x81", b"\xa0", b"\x81\xa1\x00\x01", b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff"]
        {
            assert_eq!(decode_cbor(payload), None);
        }
        for payload in [&b""[..], b"{}", br#"[{"n":"temperature"}]"#, br#"[{"n":3}]"#, b"[1]"] {
            assert_eq!(decode_json(payload), None);
        }
        let many = format!("[{}]", [r#"{"n":"/3/0/9"}"#; 300].join(","));
        assert_eq!(decode_json(many.as_bytes()), None);
    }
}
