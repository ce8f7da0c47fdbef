//! Stored sessions: damaged ones are refused; what is read is written the same, and can go on.
#![no_main]
#![allow(deprecated, reason = "ring has no other source of randomness that repeats")]

use std::time::Instant;

use godwit_dtls::{
    Association, Config, Context, Naming, Numbering, Numbers, SessionId, SessionName, StoredSession,
    cid::{CID_LEN, Cid},
    nonce::NonceSource,
};
use libfuzzer_sys::fuzz_target;
use ring::test::rand::FixedByteRandom;

struct NoNames;

impl Naming for NoNames {
    fn name(&mut self) -> Cid {
        Cid([1; CID_LEN])
    }

    fn session_id(&mut self, _: &SessionName) -> SessionId {
        SessionId([2; 32])
    }
}

fuzz_target!(|input: (bool, &[u8], &[u8], &[u8])| {
    let (exact, secrets, numbers, datagram) = input;
    if let Ok(read) = Numbers::decode(numbers) {
        assert_eq!(Numbers::decode(&read.encode()), Ok(read));
    }
    let Ok(session) = StoredSession::decode(secrets, numbers) else { return };
    let again = StoredSession::decode(&session.encode_secrets(), numbers);
    assert_eq!(again.map(|again| again.id()), Ok(session.id()));
    let _ = session.authenticate(datagram);

    #[allow(clippy::disallowed_methods, reason = "an instant to start from")]
    let now = Instant::now();
    let mut cx = Context {
        now,
        unix: 1_780_272_000,
        config: &Config::default(),
        nonces: &mut NonceSource::new(1, 0, u32::MAX),
        random: &FixedByteRandom { byte: 3 },
        naming: &mut NoNames,
    };
    let numbering = if exact { Numbering::Exact } else { Numbering::Jump };
    let mut association = Association::resume(session, numbering);
    let _ = association.send(&mut cx, b"on we go");
    let _ = association.handle_datagram(&mut cx, datagram);
    let _ = association.numbers();
    association.handle_timeout(&mut cx);
    association.close(&mut cx);
    while association.poll().is_some() {}
});
