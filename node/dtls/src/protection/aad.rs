//! What a record's tag or MAC covers besides its content (RFC 5246 §6.2.3.3, RFC 9146 §5).

use smallvec::SmallVec;

use crate::record::{ContentType, Header, MAX_NUMBER, Record};

/// 13 bytes, or 23 and the Connection ID; the last two are the length.
pub(super) type Aad = SmallVec<[u8; 64]>;

/// Header fields that both a received and a sent record have.
#[derive(Clone, Copy)]
pub(super) struct Bound<'a> {
    content_type: ContentType,
    version: u16,
    epoch_and_number: u64,
    cid: &'a [u8],
}

impl<'a> From<&Record<'a>> for Bound<'a> {
    fn from(record: &Record<'a>) -> Self {
        let epoch_and_number = u64::from(record.epoch) << 48 | record.number & MAX_NUMBER;
        let Record { content_type, version, cid, .. } = *record;
        Self { content_type, version, epoch_and_number, cid }
    }
}

impl<'a> From<&Header<'a>> for Bound<'a> {
    fn from(header: &Header<'a>) -> Self {
        let Header { version, cid, .. } = *header;
        let (content_type, epoch_and_number) = (header.outer_type(), header.epoch_and_number());
        Self { content_type, version, epoch_and_number, cid }
    }
}

/// `len`: of the plaintext, inner type and padding included; with encrypt-then-MAC of IV and ciphertext.
pub(super) fn additional_data<'a>(bound: impl Into<Bound<'a>>, len: usize) -> Aad {
    let bound = bound.into();
    let mut aad = Aad::new();
    let number = bound.epoch_and_number.to_be_bytes();
    if bound.content_type == ContentType::Tls12Cid {
        // RFC 9146 §5.3: a number that no record has, so that both layouts can never be taken for one another.
        aad.extend_from_slice(&[0xff; 8]);
        aad.push(ContentType::Tls12Cid.code());
        aad.push(bound.cid.len() as u8);
        aad.push(ContentType::Tls12Cid.code());
        aad.extend_from_slice(&bound.version.to_be_bytes());
        aad.extend_from_slice(&number);
        aad.extend_from_slice(bound.cid);
    } else {
        aad.extend_from_slice(&number);
        aad.push(bound.content_type.code());
        aad.extend_from_slice(&bound.version.to_be_bytes());
    }
    aad.extend_from_slice(&(len as u16).to_be_bytes());
    aad
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_and_its_header_bind_the_same() {
        for cid in [&[][..], &[1, 2, 3]] {
            let header = Header::protected(ContentType::Alert, 0x0102_0304_0506, cid);
            let mut datagram = Vec::new();
            header.encode_plain(b"xy", &mut datagram);
            let record = crate::record::Records::parse(&datagram, cid.len()).next().unwrap().unwrap();
            assert_eq!(additional_data(&header, 2), additional_data(&record, 2));
        }
    }

    #[test]
    fn additional_data_with_a_cid_is_as_pion_writes_it() {
        // Vector pion-cid-aad of tests/vectors/dtls.json.
        let cid = [1, 2, 3, 4, 5, 6, 7, 8];
        let header = Header { epoch: 2, ..Header::protected(ContentType::ApplicationData, 277, &cid) };
        let aad = data_encoding::HEXLOWER.encode(&additional_data(&header, 1784));
        assert_eq!(aad, "ffffffffffffffff190819fefd0002000000000115010203040506070806f8");
    }
}
