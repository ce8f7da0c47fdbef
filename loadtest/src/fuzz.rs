//! Attackers among good devices: the server must answer the good ones, and nobody with 5.00, 5.02 or 5.04.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::process::ExitCode;

use serde::Serialize;

use crate::address::AddressPlan;
use crate::cli::FuzzArgs;
use crate::clock::{Clock, Micros, SECOND};
use crate::coap::{Message, code, option};
use crate::driver::{Driver, Load, Population};
use crate::error::Error;
use crate::exchange::Timing;
use crate::fleet::{Fleet, Make};
use crate::measure::Action;
use crate::model::{Model, Values};
use crate::mutate::Mutator;
use crate::process;
use crate::progress::Progress;
use crate::report::line;
use crate::schedule::{Rate, Schedule};
use crate::socket::{Plain, Route, Transport};

/// Source addresses of the attackers.
const ATTACKERS: u32 = 64;

/// Datagrams kept, so that an answer can be shown with what provoked it.
const REMEMBERED: usize = 16_384;

/// Internal errors that are shown.
const SHOWN: usize = 10;

#[derive(Clone, Copy)]
enum Due {
    Good(Action),
    Attack,
}

struct Assault {
    fleet: Fleet,
    mutator: Mutator,
    sent: u64,
    replies: u64,
    recent: VecDeque<(u32, u16, Vec<u8>)>,
    answers: BTreeMap<u8, u64>,
    internal: Vec<InternalError>,
}

/// An answer that a server should never need, and the datagram before it from the same address with the same message id.
#[derive(Clone, Debug, Serialize)]
struct InternalError {
    code: String,
    datagram: Option<String>,
}

impl Population for Assault {
    type Action = Due;

    fn handle(&mut self, arrived: Micros, now: Micros, device: u32, datagram: &[u8], out: &mut Plain) {
        let good = self.fleet.devices.len() as u32;
        if device < good {
            self.fleet.handle(arrived, now, device, datagram, out);
            return;
        }
        let Some(message) = Message::parse(datagram) else { return };
        if code::is_request(message.code) {
            self.replies += 1;
            if let Some(answer) = self.mutator.answer(self.replies, message.mid, message.token) {
                out.send(device, answer);
            }
            return;
        }
        *self.answers.entry(message.code).or_default() += 1;
        if message.code == code::CREATED {
            let segments = message.options().filter(|(number, _)| *number == option::LOCATION_PATH);
            self.mutator.learn(device - good, segments.map(|(_, segment)| segment.to_vec()).collect());
        }
        if is_internal(message.code) && self.internal.len() < SHOWN {
            let cause =
                self.recent.iter().rev().find(|(from, mid, _)| *from == device && *mid == message.mid);
            let datagram = cause.map(|(_, _, bytes)| hex(bytes));
            self.internal.push(InternalError { code: code::text(message.code), datagram });
        }
    }

    fn expire(&mut self, now: Micros, out: &mut Plain) {
        self.fleet.expire(now, out);
    }

    fn next_deadline(&self) -> Micros {
        self.fleet.next_deadline()
    }

    fn fire(&mut self, due_action: Due, device: u32, due: Micros, now: Micros, out: &mut Plain) {
        match due_action {
            Due::Good(action) => {
                self.fleet.fire(action, device, due, now, out);
            }
            Due::Attack => {
                let attacker = self.fleet.devices.len() as u32 + device;
                let datagram = self.mutator.datagram(self.sent, device);
                self.sent += 1;
                out.send(attacker, datagram);
                if let Some(&[high, low]) = datagram.get(2..4) {
                    if self.recent.len() == REMEMBERED {
                        self.recent.pop_front();
                    }
                    self.recent.push_back((attacker, u16::from_be_bytes([high, low]), datagram.to_vec()));
                }
            }
        }
    }
}

/// Not 5.01, 5.03 and 5.05: an unknown method, overload and a proxy option have them as their right answers.
fn is_internal(code: u8) -> bool {
    matches!(code, code::INTERNAL_ERROR | code::BAD_GATEWAY | code::GATEWAY_TIMEOUT)
}

/// As people write it; what has no code is an acknowledgement or a reset.
fn name(code: u8) -> String {
    if code == code::EMPTY { "empty".into() } else { code::text(code) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// What came of it.
#[derive(Debug, Serialize)]
struct FuzzReport {
    seed: u64,
    sent: u64,
    answers: BTreeMap<String, u64>,
    internal_errors: u64,
    shown: Vec<InternalError>,
    good_devices: u32,
    good_registered: u32,
    good_requests: u64,
    good_unanswered: u64,
    good_errors: BTreeMap<String, u64>,
    resident_before: Option<u64>,
    resident_after: Option<u64>,
    seconds: f64,
}

impl FuzzReport {
    fn is_sound(&self) -> bool {
        self.internal_errors == 0
            && self.good_unanswered == 0
            && self.good_errors.is_empty()
            && self.good_registered == self.good_devices
    }

    fn describe(&self) -> String {
        let codes = |codes: &BTreeMap<String, u64>| {
            codes.iter().map(|(code, count)| format!("{code} × {count}")).collect::<Vec<_>>().join(", ")
        };
        let mut text = format!(
            "seed {}: {} datagrams in {:.1} s, answered with {}\n\
             good devices: {} of {} registered, {} requests, {} unanswered{}{}\n",
            self.seed,
            self.sent,
            self.seconds,
            if self.answers.is_empty() { "nothing".into() } else { codes(&self.answers) },
            self.good_registered,
            self.good_devices,
            self.good_requests,
            self.good_unanswered,
            if self.good_errors.is_empty() { "" } else { ", errors: " },
            codes(&self.good_errors),
        );
        if let Some((before, after)) = self.resident_before.zip(self.resident_after) {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            text.push_str(&format!(
                "server memory: {:.1} MiB before, {:.1} MiB after\n",
                mib(before),
                mib(after)
            ));
        }
        for InternalError { code, datagram } in &self.shown {
            let datagram = datagram.as_deref().unwrap_or("a datagram that is no longer known");
            text.push_str(&format!("  {code} after {datagram}\n"));
        }
        let verdict = if self.is_sound() {
            "ok: no internal error, and every good request was answered"
        } else {
            "FAILED"
        };
        text.push_str(verdict);
        text
    }
}

/// Attacks, and reports. The exit code is 1 when a good request was not answered well or any with an internal error, and 3
/// when the server does not answer at all.
pub(crate) fn fuzz(args: &FuzzArgs) -> Result<ExitCode, Error> {
    let objects: Vec<String> = ["/1/0", "/3/0", "/3303/0"].map(Into::into).into();
    let timing = Timing { retry: 2 * SECOND, ..Timing::default() };
    let make = Make {
        endpoint: "good-{:02}".parse().expect("invariant: the template has a place"),
        first: 0,
        lifetime: 3600,
        version: "1.1".into(),
        binding: "U".into(),
        queue: false,
        confirmable: true,
        model: Model::new(&objects, Values::Counter)?,
        timing,
    };
    let plan = AddressPlan::new(*args.target.ip(), args.good + ATTACKERS, None, None)?;
    let transport = Plain::open(Route { plan, server: args.target }, 0).map_err(Error::Socket)?;
    let clock = Clock::start();
    let mut driver = Driver::new(transport, clock).map_err(Error::Socket)?;
    let mut assault = Assault {
        fleet: Fleet::new(make, args.good, args.seed, None, clock),
        mutator: Mutator::new(args.seed),
        sent: 0,
        replies: 0,
        recent: VecDeque::with_capacity(REMEMBERED),
        answers: BTreeMap::new(),
        internal: Vec::new(),
    };
    let mut progress = Progress::new(args.quiet);
    let good = |action, rate, end| {
        Load::new(Due::Good(action), Schedule::new(clock.now(), Rate(rate), end), args.good)
    };
    let once = Some(u64::from(args.good));

    // The good devices come first: who never answers them is not there.
    let mut loads = [good(Action::Register, 100.0, once)];
    let patience = clock.now() + 10 * SECOND;
    while assault.fleet.registered() < args.good && clock.now() < patience && !driver.interrupted() {
        driver.turn(&mut assault, &mut loads, clock.now() + SECOND / 10).map_err(Error::Socket)?;
    }
    if assault.fleet.measure.completed() == 0 {
        progress.finish();
        line(&format!(
            "{} answered no registration: is the server running, and may devices register?",
            args.target
        ))
        .map_err(Error::Print)?;
        return Ok(ExitCode::from(3));
    }

    let resident = || args.server_pid.and_then(process::usage).map(|usage| usage.resident);
    let (before, begin) = (resident(), clock.now());
    let per_second = f64::from(args.good);
    let attack = Schedule::new(clock.now(), args.rate, Some(args.count));
    let mut loads = [
        Load::new(Due::Attack, attack, ATTACKERS),
        good(Action::Update, per_second, None),
        good(Action::Notify, per_second * 2.0, None),
    ];
    progress.phase("fuzz", args.count);
    while !loads[0].is_done() && !driver.interrupted() {
        let now = clock.now();
        progress.show(now, assault.sent, || {
            format!(
                "{} sent, {} kinds of answer, good: {}",
                assault.sent,
                assault.answers.len(),
                crate::run::status(&assault.fleet)
            )
        });
        driver.turn(&mut assault, &mut loads, now + SECOND / 10).map_err(Error::Socket)?;
    }
    // Afterwards every good device must still be known.
    let mut loads = [good(Action::Update, 100.0, once)];
    let last = clock.now() + timing.max_transmit_wait();
    while clock.now() < last && !(loads[0].is_done() && assault.fleet.open() == 0) && !driver.interrupted() {
        driver.turn(&mut assault, &mut loads, clock.now() + SECOND / 10).map_err(Error::Socket)?;
    }
    progress.finish();

    let seconds = (clock.now() - begin) as f64 / SECOND as f64;
    let report = report(args, &assault, (before, resident()), seconds);
    line(&report.describe()).map_err(Error::Print)?;
    if let Some(path) = &args.json {
        let written = File::create(path).map(BufWriter::new).and_then(|mut file| {
            serde_json::to_writer_pretty(&mut file, &report)?;
            file.flush()
        });
        written.map_err(|error| Error::File { flag: "--json", path: path.clone(), error })?;
    }
    Ok(ExitCode::from(u8::from(!report.is_sound())))
}

fn report(
    args: &FuzzArgs,
    assault: &Assault,
    resident: (Option<u64>, Option<u64>),
    seconds: f64,
) -> FuzzReport {
    let tallies = || Action::ALL.iter().map(|&action| assault.fleet.measure.tally(action));
    let mut good_errors = BTreeMap::new();
    for (&code, &count) in tallies().flat_map(|tally| &tally.errors) {
        *good_errors.entry(code::text(code)).or_default() += count;
    }
    let internal = assault.answers.iter().filter(|(code, _)| is_internal(**code)).map(|(_, count)| count);
    FuzzReport {
        seed: args.seed,
        sent: assault.sent,
        answers: assault.answers.iter().map(|(&code, &count)| (name(code), count)).collect(),
        internal_errors: internal.sum(),
        shown: assault.internal.clone(),
        good_devices: args.good,
        good_registered: assault.fleet.registered(),
        good_requests: tallies().map(|tally| tally.sent).sum(),
        good_unanswered: tallies().map(|tally| tally.timeouts + tally.resets).sum::<u64>()
            + u64::from(assault.fleet.open()),
        good_errors,
        resident_before: resident.0,
        resident_after: resident.1,
        seconds,
    }
}
