//! One handshake of a client, from its first hello to both Finished.

use std::{sync::Arc, time::Instant};

use ring::rand::SecureRandom;
use smallvec::SmallVec;

use super::{
    Credential, Failure, Settings,
    session::{PeerCid, Session},
};
use crate::{
    certificate::PublicKey,
    extension::MaxFragmentLength,
    flight::{Flight, Item, Sizes},
    message::{Message, MessageType},
    prf::MasterSecret,
    protection::{ByNumber, ReadKeys, WriteKeys},
    reassembly::{Limits, Reassembly},
    record::{ContentType, DTLS_1_0, DTLS_1_2, HEADER, Header, MAX_PLAINTEXT},
    suite::CipherSuite,
    transcript::Transcript,
    window::ReplayWindow,
};

/// A session that is offered for resumption.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) session_id: SmallVec<[u8; 32]>,
    pub(super) master: MasterSecret,
    pub(super) suite: CipherSuite,
    pub(super) extended_master_secret: bool,
    pub(super) max_plaintext: u16,
}

impl From<&Session> for Offer {
    fn from(session: &Session) -> Self {
        Self {
            session_id: session.session_id.clone(),
            master: session.master.clone(),
            suite: session.suite,
            extended_master_secret: session.extended_master_secret,
            max_plaintext: session.max_plaintext,
        }
    }
}

/// What is awaited, in the order of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaiting {
    ServerHello,
    Certificate,
    ServerKeyExchange,
    /// Perhaps a CertificateRequest first; with PSK perhaps a hint.
    ServerHelloDone,
    /// Ours has been sent.
    Finished,
    /// Abbreviated: the server's comes first.
    FirstFinished,
}

/// What the ServerHello chose.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) suite: CipherSuite,
    pub(super) server_random: [u8; 32],
    pub(super) session_id: SmallVec<[u8; 32]>,
    pub(super) extended_master_secret: bool,
    pub(super) encrypt_then_mac: bool,
    pub(super) peer_cid: PeerCid,
    pub(super) uses_own_cid: bool,
    pub(super) resumed: bool,
    pub(super) raw_server_key: bool,
    pub(super) raw_client_key: bool,
    pub(super) max_plaintext: u16,
}

/// Keys of epoch 1 before the session is established.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) read: ReadKeys,
    pub(super) write: WriteKeys,
    pub(super) master: MasterSecret,
    pub(super) window: ReplayWindow,
}

/// What an established client keeps until the server has shown that it needs it no more.
#[derive(Debug)]
pub(super) struct LastFlight {
    pub(super) flight: Flight,
    pub(super) numbers: [u64; 2],
}

/// A handshake under way; a few KiB, freed when it ends.
#[derive(Debug)]
pub(super) struct Handshake {
    pub(super) settings: Arc<Settings>,
    pub(super) credential: Credential,
    pub(super) own_cid: Option<Box<[u8]>>,
    pub(super) offer: Option<Offer>,
    pub(super) awaiting: Awaiting,
    pub(super) random: [u8; 32],
    pub(super) cookie: Vec<u8>,
    /// HelloVerifyRequests that were answered.
    pub(super) verifications: u8,
    /// Of our next message.
    pub(super) message_seq: u16,
    pub(super) incoming: Reassembly,
    pub(super) transcript: Transcript,
    pub(super) flight: Flight,
    pub(super) sends: u8,
    /// Of the next record in epoch 0 and 1.
    pub(super) numbers: [u64; 2],
    pub(super) chosen: Option<Chosen>,
    pub(super) server_key: Option<PublicKey>,
    pub(super) server_point: Vec<u8>,
    pub(super) certificate_requested: bool,
    pub(super) pending: Option<Pending>,
}

/// What a message led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// More messages of the server's flight are to come.
    Wait,
    /// Our next flight is ready.
    Send,
    /// Both Finished are good.
    Establish,
    /// The same, and our last flight is ready.
    SendAndEstablish,
}

impl Handshake {
    pub(super) fn new(
        settings: Arc<Settings>,
        credential: Credential,
        own_cid: Option<Box<[u8]>>,
        offer: Option<Offer>,
        random: &dyn SecureRandom,
    ) -> Result<Self, Failure> {
        let mut client_random = [0; 32];
        random.fill(&mut client_random).map_err(|_| Failure::NoEntropy)?;
        let mut handshake = Self {
            flight: Flight::last(Vec::new()),
            settings,
            credential,
            own_cid,
            offer,
            awaiting: Awaiting::ServerHello,
            random: client_random,
            cookie: Vec::new(),
            verifications: 0,
            message_seq: 0,
            incoming: Reassembly::new(0, Limits::default()),
            transcript: Transcript::new(),
            sends: 0,
            numbers: [0; 2],
            chosen: None,
            server_key: None,
            server_point: Vec::new(),
            certificate_requested: false,
            pending: None,
        };
        handshake.hello()?;
        Ok(handshake)
    }

    /// Makes the next message of ours and adds it to the transcript.
    pub(super) fn message(&mut self, kind: MessageType, encode: impl FnOnce(&mut Vec<u8>)) -> Message {
        let message = Message::new(kind, self.message_seq, encode);
        self.message_seq += 1;
        self.transcript.add(&message);
        message
    }

    /// Our next flight, answered by the server's.
    pub(super) fn prepare(&mut self, items: Vec<Item>) {
        self.flight = Flight::awaiting_answer(items, self.settings.backoff);
        self.sends = 0;
    }

    /// The flight's datagrams, each time under new record numbers.
    pub(super) fn datagrams(
        &mut self,
        now: Instant,
        random: &dyn SecureRandom,
    ) -> Result<Vec<Vec<u8>>, Failure> {
        self.sends = self.sends.saturating_add(1);
        self.flight.mark_sent(now);
        let peer_cid = self.chosen.as_ref().map_or(&[][..], |chosen| &chosen.peer_cid);
        // RFC 6347 §4.2.1: before a version is agreed, records carry the older one.
        let version = if self.chosen.is_some() { DTLS_1_2 } else { DTLS_1_0 };
        let write = self.pending.as_ref().map(|pending| &pending.write);
        let sizes = sizes(&self.settings, write, peer_cid);
        seal_flight(&self.flight, sizes, &mut self.numbers, write, peer_cid, version, random)
    }

    /// The session that this handshake made, and what may have to be sent once more.
    pub(super) fn establish(self) -> Option<(Session, Option<LastFlight>)> {
        let (chosen, pending) = (self.chosen?, self.pending?);
        let session = Session {
            suite: chosen.suite,
            extended_master_secret: chosen.extended_master_secret,
            resumed: chosen.resumed,
            read: pending.read,
            write: pending.write,
            number: self.numbers[1],
            window: pending.window,
            peer_cid: chosen.peer_cid,
            uses_own_cid: chosen.uses_own_cid,
            master: pending.master,
            session_id: chosen.session_id,
            client_random: self.random,
            max_plaintext: chosen.max_plaintext,
        };
        let last = LastFlight { flight: self.flight, numbers: self.numbers };
        Some((session, chosen.resumed.then_some(last)))
    }
}

pub(super) fn sizes(settings: &Settings, write: Option<&WriteKeys>, peer_cid: &[u8]) -> Sizes {
    let protected = write.map_or(HEADER, |keys| keys.sealed_len(0, peer_cid.len()));
    let plaintext = settings.max_fragment_length.map_or(MAX_PLAINTEXT, MaxFragmentLength::bytes);
    Sizes { datagram: settings.datagram, plaintext, overhead: [HEADER, protected] }
}

/// Seals each record of a flight under the next number of its epoch.
pub(super) fn seal_flight(
    flight: &Flight,
    sizes: Sizes,
    numbers: &mut [u64; 2],
    write: Option<&WriteKeys>,
    peer_cid: &[u8],
    version: u16,
    random: &dyn SecureRandom,
) -> Result<Vec<Vec<u8>>, Failure> {
    flight.datagrams(sizes, |piece, out| {
        let number = &mut numbers[usize::from(piece.epoch).min(1)];
        match (piece.epoch, write) {
            (0, _) => {
                let header = Header { version, ..Header::plain(piece.content_type, *number) };
                header.encode_plain(piece.plaintext, out);
            }
            (_, Some(write)) => {
                let header = Header::protected(piece.content_type, *number, peer_cid);
                write.seal(&header, piece.plaintext, &mut ByNumber { random }, out)?;
            }
            (_, None) => return Err(Failure::Unexpected(MessageType::FINISHED)),
        }
        *number += 1;
        Ok(())
    })
}

/// A fatal alert in whichever epoch the handshake has reached.
pub(super) fn alert(handshake: &mut Handshake, bytes: [u8; 2], random: &dyn SecureRandom) -> Vec<u8> {
    let mut out = Vec::new();
    let sealed = match (&handshake.pending, &handshake.chosen) {
        (Some(pending), Some(chosen)) => {
            let header = Header::protected(ContentType::Alert, handshake.numbers[1], &chosen.peer_cid);
            handshake.numbers[1] += 1;
            pending.write.seal(&header, &bytes, &mut ByNumber { random }, &mut out).is_ok()
        }
        _ => false,
    };
    if !sealed {
        Header::plain(ContentType::Alert, handshake.numbers[0]).encode_plain(&bytes, &mut out);
        handshake.numbers[0] += 1;
    }
    out
}
