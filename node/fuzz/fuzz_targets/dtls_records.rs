//! Records: framed without a panic, written as they were read, and never opened without the keys.
#![no_main]

use godwit_dtls::{
    protection::{Keys, ReadKeys},
    record::Records,
    suite::Cipher,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (cid_len, datagram) = input;
    let keys = [
        Keys::new(Cipher::Ccm8, &[1; 16], &[2; 4], &[]),
        Keys::new(Cipher::Gcm, &[1; 16], &[2; 4], &[]),
        Keys::new(Cipher::Cbc, &[1; 16], &[], &[3; 32]),
        Keys::new(Cipher::CbcEtm, &[1; 16], &[], &[3; 32]),
    ]
    .map(ReadKeys::from);
    let mut bytes = 0;
    for record in Records::parse(datagram, usize::from(cid_len % 33)) {
        let Ok(record) = record else { break };
        bytes += 13 + record.cid.len() + record.fragment.len();
        for keys in &keys {
            assert!(keys.open(&record).is_err(), "nobody sealed this");
        }
    }
    assert!(bytes <= datagram.len());
});
