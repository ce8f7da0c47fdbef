//! A run: `register → settle → load → drain → de-register → drain`, with a measurement of each phase.

use std::cell::Cell;
use std::io;
use std::net::SocketAddrV4;
use std::process::ExitCode;
use std::time::Duration;

use crate::address::AddressPlan;
use crate::capture::Capture;
use crate::cli::RunArgs;
use crate::clock::{Clock, Micros, SECOND, micros};
use crate::driver::{Driver, Load, Population};
use crate::dtls::{Devices, Due, Gateway, Identities, KeyLog, Kind, Sessions};
use crate::echo;
use crate::error::Error;
use crate::exchange::Timing;
use crate::fleet::{Fleet, Make};
use crate::journal::Journal;
use crate::measure::{Action, Tally};
use crate::model::{Model, Values};
use crate::process::{self, Usage};
use crate::progress::Progress;
use crate::report::{Loaded, Phase, Report};
use crate::schedule::{Rate, Schedule};
use crate::socket::{Plain, Route};

/// Source ports that a device changes between.
const PORTS: u8 = 8;

/// How often a phase looks whether it is done, shows progress and flushes the journal.
const GLANCE: Micros = SECOND / 5;

impl Population for Fleet {
    type Action = Action;

    fn handle(&mut self, arrived: Micros, now: Micros, device: u32, datagram: &[u8], out: &mut Plain) {
        Fleet::handle(self, arrived, now, device, datagram, out);
    }

    fn expire(&mut self, now: Micros, out: &mut Plain) {
        Fleet::expire(self, now, out);
    }

    fn next_deadline(&self) -> Micros {
        Fleet::next_deadline(self)
    }

    fn fire(&mut self, action: Action, device: u32, due: Micros, now: Micros, out: &mut Plain) {
        Fleet::fire(self, action, device, due, now, out);
    }
}

/// Builds what the flags describe.
pub(crate) fn make(args: &RunArgs, values: Values) -> Result<Make, Error> {
    let fleet = &args.fleet;
    Ok(Make {
        endpoint: fleet.endpoint.clone(),
        first: fleet.first,
        lifetime: fleet.lifetime,
        version: fleet.lwm2m.clone(),
        binding: fleet.binding.clone(),
        queue: fleet.queue,
        confirmable: !args.non_confirmable,
        model: Model::new(&fleet.objects, values)?,
        timing: Timing {
            ack_timeout: micros(args.timing.ack_timeout),
            random_factor: args.timing.ack_random_factor.max(1.0),
            max_retransmit: args.timing.max_retransmit,
            retry: micros(args.timing.retry),
        },
    })
}

/// Runs and reports. The exit code is 1 when a device could not register, 3 when nobody answered at all.
pub(crate) fn run(args: &RunArgs) -> Result<ExitCode, Error> {
    let devices = args.fleet.devices;
    let (update, notify) = (args.update_rate.0, args.notify_rate.0);
    let rate = Rate(if args.in_turn { update.max(notify) } else { update + notify });
    let baseline = args.baseline.then(|| echo::baseline(devices, rate)).transpose()?;

    let server = args.target.server(args.dtls.dtls.is_some());
    let plan = AddressPlan::new(*server.ip(), devices, args.target.source, args.target.addresses)?;
    let clock = Clock::start();
    let Beneath { sessions, gateway } = beneath(args, plan, server, clock)?;
    let route = Route { plan, server: gateway.as_ref().map_or(server, |gateway| gateway.address) };
    let ports = if args.dtls.rebind_rate.0 > 0.0 { PORTS } else { 1 };
    let mut transport = Plain::open_with_ports(route, args.target.port, ports).map_err(Error::Socket)?;
    if let Some(path) = &args.capture {
        let capture = Capture::create(path).map_err(|error| Error::File {
            flag: "--capture",
            path: path.clone(),
            error,
        })?;
        transport.capture(capture).map_err(Error::Socket)?;
    }
    let journal = args.journal.as_deref().map(|path| {
        Journal::create(path).map_err(|error| Error::File { flag: "--journal", path: path.into(), error })
    });
    let fleet = Fleet::new(make(args, Values::Counter)?, devices, args.seed, journal.transpose()?, clock);
    let driver = Driver::new(transport, clock).map_err(Error::Socket)?;
    let mut run = Run {
        args,
        devices: Devices::new(fleet, sessions),
        driver,
        progress: Progress::new(args.quiet),
        phases: Vec::new(),
        loaded: Loaded::default(),
    };
    run.play()?;
    run.progress.finish();
    let report = Report::new(args, &run.devices, &run.driver, run.loaded, run.phases, baseline);
    report.print().map_err(Error::Print)?;
    if let Some(path) = &args.json {
        report.write(path).map_err(|error| Error::File { flag: "--json", path: path.clone(), error })?;
    }
    Ok(report.exit_code())
}

/// What carries the fleet's messages, if not plain UDP.
#[derive(Default)]
struct Beneath {
    sessions: Option<Sessions>,
    gateway: Option<Gateway>,
}

fn beneath(args: &RunArgs, plan: AddressPlan, server: SocketAddrV4, clock: Clock) -> Result<Beneath, Error> {
    let (dtls, fleet) = (&args.dtls, &args.fleet);
    let flags = [
        ("--cid", dtls.cid.is_some()),
        ("--suite", !dtls.suites.is_empty()),
        ("--resume-rate", dtls.resume_rate.0 > 0.0),
        ("--handshake-rate", dtls.handshake_rate.0 > 0.0),
        ("--rebind", dtls.rebind_rate.0 > 0.0),
        ("--key-log", dtls.key_log.is_some()),
    ];
    let given = flags.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag);
    let kind = match (dtls.dtls, given) {
        (None, None) => return Ok(Beneath::default()),
        (None, Some(flag)) => return Err(Error::NeedsDtls(flag)),
        (Some(Kind::Webrtc), Some(flag)) => return Err(Error::NotWithWebrtc(flag)),
        (Some(kind), _) => kind,
    };
    let identities = Identities::new(dtls, kind, &fleet.endpoint, fleet.first, fleet.devices)?;
    if kind == Kind::Webrtc {
        let gateway = Gateway::start(plan, server, identities).map_err(Error::Gateway)?;
        return Ok(Beneath { sessions: None, gateway: Some(gateway) });
    }
    let key_log = dtls.key_log.as_deref().map(|path| {
        KeyLog::create(path).map_err(|error| Error::File { flag: "--key-log", path: path.into(), error })
    });
    // Nobody answers non-confirmable messages: silence means nothing.
    let give_up_after = if args.non_confirmable { 0 } else { dtls.give_up_after };
    let sessions = Sessions::new(
        dtls.settings(),
        identities,
        fleet.devices,
        dtls.cid,
        give_up_after,
        key_log.transpose()?,
        clock,
    );
    Ok(Beneath { sessions: Some(sessions), gateway: None })
}

struct Run<'a> {
    args: &'a RunArgs,
    devices: Devices,
    driver: Driver,
    progress: Progress,
    phases: Vec<Phase>,
    loaded: Loaded,
}

impl Run<'_> {
    fn play(&mut self) -> Result<(), Error> {
        let devices = self.args.fleet.devices;
        let mut loads =
            vec![self.load(Due::Coap(Action::Register), self.args.register_rate, Some(devices.into()))];
        if self.args.overlap {
            loads.extend(self.steady_loads(None));
        }
        self.phase("register", &mut loads, None, |this, loads| {
            let (registered, refused) = (this.fleet.registered(), this.fleet.refused());
            (loads[0].is_done() && registered + refused >= devices, registered.into())
        })?;
        if self.devices.fleet.registered() == 0 {
            return Ok(());
        }
        let (clock, settle) = (self.driver.clock, micros(self.args.settle));
        let last = Cell::new((0, clock.now()));
        self.phase("settle", &mut loads, None, |this, _| {
            let (devices, observations) = this.fleet.observed();
            if observations != last.get().0 {
                last.set((observations, clock.now()));
            }
            (clock.now() - last.get().1 >= settle, devices.into())
        })?;
        if self.args.notify_rate.0 > 0.0 && self.devices.fleet.observed().0 == 0 {
            self.progress.finish();
            return Err(Error::NothingObserved);
        }
        if self.args.in_turn {
            for (name, load) in [("update", 0), ("notify", 1)] {
                // Made when it begins: what is due counts from there.
                let mut load = self.steady_loads(Some(self.args.duration)).swap_remove(load);
                self.steady(name, std::slice::from_mut(&mut load))?;
            }
        } else {
            let mut loads = self.steady_loads(Some(self.args.duration));
            self.steady("load", &mut loads)?;
        }
        if self.args.deregister {
            let mut loads =
                vec![self.load(Due::Coap(Action::Deregister), self.args.register_rate, Some(devices.into()))];
            self.phase("deregister", &mut loads, None, |this, loads| {
                let left = devices - this.fleet.registered();
                (loads[0].is_done() && this.is_at_rest(), left.into())
            })?;
        }
        if self.args.deregister
            && let Some(sessions) = &mut self.devices.sessions
        {
            sessions.close(self.driver.clock.now(), &mut self.driver.transport);
        }
        self.journal()
    }

    fn load(&self, action: Due, rate: Rate, end: Option<u64>) -> Load<Due> {
        Load::new(action, Schedule::new(self.driver.clock.now(), rate, end), self.args.fleet.devices)
    }

    /// Updates, notifications and what concerns sessions, for a duration or until told otherwise.
    fn steady_loads(&self, duration: Option<Duration>) -> Vec<Load<Due>> {
        let events = |rate: Rate| duration.map(|duration| (rate.0 * duration.as_secs_f64()) as u64);
        let dtls = &self.args.dtls;
        let mut loads: Vec<_> =
            [(Action::Update, self.args.update_rate), (Action::Notify, self.args.notify_rate)]
                .map(|(action, rate)| self.load(Due::Coap(action), rate, events(rate)))
                .into();
        let rates = [
            (Due::Resume, dtls.resume_rate),
            (Due::Handshake, dtls.handshake_rate),
            (Due::Rebind, dtls.rebind_rate),
        ];
        let wanted = rates.into_iter().filter(|(_, rate)| rate.0 > 0.0);
        loads.extend(wanted.map(|(due, rate)| self.load(due, rate, events(rate))));
        loads
    }

    fn steady(&mut self, name: &'static str, loads: &mut [Load<Due>]) -> Result<(), Error> {
        let duration = Some(micros(self.args.duration));
        self.phase(name, loads, duration, |_, _| (false, 0))?;
        self.drain()
    }

    fn drain(&mut self) -> Result<(), Error> {
        let longest = self.args.drain.map_or(self.devices.fleet.make.timing.max_transmit_wait(), micros);
        self.phase("drain", &mut [], Some(longest), |this, _| (this.is_at_rest(), 0))
    }

    /// Plays one phase until `done` says so, until `length` has passed, or until the user has enough.
    fn phase(
        &mut self,
        name: &'static str,
        loads: &mut [Load<Due>],
        length: Option<Micros>,
        done: impl Fn(&Devices, &[Load<Due>]) -> (bool, u64),
    ) -> Result<(), Error> {
        if self.driver.interrupted() && name != "deregister" {
            return Ok(());
        }
        let begin = self.driver.clock.now();
        let before =
            (self.server(), process::usage(std::process::id()), self.devices.fleet.measure.completed());
        let handshakes = self.handshakes();
        let end = length.map_or(Micros::MAX, |length| begin + length);
        self.progress.phase(name, length.unwrap_or(self.args.fleet.devices.into()));
        let (mut glance, interrupted) = (begin, self.driver.interrupted());
        loop {
            let now = self.driver.clock.now();
            if now >= glance {
                glance = now + GLANCE;
                self.journal()?;
                let position = length.map_or_else(|| done(&self.devices, loads).1, |_| now - begin);
                let fleet = &self.devices.fleet;
                self.progress.show(now, position, || status(fleet));
            }
            // What was due by the end is sent, however late.
            let over = now >= end && loads.iter().all(Load::is_done);
            if over || done(&self.devices, loads).0 || self.driver.interrupted() != interrupted {
                break;
            }
            self.driver.turn(&mut self.devices, loads, glance.min(end.max(now))).map_err(Error::Socket)?;
        }
        let now = self.driver.clock.now();
        let completed = self.devices.fleet.measure.completed() - before.2;
        let own = process::usage(std::process::id());
        if name != "deregister" {
            self.loaded = Loaded::new(&self.devices.fleet);
        }
        self.phases.push(Phase::new(
            name,
            now - begin,
            completed,
            (before.0, self.server()),
            (before.1, own),
            self.handshakes().zip(handshakes).map(|(after, before)| after - before),
        ));
        Ok(())
    }

    fn handshakes(&self) -> Option<u64> {
        self.devices.sessions.as_ref().map(Sessions::completed)
    }

    fn server(&self) -> Option<Usage> {
        self.args.server_pid.and_then(process::usage)
    }

    fn journal(&mut self) -> Result<(), Error> {
        let flushed = self.devices.fleet.journal().map_or(Ok(()), Journal::flush);
        flushed.map_err(|error: io::Error| Error::File {
            flag: "--journal",
            path: self.args.journal.clone().unwrap_or_default(),
            error,
        })?;
        let log = self.devices.sessions.as_mut().and_then(Sessions::key_log);
        log.map_or(Ok(()), KeyLog::flush).map_err(|error| Error::File {
            flag: "--key-log",
            path: self.args.dtls.key_log.clone().unwrap_or_default(),
            error,
        })?;
        let capture = self.driver.transport.captured();
        capture.map_or(Ok(()), Capture::flush).map_err(|error| Error::File {
            flag: "--capture",
            path: self.args.capture.clone().unwrap_or_default(),
            error,
        })
    }
}

/// One line on how a fleet is.
pub(crate) fn status(fleet: &Fleet) -> String {
    let sum = |count: fn(&Tally) -> u64| {
        Action::ALL.iter().map(|&action| count(fleet.measure.tally(action))).sum::<u64>()
    };
    format!(
        "{} registered, {} observed, {} updates, {} notifications; {} open, {} retransmitted, {} failed",
        fleet.registered(),
        fleet.observed().0,
        fleet.measure.tally(Action::Update).acknowledged,
        fleet.measure.tally(Action::Notify).completed(),
        fleet.open(),
        sum(|tally| tally.retransmissions),
        sum(Tally::failed),
    )
}
