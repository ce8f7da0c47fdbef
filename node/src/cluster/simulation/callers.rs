//! Callers of commands: what they ask for at any node, how often it is carried out, and what they are told.

use std::{collections::BTreeMap, time::Duration};

use godwit_proto::v1::{Command, Operation, command, operation::State};

use super::{observer::Violation, rng::Rng};
use crate::{
    endpoint::handle::NewOperation,
    identity::DeviceId,
    store::{DeviceRecord, value::StoredOperation},
};

const SECOND: u64 = 1_000_000;
/// How long after its TTL a command that waits at a living owner may still be there.
const LATE: u64 = 5 * SECOND;

/// What a caller is told of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It is on record.
    Taken,
    /// It is not, or nobody knows.
    Refused,
    /// It has ended, and is not carried out any more.
    Ended(State),
}

#[derive(Debug)]
struct Asked {
    device: DeviceId,
    /// It is an Execute: to be carried out once at most.
    once: bool,
    due_us: u64,
    taken: bool,
    /// How, and when the caller heard.
    ended: Option<(State, u64)>,
    carried_out: u32,
}

/// All callers.
#[derive(Debug, Default)]
pub(super) struct Callers {
    asked: BTreeMap<u64, Asked>,
}

fn name(number: u64) -> String {
    format!("op-{number}")
}

fn number(id: &str) -> u64 {
    id.trim_start_matches("op-").parse().expect("one of ours")
}

/// The number that an Execute of ours carries as its argument.
pub(super) fn argument(payload: &[u8]) -> Option<u64> {
    std::str::from_utf8(payload).ok()?.strip_prefix("0='")?.strip_suffix('\'')?.parse().ok()
}

impl Callers {
    /// Somebody has a wish.
    pub(super) fn ask(&mut self, now_us: u64, device: DeviceId, rng: &mut Rng) -> NewOperation {
        let number = self.asked.len() as u64 + 1;
        let ttl = rng.range(3 * SECOND, 30 * SECOND);
        let once = rng.once_in(700);
        let kind = if once {
            let arguments = format!("0='{number}'");
            command::Kind::Execute(command::Execute { path: "/3/0/4".into(), arguments })
        } else {
            command::Kind::Read(command::Read { path: "/3/0/9".into(), ..command::Read::default() })
        };
        let due_us = now_us + ttl;
        let asked = Asked { device, once, due_us, taken: false, ended: None, carried_out: 0 };
        self.asked.insert(number, asked);
        NewOperation {
            id: name(number),
            command: Command { kind: Some(kind) },
            ttl: Duration::from_micros(ttl),
            queue: rng.once_in(700),
            at_least_once: false,
        }
    }

    /// How many commands there were.
    pub(super) fn count(&self) -> u64 {
        self.asked.len() as u64
    }

    /// A device has carried an Execute out.
    pub(super) fn carried_out(&mut self, number: u64) -> Option<Violation> {
        let asked = self.asked.get_mut(&number)?;
        asked.carried_out += 1;
        match asked.ended {
            _ if asked.carried_out > 1 => Some(Violation::CarriedOutTwice { number }),
            Some((State::Expired | State::Cancelled, _)) => Some(Violation::CarriedOutAfterEnd { number }),
            _ => None,
        }
    }

    pub(super) fn told(&mut self, now_us: u64, id: &str, told: Told) -> Option<Violation> {
        let number = number(id);
        let asked = self.asked.get_mut(&number)?;
        match told {
            Told::Taken if std::mem::replace(&mut asked.taken, true) => Some(Violation::ToldTwice { number }),
            Told::Ended(state) => {
                let twice = asked.ended.replace((state, now_us)).is_some();
                let carried_out = asked.once && asked.carried_out > 0;
                match state {
                    _ if twice => Some(Violation::ToldTwice { number }),
                    State::Succeeded if asked.once && !carried_out => {
                        Some(Violation::NotCarriedOut { number })
                    }
                    State::Expired | State::Cancelled if carried_out => {
                        Some(Violation::CarriedOutAfterEnd { number })
                    }
                    _ => None,
                }
            }
            Told::Taken | Told::Refused => None,
        }
    }

    /// What was taken is on record until its TTL is over, and then has ended, if its owner lives.
    pub(super) fn look_back(
        &self,
        now_us: u64,
        record: impl Fn(DeviceId) -> Option<DeviceRecord>,
        is_live: impl Fn(&DeviceRecord) -> bool,
    ) -> Option<Violation> {
        self.asked.iter().find_map(|(number, asked)| {
            let number = *number;
            let record = record(asked.device)?;
            let own = |stored: &&StoredOperation| stored.id == name(number);
            let Some(stored) = record.operations.iter().find(own) else {
                let lost = asked.taken && asked.ended.is_none() && now_us < asked.due_us;
                return lost.then_some(Violation::CommandLost { number });
            };
            let state = stored.operation.as_ref().map_or(State::Unspecified, Operation::state);
            let open = matches!(state, State::Queued | State::Sent);
            let late = state == State::Queued && asked.ended.is_none() && asked.due_us + LATE < now_us;
            let unwritten = open && asked.ended.is_some_and(|(_, told_us)| told_us + LATE < now_us);
            match is_live(&record) {
                true if late => Some(Violation::CommandWaits { number }),
                true if unwritten => Some(Violation::EndNotWritten { number }),
                _ => None,
            }
        })
    }
}
