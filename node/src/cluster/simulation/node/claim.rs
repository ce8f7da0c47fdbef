//! A claim, and the life that begins with its answer.

use godwit_proto::v1::operation::State;

use super::{
    super::{bug::Bug, store::Request},
    Live, Node, PROFILE,
    frame::Frame,
    out::{Note, Out},
    reply::Pending,
};
use crate::{
    endpoint::simulated::Endpoint,
    identity::{DeviceId, Owner},
    ownership::{Confirmed, Residence},
    store::{Claim, Claimed, Fence, StoreError},
};

impl Node {
    pub(super) fn claim(&mut self, id: u64, device: DeviceId, seen: u64) {
        let Some(finding) = self.finding.get_mut(&id) else { return };
        if self.bug == Some(Bug::ThawWithoutClaim)
            && let Some(record) = &finding.loaded
            && record.header.passive
            && record.header.owner.as_ref() == Some(&self.owner)
        {
            let (term, claims) = (record.header.term, record.header.claims);
            let claimed = Claimed { term, claims, exact: true, record: (**record).clone() };
            let confirmed = self.pulse.confirmed();
            return self.claimed(id, None, confirmed, Ok(Box::new(claimed)));
        }
        let header = finding.loaded.as_ref().map(|record| &record.header);
        let before = header.filter(|header| !header.passive).and_then(|header| header.owner.clone());
        let claim = Claim { create: true, seen: Some(seen) };
        let pending = Pending::Claim(id, before, self.pulse.confirmed());
        self.ask(pending, Request::Claim(device, self.owner.clone(), claim));
    }

    pub(super) fn claimed(
        &mut self,
        id: u64,
        before: Option<Owner>,
        confirmed: Confirmed,
        result: Result<Box<Claimed>, StoreError>,
    ) {
        let (reading, boot) = (self.reading(), self.boot());
        let Some(finding) = self.finding.get_mut(&id) else { return };
        let device = finding.device.expect("claimed by its id");
        let mut claimed = match result {
            Ok(claimed) => *claimed,
            Err(StoreError::Refused(_)) => {
                let step = finding.activation.handle_claim_refused(boot);
                return self.step(id, step);
            }
            Err(_) => return self.give_up(id),
        };
        let fence = Fence { owner: self.owner.clone(), term: claimed.term, claims: claimed.claims };
        self.recent.note_claim(boot, device, fence.clone(), &claimed.record);
        if self.bug == Some(Bug::ClaimByEarlierLoad)
            && let Some(loaded) = &finding.first
        {
            claimed.record = (**loaded).clone();
        }
        if self.bug == Some(Bug::EveryClaimExact) {
            claimed.exact = true;
        }
        if self.bug == Some(Bug::StaleFloor) {
            for session in &mut claimed.record.sessions {
                (session.numbers.read_floor, session.numbers.read_window) = (0, 0);
            }
        }
        if self.bug == Some(Bug::SentAnew) {
            let operations = claimed.record.operations.iter_mut();
            for operation in operations.filter_map(|stored| stored.operation.as_mut()) {
                if operation.state() == State::Sent {
                    operation.set_state(State::Queued);
                }
            }
        }
        let (term, exact) = (claimed.term, claimed.exact);
        let record = Box::new(claimed.record.clone());
        self.out.push(Out::Note(Note::Claimed { device, term, exact, record }));
        if let Some(before) = before.filter(|before| self.membership.known(before).is_some()) {
            self.tell(&before, Frame::Claimed { device, term });
        }
        let endpoint = Endpoint::new(&self.services, reading, device, PROFILE, claimed);
        self.next += 1;
        let live = Live {
            endpoint,
            fence,
            life: self.next,
            confirmed,
            residence: Residence::default(),
            held: None,
            released: Vec::new(),
            since_jump: (!exact).then_some(0),
        };
        self.terms.insert(device, term);
        if let Some(earlier) = self.live.insert(device, live) {
            drop(earlier);
        }
        self.join(id, device);
    }
}
