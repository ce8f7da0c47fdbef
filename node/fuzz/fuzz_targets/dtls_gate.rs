//! Strangers' datagrams: no answer is longer than its question, and nobody gets in without a cookie of ours.
#![no_main]

use std::net::SocketAddr;

use godwit_dtls::{
    gate::{Gate, Verdict},
    message::{Fragments, HelloVerifyRequest},
    record::Records,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, u32, &[u8])| {
    let (port, later, datagram) = input;
    let mut gate = Gate::new(b"the cluster's secret of 32 bytes");
    let peer = SocketAddr::from(([127, 0, 0, 1], port));
    let unix = 1_780_272_000;
    match gate.handle(unix, peer, datagram) {
        Verdict::Admit => panic!("no cookie was given out"),
        Verdict::Drop(_) => {}
        Verdict::Answer(answer) => {
            assert!(answer.len() <= datagram.len());
            let record = Records::parse(&answer, 0).next().expect("a record").expect("well-formed");
            let fragment = Fragments::parse(record.fragment).next().expect("a message").expect("whole");
            let request = HelloVerifyRequest::parse(fragment.bytes).expect("a HelloVerifyRequest");
            assert!(request.cookie.len() <= 32);
            // The same question has the same answer as long as its key lives.
            let again = gate.handle(unix + u64::from(later % 600), peer, datagram);
            assert!(matches!(again, Verdict::Answer(_)));
        }
    }
});
