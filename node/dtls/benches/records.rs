//! What a record costs: `cargo bench -p godwit-dtls --bench records`.
//!
//! Keys are set up for each record, as the node does it; the last lines show what a kept key schedule would save.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark"
)]

use std::{hint::black_box, time::Instant};

use aes::Aes128;
use ccm::{
    Ccm,
    aead::{AeadInOut, KeyInit},
    consts::{U8, U12},
};
use godwit_dtls::{
    cid::CidKeys,
    nonce::NonceSource,
    prf::{MasterSecret, psk_premaster},
    protection::{Keys, Lane, ReadKeys, WriteKeys},
    record::{ContentType, Header, Records},
    suite::Cipher,
    window::ReplayWindow,
};
use ring::{aead, hmac, rand::SystemRandom};

const ROUNDS: u32 = 300_000;

/// Prints nanoseconds per round.
fn measure(name: &str, mut work: impl FnMut(u32)) {
    for round in 0..ROUNDS / 10 {
        work(round);
    }
    let start = Instant::now();
    for round in 0..ROUNDS {
        work(round);
    }
    println!("{name:<44} {:>7.0} ns", start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS));
}

fn keys(cipher: Cipher) -> Keys {
    Keys::new(cipher, &[7; 16], &[8; 4][..cipher.fixed_iv_len()], &[9; 32][..cipher.mac_key_len()])
}

fn main() {
    let random = SystemRandom::new();
    let mut nonces = NonceSource::new(1, 0, u32::MAX);
    for cipher in [Cipher::Ccm8, Cipher::Gcm, Cipher::Cbc, Cipher::CbcEtm] {
        let (write, read) = (WriteKeys::from(keys(cipher)), ReadKeys::from(keys(cipher)));
        for (size, cid) in [(64, &[][..]), (64, &[5; 8]), (1024, &[5; 8])] {
            let plaintext = vec![3; size];
            let mut out = Vec::with_capacity(2048);
            let name = format!("{cipher:?} {size} B{}", if cid.is_empty() { "" } else { ", CID" });
            measure(&format!("{name}: seal"), |round| {
                out.clear();
                let header = Header::protected(ContentType::ApplicationData, round.into(), cid);
                let mut fresh = Lane { nonces: &mut nonces, second: 1, random: &random };
                write.seal(&header, black_box(&plaintext), &mut fresh, &mut out).unwrap();
            });
            measure(&format!("{name}: frame and open"), |_| {
                let record = Records::parse(black_box(&out), cid.len()).next().unwrap().unwrap();
                black_box(read.open(&record).unwrap());
            });
        }
    }
    forged_padding(&random);
    schedules();
    others(&mut nonces);
}

/// The times of good and bad CBC records of one length must not differ by more than the noise.
fn forged_padding(random: &SystemRandom) {
    let (write, read) = (WriteKeys::from(keys(Cipher::Cbc)), ReadKeys::from(keys(Cipher::Cbc)));
    let header = Header::protected(ContentType::ApplicationData, 1, &[]);
    let mut fresh = Lane { nonces: &mut NonceSource::new(2, 0, 9), second: 1, random };
    let mut good = Vec::new();
    write.seal(&header, &[3; 400], &mut fresh, &mut good).unwrap();
    let (mut bad_mac, mut bad_padding) = (good.clone(), good.clone());
    bad_mac[20] ^= 1;
    *bad_padding.last_mut().unwrap() ^= 1;
    for (name, bytes) in [("good", &good), ("bad MAC", &bad_mac), ("bad padding", &bad_padding)] {
        measure(&format!("Cbc 400 B: open, {name}"), |_| {
            let record = Records::parse(black_box(bytes), 0).next().unwrap().unwrap();
            let _ = black_box(read.open(&record));
        });
    }
}

/// Setting up a key against using one that is set up.
fn schedules() {
    type Ccm8 = Ccm<Aes128, U8, U12>;
    let (key, nonce) = ([7u8; 16], [1u8; 12]);
    let mut buffer = [0u8; 64];
    measure("CCM_8 schedule: set up", |_| {
        black_box(Ccm8::new(black_box(&key).into()));
    });
    let cipher = Ccm8::new((&key).into());
    measure("CCM_8 schedule: kept, encrypt 64 B", |_| {
        let buffer = black_box(&mut buffer[..]);
        black_box(cipher.encrypt_inout_detached(&nonce.into(), &[0; 13], buffer.into()).unwrap());
    });
    measure("CCM_8 schedule: per record, encrypt 64 B", |_| {
        let (cipher, buffer) = (Ccm8::new(black_box(&key).into()), black_box(&mut buffer[..]));
        black_box(cipher.encrypt_inout_detached(&nonce.into(), &[0; 13], buffer.into()).unwrap());
    });
    measure("GCM schedule: set up", |_| {
        let key = aead::UnboundKey::new(&aead::AES_128_GCM, black_box(&key)).unwrap();
        black_box(aead::LessSafeKey::new(key));
    });
    measure("HMAC-SHA-256 schedule: set up", |_| {
        black_box(hmac::Key::new(hmac::HMAC_SHA256, black_box(&[9; 32])));
    });
    println!(
        "kept schedules: CCM_8 {} bytes, GCM {} bytes, HMAC {} bytes; keys {} bytes",
        size_of::<Ccm8>(),
        size_of::<aead::LessSafeKey>(),
        size_of::<hmac::Key>(),
        size_of::<Keys>(),
    );
}

fn others(nonces: &mut NonceSource) {
    let cid_keys = CidKeys::new(0, &[7; 32]);
    let cid = cid_keys.mint([1; 5], 3);
    measure("CID: check its tag", |_| assert!(cid_keys.check(black_box(&cid.0))));
    measure("nonce", |_| _ = black_box(nonces.next(1).unwrap()));
    let mut window = ReplayWindow::new();
    measure("window: accept", |round| _ = black_box(window.accept(round.into())));
    measure("PSK key schedule, whole handshake", |_| {
        let secret = MasterSecret::extended(&psk_premaster(black_box(&[1; 16])), &[2; 32]);
        black_box(secret.keys(Cipher::Ccm8, &[3; 32], &[4; 32]));
        black_box(secret.verify_data(godwit_dtls::prf::Side::Client, &[5; 32]));
        black_box(secret.verify_data(godwit_dtls::prf::Side::Server, &[5; 32]));
    });
}
