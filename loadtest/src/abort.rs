//! Strangers that begin DTLS handshakes and never end them well, each from an address of its own.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use godwit_dtls::client::{Context, Settings};
use ring::rand::SystemRandom;
use serde::Serialize;

use crate::address::AddressPlan;
use crate::cli::AbortArgs;
use crate::clock::{Clock, Micros, SECOND};
use crate::driver::{Driver, Load, Population};
use crate::dtls::{Attempt, Loot, Step, Way};
use crate::error::Error;
use crate::progress::Progress;
use crate::random::Random;
use crate::report::line;
use crate::schedule::Schedule;
use crate::socket::{Plain, Route, Transport as _};

/// How long an attacker waits for the server's next flight.
const PATIENCE: Micros = 10 * SECOND;

/// Handshakes that are under way at once at most: where either side is short of CPU the others wait their turn, and come to what
/// they are to come to, in place of being lost for full sockets.
const AT_ONCE: usize = 1000;

/// What became of the attempts of one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Tally {
    begun: u64,
    /// Went wrong as they should.
    done: u64,
    /// The server ended them before.
    refused: u64,
    /// The server fell silent before.
    unanswered: u64,
}

struct Strangers {
    clock: Clock,
    system: SystemRandom,
    random: Random,
    settings: Arc<Settings>,
    loot: Loot,
    ways: Vec<Way>,
    attempts: HashMap<u32, Attempt>,
    /// Who is to begin once there is room.
    turns: VecDeque<u32>,
    /// When attackers lose their patience.
    deadlines: VecDeque<(Micros, u32)>,
    begun: u64,
    tallies: BTreeMap<Way, Tally>,
    answers: u64,
}

impl Strangers {
    fn take(&mut self, device: u32, attempt: Attempt, step: Step) {
        let tally = self.tallies.entry(attempt.way).or_default();
        match step {
            Step::Wait => _ = self.attempts.insert(device, attempt),
            Step::Done => tally.done += 1,
            Step::Refused => tally.refused += 1,
        }
    }

    fn begin(&mut self, device: u32, now: Micros, out: &mut Plain) {
        let way = self.ways[(self.begun % self.ways.len() as u64) as usize];
        self.begun += 1;
        self.tallies.entry(way).or_default().begun += 1;
        let cx = Context { now: self.clock.instant(now), random: &self.system };
        let send = |datagram: &[u8]| out.send(device, datagram);
        let (attempt, step) = Attempt::begin(way, &self.settings, &self.loot, cx, &mut self.random, send);
        self.take(device, attempt, step);
        self.deadlines.push_back((now + PATIENCE, device));
    }

    /// Nobody is under way or waits for its turn.
    fn is_at_rest(&self) -> bool {
        self.attempts.is_empty() && self.turns.is_empty()
    }
}

impl Population for Strangers {
    type Action = ();

    fn handle(&mut self, _: Micros, now: Micros, device: u32, datagram: &[u8], out: &mut Plain) {
        self.answers += 1;
        // Who is done hears nothing any more.
        let Some(mut attempt) = self.attempts.remove(&device) else { return };
        let cx = Context { now: self.clock.instant(now), random: &self.system };
        let send = |datagram: &[u8]| out.send(device, datagram);
        let step = attempt.handle(datagram, &self.loot, cx, &mut self.random, send);
        self.take(device, attempt, step);
    }

    fn expire(&mut self, now: Micros, out: &mut Plain) {
        while let Some(&(_, device)) = self.deadlines.front().filter(|(due, _)| *due <= now) {
            self.deadlines.pop_front();
            if let Some(attempt) = self.attempts.remove(&device) {
                self.tallies.entry(attempt.way).or_default().unanswered += 1;
            }
        }
        while self.attempts.len() < AT_ONCE
            && let Some(device) = self.turns.pop_front()
        {
            self.begin(device, now, out);
        }
    }

    fn next_deadline(&self) -> Micros {
        self.deadlines.front().map_or(Micros::MAX, |(due, _)| *due)
    }

    fn fire(&mut self, (): (), device: u32, _: Micros, now: Micros, out: &mut Plain) {
        if self.attempts.len() < AT_ONCE && self.turns.is_empty() {
            self.begin(device, now, out);
        } else {
            self.turns.push_back(device);
        }
    }
}

/// What came of it.
#[derive(Debug, Serialize)]
struct AbortReport {
    begun: u64,
    done: u64,
    refused: u64,
    unanswered: u64,
    ways: BTreeMap<Way, Tally>,
    /// Datagrams of the server, repetitions included.
    answers: u64,
    /// Lost on this side.
    send_refused: u64,
    receive_dropped: u32,
    seconds: f64,
}

impl AbortReport {
    fn new(strangers: &Strangers, driver: &Driver, seconds: f64) -> Self {
        let sum = |count: fn(&Tally) -> u64| strangers.tallies.values().map(count).sum();
        Self {
            begun: strangers.begun,
            done: sum(|tally| tally.done),
            refused: sum(|tally| tally.refused),
            unanswered: sum(|tally| tally.unanswered),
            ways: strangers.tallies.clone(),
            answers: strangers.answers,
            send_refused: driver.transport.refused(),
            receive_dropped: driver.dropped(),
            seconds,
        }
    }

    fn describe(&self) -> String {
        let mut text = format!(
            "{} handshakes begun in {:.1} s: {} went wrong as they should, {} were refused before, {} unanswered; \
             {} datagrams came back",
            self.begun, self.seconds, self.done, self.refused, self.unanswered, self.answers
        );
        for (way, tally) in &self.ways {
            text.push_str(&format!("\n  {way:?}: {} of {}", tally.done, tally.begun));
        }
        text
    }
}

/// Attacks, and reports. The exit code is 3 when the server does not answer at all.
pub(crate) fn abort(args: &AbortArgs) -> Result<ExitCode, Error> {
    let server = args.target.server(true);
    let devices = u32::try_from(args.count).unwrap_or(u32::MAX);
    let plan = AddressPlan::new(*server.ip(), devices, args.target.source, args.target.addresses)?;
    let transport = Plain::open(Route { plan, server }, args.target.port).map_err(Error::Socket)?;
    let clock = Clock::start();
    let mut driver = Driver::new(transport, clock).map_err(Error::Socket)?;
    let system = SystemRandom::new();
    let loot = Loot::new(&args.identity, &args.psk_seed, args.credentials.as_deref(), &system)?;
    let stolen = loot.certificate.is_some();
    let mut strangers = Strangers {
        clock,
        system,
        random: Random::new(args.seed),
        settings: Arc::new(Settings::default()),
        ways: Way::ALL.into_iter().filter(|way| stolen || *way != Way::StolenCertificate).collect(),
        loot,
        attempts: HashMap::new(),
        turns: VecDeque::new(),
        deadlines: VecDeque::new(),
        begun: 0,
        tallies: BTreeMap::new(),
        answers: 0,
    };
    let mut progress = Progress::new(args.quiet);
    progress.phase("abort", args.count);
    let begin = clock.now();
    let mut loads = [Load::new((), Schedule::new(begin, args.rate, Some(args.count)), devices)];
    while !driver.interrupted() && (!loads[0].is_done() || !strangers.is_at_rest()) {
        let now = clock.now();
        progress.show(now, strangers.begun, || {
            format!("{} begun, {} under way", strangers.begun, strangers.attempts.len())
        });
        driver.turn(&mut strangers, &mut loads, now + SECOND / 10).map_err(Error::Socket)?;
    }
    progress.finish();

    let report = AbortReport::new(&strangers, &driver, (clock.now() - begin) as f64 / SECOND as f64);
    line(&report.describe()).map_err(Error::Print)?;
    if let Some(path) = &args.json {
        let written = File::create(path).map(BufWriter::new).and_then(|mut file| {
            serde_json::to_writer_pretty(&mut file, &report)?;
            file.flush()
        });
        written.map_err(|error| Error::File { flag: "--json", path: path.clone(), error })?;
    }
    Ok(if report.answers == 0 { ExitCode::from(3) } else { ExitCode::SUCCESS })
}
