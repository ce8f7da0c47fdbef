//! Who sees all datagrams, all keys, and the store: what must hold at each step.

use std::collections::{BTreeMap, HashMap, HashSet, hash_map::Entry};

use godwit_dtls::record::{ContentType, Records};

use super::{
    callers::Callers,
    coap::{ACK, CHANGED, CREATED, DELETED, Message},
    device::{Heard, What},
};
use crate::{
    identity::{AssociationId, DeviceId, Owner},
    store::{Change, DeviceRecord, Fence},
    telemetry::Record,
};

/// What must never happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Violation {
    /// Two different records under one nonce.
    NonceTwice { lane: u16, second: u32 },
    /// A record number that is not above the one before, from one owner.
    NumberNotRising { before: u64, number: u64 },
    /// A record number that another owner has sent, though the store forgot nothing.
    NumberTwice { number: u64 },
    /// A state-changing request got an answer before, and not this one.
    TwoAnswers { before: u8, now: u8 },
    /// It was answered, and its write was not made.
    AnsweredUnwritten { code: u8 },
    /// A value was acknowledged that is not durable.
    AcknowledgedUnstored { value: u64 },
    /// A record was accepted twice, with an exact claim or none in between.
    AcceptedTwice { number: u64 },
    /// The store has taken a write in a term below a claim's.
    WrittenAfterClaim { term: u64, claimed: u64 },
    /// An endpoint was not built from its claim's answer.
    NotTheClaimsAnswer { term: u64 },
    /// A claim's term was given before.
    TermTwice { term: u64 },
    /// A node took something from a device that was claimed by another before the node's pause was over.
    StaleAfterPause { term: u64, claimed: u64 },
    /// A node took something from a device that it had given up and not claimed.
    ServedAfterRelease { term: u64 },
    /// An acknowledged registration is not known any more.
    RegistrationLost,
    /// A session is on record that an acknowledged write has replaced or removed.
    SessionCameBack { association: AssociationId },
    /// Faults have ended long ago, and the device is not served.
    NotServed,
    /// A registration has expired, though an answer promised that it would live.
    ExpiredEarly { after_ms: u64 },
    /// A registration has expired before its device could say, after an outage, that it is there.
    ExpiredInOutage { after_ms: u64 },
    /// An update was answered whose deadline is not on record long after all faults.
    DebtForgotten,
    /// An Execute was carried out twice.
    CarriedOutTwice { number: u64 },
    /// An Execute was carried out whose caller was told that it was never sent.
    CarriedOutAfterEnd { number: u64 },
    /// An Execute has succeeded that was never carried out.
    NotCarriedOut { number: u64 },
    /// A caller was told twice.
    ToldTwice { number: u64 },
    /// A command that was taken is not on record.
    CommandLost { number: u64 },
    /// A command waits at a living owner though its time is over.
    CommandWaits { number: u64 },
    /// A caller was told long ago how its command has ended, and its living owner has not written it.
    EndNotWritten { number: u64 },
}

/// An outage that no node's validity outlives.
const LONG: u64 = 12_000_000;
/// Between the ends of an outage and what nodes see of them.
const SLACK: u64 = 4_000_000;

#[derive(Default)]
struct OfDevice {
    /// The highest term that was claimed, by whom, and when.
    claimed: Option<(u64, Owner, u64)>,
    terms: HashSet<u64>,
    /// What the store has answered to the last claim.
    granted: Option<(u64, Box<DeviceRecord>)>,
    /// How often the numbers may have jumped.
    inexact: u32,
    released: HashSet<(Owner, u64)>,
    /// What it asks, and its lifetime after that.
    asked: HashMap<Vec<u8>, (What, u32)>,
    notified: HashMap<u16, u64>,
    answers: HashMap<Vec<u8>, (u8, Vec<String>)>,
    /// Tokens of requests that their nodes have no answer to, and their ids: it may come to another node.
    open: HashMap<(Owner, Vec<u8>), u16>,
    /// Its sessions that acknowledged writes have replaced or removed.
    gone: HashSet<AssociationId>,
    /// Tokens of the requests that were applied.
    applied: HashSet<Vec<u8>>,
    /// When it was last told that it is registered, and for how many seconds.
    promised: Option<(u64, u32)>,
    /// Its registration has expired, and it has not heard so yet.
    expired: bool,
}

/// The observer.
#[derive(Default)]
pub(super) struct Observer {
    devices: BTreeMap<DeviceId, OfDevice>,
    nonces: HashMap<[u8; 8], u64>,
    numbers: HashMap<(AssociationId, u64), Owner>,
    last: HashMap<(AssociationId, Owner), u64>,
    /// How often numbers may have jumped when a record was accepted; `None`: its owner did not know of a later claim.
    accepted: HashMap<(AssociationId, u64), Option<u32>>,
    durable: HashSet<u64>,
    resumed: HashMap<Owner, u64>,
    /// The store has forgotten acknowledged writes.
    pub(super) forgot: bool,
    /// A node has died, so that what the store forgot may be lost for good.
    pub(super) died: bool,
    pub(super) violations: Vec<Violation>,
    pub(super) callers: Callers,
    /// The store was out of sight of all from the one to the other moment.
    pub(super) outages: Vec<(u64, u64)>,
    pub(super) claims: u64,
    pub(super) presents: u64,
    pub(super) records: u64,
}

impl Observer {
    /// Both at once may lose what only the two of them knew.
    pub(super) fn excuses(&self) -> bool {
        self.forgot && self.died
    }

    fn report(&mut self, violation: Violation) {
        self.violations.push(violation);
    }

    pub(super) fn note(&mut self, violation: Option<Violation>) {
        self.violations.extend(violation);
    }

    /// Whether a device's registration is over, though it may not know.
    pub(super) fn has_expired(&self, device: DeviceId) -> bool {
        self.devices.get(&device).is_some_and(|known| known.expired)
    }

    /// Whether nobody has claimed a device since this moment.
    pub(super) fn has_since(&self, device: DeviceId, since_us: u64) -> bool {
        let claimed = self.devices.get(&device).and_then(|known| known.claimed.as_ref());
        claimed.is_some_and(|(_, _, at_us)| *at_us < since_us)
    }

    /// Until when a device was last told that it is registered, if nothing that was owed to the store may be lost.
    pub(super) fn promised_until(&self, device: DeviceId) -> Option<u64> {
        let known = self.devices.get(&device).filter(|known| !known.expired && !self.died)?;
        known.promised.map(|(at_us, lifetime)| at_us + u64::from(lifetime) * 1_000_000)
    }

    /// A node has ended a registration because its time is over.
    pub(super) fn expired(&mut self, device: DeviceId, now_us: u64) {
        let known = self.devices.entry(device).or_default();
        known.expired = true;
        let until = known.promised.map_or(0, |(at_us, lifetime)| at_us + u64::from(lifetime) * 1_000_000);
        // What was answered in an outage is lost with whoever did so.
        let may_be_lost = self.excuses() || self.died && !self.outages.is_empty();
        if now_us < until && !may_be_lost {
            let after_ms = (until - now_us) / 1_000;
            return self.report(Violation::ExpiredEarly { after_ms });
        }
        let hasty = |(begin, end): &&(u64, u64)| {
            let length = end.saturating_sub(*begin);
            length >= LONG && now_us >= *begin && now_us < end.saturating_add(length) - SLACK
        };
        if let Some((_, end)) = self.outages.iter().find(hasty) {
            let after_ms = now_us.saturating_sub(*end) / 1_000;
            self.report(Violation::ExpiredInOutage { after_ms });
        }
    }

    pub(super) fn resumed(&mut self, node: &Owner, now_us: u64) {
        self.resumed.insert(node.clone(), now_us);
    }

    /// The store grants a claim.
    pub(super) fn granted(&mut self, device: DeviceId, term: u64, record: Box<DeviceRecord>) {
        let sessions = record.sessions.iter().map(|session| session.association);
        self.look_for_gone(device, sessions);
        self.devices.entry(device).or_default().granted = Some((term, record));
    }

    pub(super) fn claimed(
        &mut self,
        node: &Owner,
        device: DeviceId,
        (term, exact, record): (u64, bool, &DeviceRecord),
        now_us: u64,
    ) {
        self.claims += 1;
        let known = self.devices.entry(device).or_default();
        let state = |record: &DeviceRecord| {
            let sessions: Vec<_> = record
                .sessions
                .iter()
                .map(|it| (it.association, it.provisional, it.numbers.write_mark))
                .collect();
            (record.registration.clone(), record.applied.clone(), record.observations.clone(), sessions)
        };
        if let Some((granted, answer)) = &known.granted
            && *granted == term
            && state(answer) != state(record)
        {
            return self.report(Violation::NotTheClaimsAnswer { term });
        }
        let known = self.devices.entry(device).or_default();
        let twice = !known.terms.insert(term);
        let before = known.claimed.as_ref().map_or(0, |(term, ..)| *term);
        if !exact {
            known.inexact += 1;
        }
        if term > before {
            known.claimed = Some((term, node.clone(), now_us));
        }
        if twice {
            self.report(Violation::TermTwice { term });
        }
    }

    pub(super) fn released(&mut self, node: &Owner, device: DeviceId, term: u64) {
        self.devices.entry(device).or_default().released.insert((node.clone(), term));
    }

    /// The store has made a write.
    pub(super) fn written(&mut self, device: DeviceId, fence: &Fence, changes: &[Change]) {
        let known = self.devices.entry(device).or_default();
        if let Some((claimed, _)) = &known.granted
            && *claimed > fence.term
            && !self.forgot
        {
            let (term, claimed) = (fence.term, *claimed);
            return self.report(Violation::WrittenAfterClaim { term, claimed });
        }
        for change in changes {
            match change {
                Change::Applied(applied) => drop(known.applied.insert(applied.token.clone())),
                Change::Session(session) => drop(known.gone.remove(&session.association)),
                _ => {}
            }
        }
    }

    /// A node knows that these sessions of a device are not on record any more.
    pub(super) fn ended(&mut self, device: DeviceId, sessions: Vec<AssociationId>) {
        self.devices.entry(device).or_default().gone.extend(sessions);
    }

    /// These sessions of a device are on record.
    pub(super) fn look_for_gone(
        &mut self,
        device: DeviceId,
        sessions: impl IntoIterator<Item = AssociationId>,
    ) {
        let gone = self.devices.get(&device).map(|known| &known.gone).filter(|_| !self.excuses());
        let back = sessions.into_iter().find(|session| gone.is_some_and(|gone| gone.contains(session)));
        self.note(back.map(|association| Violation::SessionCameBack { association }));
    }

    pub(super) fn durable(&mut self, records: &[Record]) {
        for record in records {
            let text = format!("{:?}", record.data);
            for word in text.split(|c: char| !c.is_ascii_digit() && c != '.') {
                if let Ok(value) = word.trim_end_matches(".0").parse() {
                    self.durable.insert(value);
                }
            }
        }
    }

    pub(super) fn accepted(
        &mut self,
        (node, term): (&Owner, u64),
        device: DeviceId,
        association: AssociationId,
        number: u64,
        plaintext: &[u8],
        now_us: u64,
    ) {
        let known = self.devices.entry(device).or_default();
        if let Some(message) = Message::decode(plaintext)
            && message.is_response()
            && let Entry::Occupied(open) = known.open.entry((node.clone(), message.token))
            // To a node that has asked by the same token under another id, it is nobody's acknowledgement.
            && (message.kind != ACK || *open.get() == message.id)
        {
            open.remove();
        }
        let jumps = known.inexact;
        let current = known.claimed.clone().filter(|(claimed, ..)| *claimed > term);
        let released = known.released.contains(&(node.clone(), term));
        let resumed = self.resumed.get(node).copied();
        let known_jumps = current.is_none().then_some(jumps);
        let earlier = self.accepted.insert((association, number), known_jumps);
        if let Some((claimed, _, at_us)) = &current
            && resumed.is_some_and(|resumed| *at_us < resumed && resumed <= now_us)
            && !self.forgot
        {
            self.report(Violation::StaleAfterPause { term, claimed: *claimed });
        }
        if released && term != 0 {
            self.report(Violation::ServedAfterRelease { term });
        }
        if earlier == Some(Some(jumps)) && current.is_none() && !self.forgot {
            self.report(Violation::AcceptedTwice { number });
        }
    }

    pub(super) fn sealed(&mut self, node: &Owner, association: Option<AssociationId>, bytes: &[u8]) {
        for record in Records::parse(bytes, 0).flatten() {
            if record.epoch == 0 {
                continue;
            }
            self.records += 1;
            let Some(nonce) = record.fragment.first_chunk::<8>() else { continue };
            let digest = ring::digest::digest(&ring::digest::SHA256, record.fragment);
            let print =
                digest.as_ref().iter().take(8).fold(record.number, |sum, byte| sum << 7 ^ u64::from(*byte));
            if self.nonces.insert(*nonce, print).is_some_and(|earlier| earlier != print) {
                let value = u64::from_be_bytes(*nonce);
                self.report(Violation::NonceTwice {
                    lane: (value >> 20) as u16 & 0xfff,
                    second: (value >> 32) as u32,
                });
            }
            if record.content_type == ContentType::ApplicationData
                && let Some(association) = association
            {
                self.numbered(node, association, record.number);
            }
        }
    }

    fn numbered(&mut self, node: &Owner, association: AssociationId, number: u64) {
        let before = self.last.insert((association, node.clone()), number);
        if let Some(before) = before
            && before >= number
            && !self.forgot
        {
            return self.report(Violation::NumberNotRising { before, number });
        }
        if self.numbers.insert((association, number), node.clone()).is_some() && !self.forgot {
            self.report(Violation::NumberTwice { number });
        }
    }

    /// A node says something to a device.
    pub(super) fn said(&mut self, node: &Owner, device: DeviceId, plaintext: &[u8], now_us: u64) {
        let Some(message) = Message::decode(plaintext) else { return };
        let known = self.devices.entry(device).or_default();
        if message.kind == ACK && message.code == 0 {
            if let Some(value) = known.notified.get(&message.id).copied()
                && !self.durable.contains(&value)
            {
                self.report(Violation::AcknowledgedUnstored { value });
            }
            return;
        }
        if message.is_request() {
            known.open.insert((node.clone(), message.token), message.id);
            return;
        }
        if !message.is_response() {
            return;
        }
        let Some((what, lifetime)) = known.asked.get(&message.token).cloned() else { return };
        if message.code >= 0xa0 {
            // "Come again" is no answer.
            return;
        }
        let answer = (message.code, message.texts(super::coap::LOCATION_PATH));
        let success = matches!(
            (&what, message.code),
            (What::Register, CREATED)
                | (What::Update { changes: true }, CHANGED)
                | (What::Deregister, DELETED)
        );
        let unwritten = success && !known.applied.contains(&message.token);
        let before = known.answers.insert(message.token.clone(), answer.clone());
        match (&what, message.code) {
            _ if before.is_some() => {}
            (What::Register, CREATED) => {
                (known.promised, known.expired) = (Some((now_us, lifetime)), false);
            }
            (What::Update { .. }, CHANGED) => known.promised = Some((now_us, lifetime)),
            (What::Deregister, DELETED) => known.promised = None,
            _ => {}
        }
        let expired = known.expired;
        let excused = self.excuses() || expired;
        if unwritten {
            self.report(Violation::AnsweredUnwritten { code: message.code });
        }
        if let Some(before) = before
            && before != answer
            && !excused
        {
            self.report(Violation::TwoAnswers { before: before.0, now: answer.0 });
        }
    }

    pub(super) fn heard(&mut self, device: DeviceId, heard: Heard) {
        let known = self.devices.entry(device).or_default();
        match heard {
            Heard::Asks { id, what: What::Notify { value }, .. } => {
                known.notified.insert(id, value);
            }
            Heard::Asks { token, what, lifetime, .. } => {
                known.asked.insert(token, (what, lifetime));
            }
            Heard::CarriesOut { number } => {
                let violation = self.callers.carried_out(number).filter(|_| !self.excuses());
                self.violations.extend(violation);
            }
            Heard::RegistrationLost if !known.expired && !self.excuses() => {
                self.report(Violation::RegistrationLost);
            }
            Heard::RegistrationLost => {}
        }
    }
}
