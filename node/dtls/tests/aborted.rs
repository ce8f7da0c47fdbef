//! Ten thousand handshakes that come to nothing, of every kind: afterwards memory is where it was.
//!
//! One test alone in its binary, as it counts every byte that the process allocates. `SCALE=soak` makes a million.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(unsafe_code, reason = "a global allocator that counts can't be written without")]

mod kit;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicIsize, Ordering},
    time::Instant,
};

use godwit_dtls::{
    alert::{Alert, AlertDescription},
    message::{Fragment, MessageType},
    record::ContentType,
};
use kit::{
    Seeded,
    credentials::{CREDENTIALS, IDENTITY, KEY, signing_key},
    hand::{CID, Hand, Offer},
    scale,
    server::Server,
    soak::report,
    start,
};

struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Ways for a handshake to end early.
#[derive(Clone, Copy, Debug)]
enum Way {
    NoCookie,
    SilentAfterCookie,
    SilentAfterKeyExchange,
    WrongKey,
    WrongFinished,
    UnknownIdentity,
    Stranger,
    WrongSignature,
    HalfAMessage,
    Garbage,
    Refused,
    GivesUp,
    StartsOver,
    NotStored,
    ResumedAndSilent,
    ResumedAndWrong,
}

const WAYS: [Way; 16] = [
    Way::NoCookie,
    Way::SilentAfterCookie,
    Way::SilentAfterKeyExchange,
    Way::WrongKey,
    Way::WrongFinished,
    Way::UnknownIdentity,
    Way::Stranger,
    Way::WrongSignature,
    Way::HalfAMessage,
    Way::Garbage,
    Way::Refused,
    Way::GivesUp,
    Way::StartsOver,
    Way::NotStored,
    Way::ResumedAndSilent,
    Way::ResumedAndWrong,
];

fn offer(random: &mut Seeded, psk: bool) -> Offer {
    let offer = if psk { Offer::psk() } else { Offer::raw_public_key() };
    if random.percent(50) { offer.with(CID, &[3, 1, 2, 3]) } else { offer }
}

/// One handshake; `session` is one that can be resumed.
fn abort(way: Way, server: &mut Server, session: &Hand, random: &mut Seeded, now: Instant) {
    let ecdhe = matches!(way, Way::Stranger | Way::WrongSignature) || random.percent(20);
    let mut hand = Hand::new(now, offer(random, !ecdhe));
    match way {
        Way::NoCookie => {
            let hello = hand.hello();
            hand.tell(server, &hello);
        }
        Way::SilentAfterCookie => hand.greet(server),
        Way::SilentAfterKeyExchange => {
            hand.greet(server);
            if ecdhe {
                let (certificate, exchange) =
                    (hand.certificate(&CREDENTIALS.device, true), hand.ecdhe_key_exchange());
                hand.tell(server, &certificate);
                hand.tell(server, &exchange);
            } else {
                let exchange = hand.psk_key_exchange(IDENTITY, KEY);
                hand.tell(server, &exchange);
            }
        }
        Way::WrongKey | Way::UnknownIdentity | Way::WrongFinished | Way::NotStored => {
            hand = Hand::new(now, offer(random, true));
            hand.greet(server);
            let (identity, key): (&[u8], &[u8]) = match way {
                Way::WrongKey => (IDENTITY, b"guess"),
                Way::UnknownIdentity => (b"nobody", KEY),
                _ => (IDENTITY, KEY),
            };
            server.store_fails = true;
            let exchange = hand.psk_key_exchange(identity, key);
            hand.tell(server, &exchange);
            let finished =
                if let Way::WrongFinished = way { hand.finished_with(&[0; 12]) } else { hand.finished() };
            hand.tell(server, &finished);
            server.store_fails = false;
        }
        Way::Stranger | Way::WrongSignature => {
            hand.greet(server);
            let device = if let Way::Stranger = way { &CREDENTIALS.stranger } else { &CREDENTIALS.device };
            hand.complete_ecdhe(server, device, &signing_key(&CREDENTIALS.stranger), true);
        }
        Way::HalfAMessage => {
            hand.greet(server);
            for seq in 0..5 {
                let mut fragment = Vec::new();
                let total = random.below(20_000) as usize;
                let bytes = &[7; 300][..total.min(300)];
                let offset = random.below((total - bytes.len() + 1) as u64) as usize;
                Fragment { kind: MessageType::CERTIFICATE, total, seq: hand.seq + seq, offset, bytes }
                    .encode(&mut fragment);
                let datagram = hand.plain(ContentType::Handshake, &fragment);
                hand.tell(server, &datagram);
            }
        }
        Way::Garbage => {
            hand.greet(server);
            for _ in 0..10 {
                let mut datagram = hand.plain(ContentType::Handshake, &[0; 60]);
                let at = datagram.len() - 60;
                datagram[at..].iter_mut().for_each(|byte| *byte = random.next() as u8);
                datagram[4] = random.below(2) as u8;
                server.exchange(now, &datagram);
            }
        }
        Way::Refused => {
            hand.offer.suites = vec![0x1301];
            hand.greet(server);
        }
        Way::GivesUp => {
            hand.greet(server);
            let alert = Alert::fatal(AlertDescription::USER_CANCELED).to_bytes();
            let alert = hand.plain(ContentType::Alert, &alert);
            hand.tell(server, &alert);
        }
        Way::StartsOver => {
            for _ in 0..4 {
                Hand::new(now, offer(random, true)).greet(server);
            }
        }
        Way::ResumedAndSilent | Way::ResumedAndWrong => {
            let id = session.agreed.as_ref().unwrap().session_id.clone();
            let mut again = session.again(Offer::psk().resuming(&id));
            again.greet(server);
            assert_eq!(again.kinds().last(), Some(&MessageType::FINISHED));
            if let Way::ResumedAndWrong = way {
                let wrong = again.finished_with(&[0; 12]);
                again.tell(server, &wrong);
            }
            // What a store does after 60 s.
            server.provisional.clear();
        }
    }
}

/// Lets time pass until nothing is under way.
fn wait(server: &mut Server, now: &mut Instant) {
    while let Some(due) = server.poll_timeout() {
        *now = (*now).max(due);
        server.handle_timeout(*now);
        server.sent.clear();
    }
}

#[test]
fn aborted_handshakes_leave_nothing_behind() {
    let mut now = start();
    let mut server = Server::new(now);
    let mut session = Hand::new(now, Offer::psk());
    session.establish_psk(&mut server, IDENTITY, KEY);
    server.association = None;

    let mut random = Seeded::new(4);
    let mut run = |server: &mut Server, count: u64| {
        for round in 0..count {
            let way = WAYS[(round % WAYS.len() as u64) as usize];
            abort(way, server, &session, &mut random, now);
            wait(server, &mut now);
            assert!(server.association.is_none(), "{way:?}");
            assert_eq!(server.open_questions(), 0, "{way:?}");
            assert_eq!((server.sessions.len(), server.provisional.len()), (1, 0), "{way:?}");
            server.events.clear();
            server.gate_drops.clear();
        }
        server.sent.shrink_to_fit();
        server.sealed = std::collections::HashSet::new();
        LIVE.load(Ordering::Relaxed)
    };
    // Tables and caches find their size.
    let before = run(&mut server, 320);
    let count = scale(10_000, 1_000_000);
    let after = run(&mut server, count);
    assert!(after - before < 1024, "{} bytes are left of {before}", after - before);
    report(
        "aborted",
        "Aborted DTLS handshakes",
        "aborted_handshakes_leave_nothing_behind",
        format!(
            "{count} handshakes that ended in {} ways; live heap {before} bytes before, {after} after",
            WAYS.len()
        ),
    );

    let mut good = Hand::new(now, Offer::psk());
    good.establish_psk(&mut server, IDENTITY, KEY);
}
