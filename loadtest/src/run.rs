//! A run: `register → settle → load → drain → de-register → drain`, with a measurement of each phase.

use std::cell::Cell;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use crate::address::AddressPlan;
use crate::cli::RunArgs;
use crate::clock::{Clock, Micros, SECOND, micros};
use crate::driver::{Driver, Load, Population};
use crate::echo;
use crate::error::Error;
use crate::fleet::{Fleet, Make, Timing};
use crate::journal::Journal;
use crate::measure::{Action, Tally};
use crate::model::{Model, Values};
use crate::process::{self, Usage};
use crate::progress::Progress;
use crate::report::{Loaded, Phase, Report};
use crate::schedule::{Rate, Schedule};
use crate::socket::{Plain, Route};

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
    let rate = Rate(args.update_rate.0 + args.notify_rate.0);
    let baseline = args.baseline.then(|| echo::baseline(devices, rate)).transpose()?;

    let plan =
        AddressPlan::new(*args.target.server.ip(), devices, args.target.source, args.target.addresses)?;
    let route = Route { plan, server: args.target.server };
    let transport = Plain::open(route, args.target.port).map_err(Error::Socket)?;
    let journal = args.journal.as_deref().map(|path| {
        Journal::create(path).map_err(|error| Error::File { flag: "--journal", path: path.into(), error })
    });
    let clock = Clock::start();
    let fleet = Fleet::new(make(args, Values::Counter)?, devices, args.seed, journal.transpose()?, clock);
    let driver = Driver::new(transport, clock).map_err(Error::Socket)?;
    let mut run = Run {
        args,
        fleet,
        driver,
        progress: Progress::new(args.quiet),
        phases: Vec::new(),
        loaded: Loaded::default(),
    };
    run.play()?;
    run.progress.finish();
    let report = Report::new(args, &run.fleet, &run.driver, run.loaded, run.phases, baseline);
    report.print().map_err(Error::Print)?;
    if let Some(path) = &args.json {
        report.write(path).map_err(|error| Error::File { flag: "--json", path: path.clone(), error })?;
    }
    Ok(report.exit_code())
}

struct Run<'a> {
    args: &'a RunArgs,
    fleet: Fleet,
    driver: Driver,
    progress: Progress,
    phases: Vec<Phase>,
    loaded: Loaded,
}

impl Run<'_> {
    fn play(&mut self) -> Result<(), Error> {
        let devices = self.args.fleet.devices;
        let mut loads = vec![self.load(Action::Register, self.args.register_rate, Some(devices.into()))];
        if self.args.overlap {
            loads.extend(self.steady_loads(None));
        }
        self.phase("register", &mut loads, None, |fleet, loads| {
            (loads[0].is_done() && fleet.registered() + fleet.refused() >= devices, fleet.registered().into())
        })?;
        if self.fleet.registered() == 0 {
            return Ok(());
        }
        let (clock, settle) = (self.driver.clock, micros(self.args.settle));
        let last = Cell::new((0, clock.now()));
        self.phase("settle", &mut loads, None, |fleet, _| {
            let (devices, observations) = fleet.observed();
            if observations != last.get().0 {
                last.set((observations, clock.now()));
            }
            (clock.now() - last.get().1 >= settle, devices.into())
        })?;
        if self.args.notify_rate.0 > 0.0 && self.fleet.observed().0 == 0 {
            self.progress.finish();
            return Err(Error::NothingObserved);
        }
        let mut loads = self.steady_loads(Some(self.args.duration));
        let duration = Some(micros(self.args.duration));
        self.phase("load", &mut loads, duration, |_, _| (false, 0))?;
        self.drain()?;
        if self.args.deregister {
            let mut loads =
                vec![self.load(Action::Deregister, self.args.register_rate, Some(devices.into()))];
            self.phase("deregister", &mut loads, None, |fleet, loads| {
                (loads[0].is_done() && fleet.open() == 0, (devices - fleet.registered()).into())
            })?;
        }
        self.journal()
    }

    fn load(&self, action: Action, rate: Rate, end: Option<u64>) -> Load<Action> {
        Load::new(action, Schedule::new(self.driver.clock.now(), rate, end), self.args.fleet.devices)
    }

    /// Updates and notifications, for a duration or until told otherwise.
    fn steady_loads(&self, duration: Option<Duration>) -> Vec<Load<Action>> {
        let events = |rate: Rate| duration.map(|duration| (rate.0 * duration.as_secs_f64()) as u64);
        [(Action::Update, self.args.update_rate), (Action::Notify, self.args.notify_rate)]
            .map(|(action, rate)| self.load(action, rate, events(rate)))
            .into()
    }

    fn drain(&mut self) -> Result<(), Error> {
        let longest = self.args.drain.map_or(self.fleet.make.timing.max_transmit_wait(), micros);
        self.phase("drain", &mut [], Some(longest), |fleet, _| (fleet.open() == 0, 0))
    }

    /// Plays one phase until `done` says so, until `length` has passed, or until the user has enough.
    fn phase(
        &mut self,
        name: &'static str,
        loads: &mut [Load<Action>],
        length: Option<Micros>,
        done: impl Fn(&Fleet, &[Load<Action>]) -> (bool, u64),
    ) -> Result<(), Error> {
        if self.driver.interrupted() && name != "deregister" {
            return Ok(());
        }
        let begin = self.driver.clock.now();
        let before = (self.server(), process::usage(std::process::id()), self.fleet.measure.completed());
        let end = length.map_or(Micros::MAX, |length| begin + length);
        self.progress.phase(name, length.unwrap_or(self.args.fleet.devices.into()));
        let (mut glance, interrupted) = (begin, self.driver.interrupted());
        loop {
            let now = self.driver.clock.now();
            if now >= glance {
                glance = now + GLANCE;
                self.journal()?;
                let position = length.map_or_else(|| done(&self.fleet, loads).1, |_| now - begin);
                let fleet = &self.fleet;
                self.progress.show(now, position, || status(fleet));
            }
            // What was due by the end is sent, however late.
            let over = now >= end && loads.iter().all(Load::is_done);
            if over || done(&self.fleet, loads).0 || self.driver.interrupted() != interrupted {
                break;
            }
            self.driver.turn(&mut self.fleet, loads, glance.min(end.max(now))).map_err(Error::Socket)?;
        }
        let now = self.driver.clock.now();
        let completed = self.fleet.measure.completed() - before.2;
        let own = process::usage(std::process::id());
        if name != "deregister" {
            self.loaded = Loaded::new(&self.fleet);
        }
        self.phases.push(Phase::new(
            name,
            now - begin,
            completed,
            (before.0, self.server()),
            (before.1, own),
        ));
        Ok(())
    }

    fn server(&self) -> Option<Usage> {
        self.args.server_pid.and_then(process::usage)
    }

    fn journal(&mut self) -> Result<(), Error> {
        let flushed = self.fleet.journal().map_or(Ok(()), Journal::flush);
        flushed.map_err(|error: io::Error| Error::File {
            flag: "--journal",
            path: self.args.journal.clone().unwrap_or_default(),
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
