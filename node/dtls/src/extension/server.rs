//! What a server answers.

use super::{MaxFragmentLength, code, read_each, some_bytes, write_block, write_one};
use crate::{
    message::CertificateType,
    wire::{Malformed, Reader, write_bytes},
};

/// What a ServerHello answers: only ever what the client asked for. `None` and `false`: the extension is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerExtensions<'a> {
    /// RFC 6066 §3: the name was used. Empty in the message.
    pub server_name: bool,
    /// RFC 6066 §4: the client's own value, or nothing.
    pub max_fragment_length: Option<MaxFragmentLength>,
    /// RFC 8422 §5.2: sent with ECDHE suites.
    pub ec_point_formats: Option<&'a [u8]>,
    /// RFC 7250: what the client shall show.
    pub client_certificate_type: Option<CertificateType>,
    /// RFC 7250: what the server shows.
    pub server_certificate_type: Option<CertificateType>,
    /// RFC 7366; never with an AEAD suite.
    pub encrypt_then_mac: bool,
    /// RFC 7627.
    pub extended_master_secret: bool,
    /// RFC 9146: what records to the server shall carry; may be empty.
    pub connection_id: Option<&'a [u8]>,
    /// RFC 5746: empty in every first handshake.
    pub renegotiation_info: Option<&'a [u8]>,
}

impl<'a> ServerExtensions<'a> {
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut these = ServerExtensions::default();
        read_each(reader, |code, body| {
            match code {
                code::SERVER_NAME => these.server_name = true,
                code::MAX_FRAGMENT_LENGTH => {
                    these.max_fragment_length = Some(MaxFragmentLength::read(body)?);
                }
                code::EC_POINT_FORMATS => these.ec_point_formats = Some(some_bytes(body)?),
                code::CLIENT_CERTIFICATE_TYPE => {
                    these.client_certificate_type = Some(certificate_type(body)?);
                }
                code::SERVER_CERTIFICATE_TYPE => {
                    these.server_certificate_type = Some(certificate_type(body)?);
                }
                code::ENCRYPT_THEN_MAC => these.encrypt_then_mac = true,
                code::EXTENDED_MASTER_SECRET => these.extended_master_secret = true,
                code::CONNECTION_ID => these.connection_id = Some(body.vector8()?),
                code::RENEGOTIATION_INFO => these.renegotiation_info = Some(body.vector8()?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(these)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        write_block(out, |out| {
            let bytes = [
                (code::EC_POINT_FORMATS, self.ec_point_formats),
                (code::CONNECTION_ID, self.connection_id),
                (code::RENEGOTIATION_INFO, self.renegotiation_info),
            ];
            for (code, bytes) in bytes {
                if let Some(bytes) = bytes {
                    write_one(out, code, |out| write_bytes::<1>(out, bytes));
                }
            }
            let values = [
                (code::MAX_FRAGMENT_LENGTH, self.max_fragment_length.map(|length| length as u8)),
                (code::CLIENT_CERTIFICATE_TYPE, self.client_certificate_type.map(|kind| kind as u8)),
                (code::SERVER_CERTIFICATE_TYPE, self.server_certificate_type.map(|kind| kind as u8)),
            ];
            for (code, value) in values {
                if let Some(value) = value {
                    write_one(out, code, |out| out.push(value));
                }
            }
            let flags = [
                (code::SERVER_NAME, self.server_name),
                (code::ENCRYPT_THEN_MAC, self.encrypt_then_mac),
                (code::EXTENDED_MASTER_SECRET, self.extended_master_secret),
            ];
            for (code, _) in flags.into_iter().filter(|&(_, set)| set) {
                write_one(out, code, |_| {});
            }
        });
    }
}

fn certificate_type(body: &mut Reader<'_>) -> Result<CertificateType, Malformed> {
    let code = body.u8()?;
    CertificateType::from_code(code).ok_or(Malformed::IllegalValue(code.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_answer_leaves_the_block_out() {
        let mut out = Vec::new();
        ServerExtensions::default().encode(&mut out);
        assert_eq!(out, b"");
    }

    #[test]
    fn every_answer_is_read_back() {
        let answer = ServerExtensions {
            server_name: true,
            max_fragment_length: Some(MaxFragmentLength::Bytes512),
            ec_point_formats: Some(&[0]),
            client_certificate_type: Some(CertificateType::RawPublicKey),
            server_certificate_type: Some(CertificateType::X509),
            encrypt_then_mac: true,
            extended_master_secret: true,
            connection_id: Some(b""),
            renegotiation_info: Some(b""),
        };
        let mut out = Vec::new();
        answer.encode(&mut out);
        let mut reader = Reader::new(&out);
        assert_eq!(ServerExtensions::read(&mut reader), Ok(answer));
        assert!(reader.is_empty());
    }
}
