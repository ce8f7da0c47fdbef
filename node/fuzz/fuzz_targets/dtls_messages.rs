//! Handshake bodies, alerts and fragments: what is read is written the same, or at least read the same again.
#![no_main]

use godwit_dtls::{
    alert::Alert,
    message::{
        CertificateRequest, CertificateVerify, Chain, ClientHello, ClientKeyExchange, Finished, Fragments,
        HelloPrefix, HelloVerifyRequest, PskHint, RawPublicKey, ServerHello, ServerKeyExchange,
    },
};
use libfuzzer_sys::fuzz_target;

/// Reads, writes, and compares bytes.
macro_rules! same_bytes {
    ($parsed:expr, $body:expr) => {
        if let Ok(view) = $parsed {
            let mut out = Vec::new();
            view.encode(&mut out);
            assert_eq!(out, $body);
        }
    };
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, body)) = bytes.split_first() else { return };
    match kind % 14 {
        0 => {
            if let Ok(hello) = ClientHello::parse(body) {
                assert_eq!(HelloPrefix::parse(body), Ok(hello.prefix));
                let mut out = Vec::new();
                hello.encode(&mut out);
                assert_eq!(ClientHello::parse(&out), Ok(hello));
            }
        }
        1 => {
            if let Ok(hello) = ServerHello::parse(body) {
                let mut out = Vec::new();
                hello.encode(&mut out);
                assert_eq!(ServerHello::parse(&out), Ok(hello));
            }
        }
        2 => same_bytes!(HelloVerifyRequest::parse(body), body),
        3 => same_bytes!(Chain::parse(body), body),
        4 => same_bytes!(RawPublicKey::parse(body), body),
        5 => same_bytes!(ServerKeyExchange::parse(body), body),
        6 => same_bytes!(PskHint::parse(body), body),
        7 => same_bytes!(CertificateRequest::parse(body), body),
        8 => same_bytes!(ClientKeyExchange::parse_psk(body), body),
        9 => same_bytes!(ClientKeyExchange::parse_ecdhe(body), body),
        10 => same_bytes!(CertificateVerify::parse(body), body),
        11 => same_bytes!(Finished::parse(body), body),
        12 => {
            let fragments: Result<Vec<_>, _> = Fragments::parse(body).collect();
            if let Ok(fragments) = fragments {
                let mut out = Vec::new();
                fragments.iter().for_each(|fragment| fragment.encode(&mut out));
                assert_eq!(out, body);
            }
        }
        _ => {
            if let Ok(alert) = Alert::parse(body) {
                assert_eq!(alert.to_bytes(), body);
            }
        }
    }
});
