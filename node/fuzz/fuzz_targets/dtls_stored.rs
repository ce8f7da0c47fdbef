//! Stored sessions: damaged ones are refused, and what is read is written the same.
#![no_main]

use godwit_dtls::{Numbers, StoredSession};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &[u8], &[u8])| {
    let (secrets, numbers, datagram) = input;
    if let Ok(read) = Numbers::decode(numbers) {
        assert_eq!(read.encode(), numbers);
    }
    if let Ok(session) = StoredSession::decode(secrets, numbers) {
        assert_eq!(
            StoredSession::decode(&session.encode_secrets(), numbers).map(|again| again.id()),
            Ok(session.id())
        );
        let _ = session.authenticate(datagram);
    }
});
