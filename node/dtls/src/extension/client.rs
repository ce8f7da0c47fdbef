//! What a client sends.

use super::{MaxFragmentLength, code, read_each, some_bytes, write_block, write_one};
use crate::wire::{Codes, Malformed, Reader, write_bytes, write_vector};

/// RFC 6066 §3.
const HOST_NAME: u8 = 0;

/// What a ClientHello asks for. `None` and `false`: the extension is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientExtensions<'a> {
    /// The first host name, as it is: also an address, which RFC 6066 §3 forbids and Mbed TLS sends.
    pub server_name: Option<&'a [u8]>,
    /// RFC 6066 §4.
    pub max_fragment_length: Option<MaxFragmentLength>,
    /// RFC 8422 §5.1.1, by preference. Left out: any group will do.
    pub supported_groups: Option<Codes<'a>>,
    /// RFC 8422 §5.1.2, never empty.
    pub ec_point_formats: Option<&'a [u8]>,
    /// RFC 5246 §7.4.1.4.1, by preference. Left out: SHA-1, which this crate does not sign.
    pub signature_algorithms: Option<Codes<'a>>,
    /// RFC 7250: what the client can show, by preference. Left out: X.509.
    pub client_certificate_types: Option<&'a [u8]>,
    /// RFC 7250: what the client can read, by preference. Left out: X.509.
    pub server_certificate_types: Option<&'a [u8]>,
    /// RFC 7366.
    pub encrypt_then_mac: bool,
    /// RFC 7627.
    pub extended_master_secret: bool,
    /// RFC 9146: what records to the client shall carry; may be empty.
    pub connection_id: Option<&'a [u8]>,
    /// RFC 5746: empty in every first handshake.
    pub renegotiation_info: Option<&'a [u8]>,
}

impl<'a> ClientExtensions<'a> {
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut these = ClientExtensions::default();
        read_each(reader, |code, body| {
            match code {
                code::SERVER_NAME => these.server_name = host_name(body)?,
                code::MAX_FRAGMENT_LENGTH => {
                    these.max_fragment_length = Some(MaxFragmentLength::read(body)?);
                }
                code::SUPPORTED_GROUPS => these.supported_groups = Some(Codes::read(body)?),
                code::EC_POINT_FORMATS => these.ec_point_formats = Some(some_bytes(body)?),
                code::SIGNATURE_ALGORITHMS => these.signature_algorithms = Some(Codes::read(body)?),
                code::CLIENT_CERTIFICATE_TYPE => these.client_certificate_types = Some(some_bytes(body)?),
                code::SERVER_CERTIFICATE_TYPE => these.server_certificate_types = Some(some_bytes(body)?),
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
            if let Some(name) = self.server_name {
                write_one(out, code::SERVER_NAME, |out| {
                    write_vector::<2>(out, |out| {
                        out.push(HOST_NAME);
                        write_bytes::<2>(out, name);
                    });
                });
            }
            if let Some(length) = self.max_fragment_length {
                write_one(out, code::MAX_FRAGMENT_LENGTH, |out| out.push(length as u8));
            }
            let lists = [
                (code::SUPPORTED_GROUPS, self.supported_groups),
                (code::SIGNATURE_ALGORITHMS, self.signature_algorithms),
            ];
            for (code, list) in lists {
                if let Some(list) = list {
                    write_one(out, code, |out| write_bytes::<2>(out, list.as_bytes()));
                }
            }
            let bytes = [
                (code::EC_POINT_FORMATS, self.ec_point_formats),
                (code::CLIENT_CERTIFICATE_TYPE, self.client_certificate_types),
                (code::SERVER_CERTIFICATE_TYPE, self.server_certificate_types),
                (code::CONNECTION_ID, self.connection_id),
                (code::RENEGOTIATION_INFO, self.renegotiation_info),
            ];
            for (code, bytes) in bytes {
                if let Some(bytes) = bytes {
                    write_one(out, code, |out| write_bytes::<1>(out, bytes));
                }
            }
            if self.encrypt_then_mac {
                write_one(out, code::ENCRYPT_THEN_MAC, |_| {});
            }
            if self.extended_master_secret {
                write_one(out, code::EXTENDED_MASTER_SECRET, |_| {});
            }
        });
    }
}

/// Names of other types are passed over; none of them is registered.
fn host_name<'a>(body: &mut Reader<'a>) -> Result<Option<&'a [u8]>, Malformed> {
    let mut names = Reader::new(body.vector16()?);
    let mut host = None;
    while !names.is_empty() {
        let kind = names.u8()?;
        let name = names.vector16()?;
        if kind == HOST_NAME && host.is_none() {
            host = Some(name);
        }
    }
    Ok(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<ClientExtensions<'_>, Malformed> {
        let mut reader = Reader::new(bytes);
        ClientExtensions::read(&mut reader)
    }

    #[test]
    fn an_extension_sent_twice_is_refused_even_an_unknown_one() {
        assert_eq!(read(&[0, 8, 0, 23, 0, 0, 0, 23, 0, 0]), Err(Malformed::DuplicateExtension(23)));
        assert_eq!(
            read(&[0, 8, 0x12, 0x34, 0, 0, 0x12, 0x34, 0, 0]),
            Err(Malformed::DuplicateExtension(0x1234))
        );
    }

    #[test]
    fn unknown_extensions_are_ignored_whatever_they_hold() {
        let bytes = [0, 13, 0, 43, 0, 3, 2, 0xfe, 0xfc, 0x5a, 0x5a, 0, 2, 9, 9];
        assert_eq!(read(&bytes), Ok(ClientExtensions::default()), "supported_versions and GREASE");
    }

    #[test]
    fn a_body_that_is_not_what_its_specification_says_is_refused() {
        for (bytes, error) in [
            (&[0, 5, 0, 23, 0, 1, 0][..], Malformed::Extension(23)),
            (&[0, 6, 0, 54, 0, 2, 3, 1], Malformed::Extension(54)),
            (&[0, 7, 0, 54, 0, 3, 1, 1, 1], Malformed::Extension(54)),
            (&[0, 7, 0, 10, 0, 3, 0, 1, 23], Malformed::Extension(10)),
            (&[0, 6, 0, 10, 0, 2, 0, 0], Malformed::Extension(10)),
            (&[0, 5, 0, 19, 0, 1, 0], Malformed::Extension(19)),
            (&[0, 5, 0, 1, 0, 1, 5], Malformed::IllegalValue(5)),
            (&[0, 4, 0, 23, 0, 9], Malformed::Truncated { needed: 9, left: 0 }),
        ] {
            assert_eq!(read(bytes), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn a_server_name_may_be_an_address() {
        let bytes = b"\0\x12\0\0\0\x0e\0\x0c\0\0\x09127.0.0.1";
        assert_eq!(read(bytes).unwrap().server_name, Some(&b"127.0.0.1"[..]));
    }

    #[test]
    fn a_crowd_of_extensions_is_refused() {
        let mut block = Vec::new();
        for code in 100..165_u16 {
            block.extend(code.to_be_bytes());
            block.extend([0, 0]);
        }
        let mut bytes = (block.len() as u16).to_be_bytes().to_vec();
        bytes.extend(block);
        assert_eq!(read(&bytes), Err(Malformed::TooMany(64)));
    }
}
