//! A DTLS echo, client side: handshakes, idle sessions, then small records that come back; each with the server's cost.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::address::AddressPlan;
use crate::cli::EchoClientArgs;
use crate::clock::{Clock, Micros, SECOND};
use crate::coap;
use crate::driver::{Driver, Load, Population};
use crate::dtls::{self, Identities, Kind, Sessions};
use crate::error::Error;
use crate::measure::LatencyReport;
use crate::process::{self, Usage};
use crate::report::line;
use crate::schedule::{Rate, Schedule};
use crate::socket::{Plain, Route};

/// How long a handshake may take at the worst.
const PATIENCE: Micros = 60 * SECOND;

/// Echoes before those that count: caches, and where the server compiles as it runs, its compiler.
const WARM_UP: Duration = Duration::from_secs(3);

#[derive(Clone, Copy)]
enum Due {
    Handshake { resume: bool },
    Echo,
}

struct Clients {
    sessions: Sessions,
    /// An empty confirmable CoAP message in place of the bytes: what answers it has no echo.
    ping: bool,
    message: Vec<u8>,
    /// When each device's last message was due.
    since: Vec<Micros>,
    sent: u64,
    answered: u64,
    latency: Histogram<u64>,
    messages: Vec<Vec<u8>>,
}

impl Population for Clients {
    type Action = Due;

    fn handle(&mut self, arrived: Micros, now: Micros, device: u32, datagram: &[u8], out: &mut Plain) {
        self.sessions.handle(device, datagram, now, out, &mut self.messages);
        for _ in self.messages.drain(..) {
            self.answered += 1;
            self.latency.saturating_record(arrived.saturating_sub(self.since[device as usize]));
        }
    }

    fn expire(&mut self, now: Micros, out: &mut Plain) {
        self.sessions.expire(now, out);
    }

    fn next_deadline(&self) -> Micros {
        self.sessions.next_deadline()
    }

    fn fire(&mut self, due_action: Due, device: u32, due: Micros, now: Micros, out: &mut Plain) {
        match due_action {
            Due::Handshake { resume } => self.sessions.start(device, resume, now, out),
            Due::Echo => {
                self.sent += 1;
                self.since[device as usize] = due;
                if self.ping {
                    coap::empty(&mut self.message, coap::Kind::Confirmable, self.sent as u16);
                }
                self.sessions.send(device, &self.message, now, out);
            }
        }
    }
}

/// What one kind of work cost the server.
#[derive(Clone, Copy, Debug, Serialize)]
struct Cost {
    completed: u64,
    per_second: f64,
    cpu_us_each: Option<f64>,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct DtlsEchoReport {
    devices: u32,
    handshakes: Cost,
    resumptions: Option<Cost>,
    /// Growth of the server's resident set over the handshakes, per session.
    resident_bytes_each: Option<f64>,
    echoes: Option<Cost>,
    sent: u64,
    latency_us: Option<LatencyReport>,
    dtls: dtls::TallyReport,
}

struct Run<'a> {
    args: &'a EchoClientArgs,
    clock: Clock,
    driver: Driver,
    clients: Clients,
}

impl Run<'_> {
    fn usage(&self) -> Option<Usage> {
        self.args.server_pid.and_then(process::usage)
    }

    /// One handshake of each device at a rate.
    fn handshakes(&mut self, rate: Rate, resume: bool) -> Result<Cost, Error> {
        let devices = self.args.devices;
        let (before, completed, begin) = (self.usage(), self.clients.sessions.completed(), self.clock.now());
        let schedule = Schedule::new(begin, rate, Some(devices.into()));
        let mut loads = [Load::new(Due::Handshake { resume }, schedule, devices)];
        let mut last = begin + PATIENCE;
        while (!loads[0].is_done() || self.clients.sessions.underway() > 0)
            && self.clock.now() < last
            && !self.driver.interrupted()
        {
            if !loads[0].is_done() {
                last = self.clock.now() + PATIENCE;
            }
            self.turn(&mut loads)?;
        }
        let done = self.clients.sessions.completed() - completed;
        Ok(self.cost(before, done, self.clock.now() - begin))
    }

    fn echoes(&mut self, duration: Duration) -> Result<Cost, Error> {
        let begin = self.clock.now();
        let (before, answered) = (self.usage(), self.clients.answered);
        let events = (self.args.rate.0 * duration.as_secs_f64()) as u64;
        let schedule = Schedule::new(begin, self.args.rate, Some(events));
        let mut loads = [Load::new(Due::Echo, schedule, self.args.devices)];
        while !loads[0].is_done() && !self.driver.interrupted() {
            self.turn(&mut loads)?;
        }
        let elapsed = self.clock.now() - begin;
        self.wait(SECOND / 2)?;
        Ok(self.cost(before, self.clients.answered - answered, elapsed))
    }

    fn cost(&self, before: Option<Usage>, completed: u64, elapsed: Micros) -> Cost {
        let cpu = before.zip(self.usage()).map(|(before, after)| (after.cpu - before.cpu).as_secs_f64());
        Cost {
            completed,
            per_second: completed as f64 * SECOND as f64 / elapsed.max(1) as f64,
            cpu_us_each: cpu.filter(|_| completed > 0).map(|cpu| cpu * 1e6 / completed as f64),
        }
    }

    fn wait(&mut self, length: Micros) -> Result<(), Error> {
        let end = self.clock.now() + length;
        while self.clock.now() < end && !self.driver.interrupted() {
            self.turn(&mut [])?;
        }
        Ok(())
    }

    fn turn(&mut self, loads: &mut [Load<Due>]) -> Result<(), Error> {
        let until = self.clock.now() + SECOND / 10;
        self.driver.turn(&mut self.clients, loads, until).map_err(Error::Socket)
    }
}

/// Runs against a server that is there. The exit code is 3 when no handshake ended well.
pub(crate) fn client(args: &EchoClientArgs, kind: Kind) -> Result<ExitCode, Error> {
    let dtls = &args.dtls;
    if kind == Kind::Webrtc {
        return Err(Error::NotWithWebrtc("echo-client"));
    }
    let identities = Identities::new(dtls, kind, &args.endpoint, 0, args.devices)?;
    let plan = AddressPlan::new(*args.server.ip(), args.devices, None, None)?;
    let transport = Plain::open(Route { plan, server: args.server }, 0).map_err(Error::Socket)?;
    let clock = Clock::start();
    let sessions = Sessions::new(dtls.settings(), identities, args.devices, dtls.cid, 0, None, clock);
    let driver = Driver::new(transport, clock).map_err(Error::Socket)?;
    let clients = Clients {
        sessions,
        ping: args.ping,
        message: vec![0x2a; args.size.into()],
        since: vec![0; args.devices as usize],
        sent: 0,
        answered: 0,
        latency: Histogram::new_with_bounds(1, 60 * SECOND, 3).expect("invariant: bounds are valid"),
        messages: Vec::new(),
    };
    let mut run = Run { args, clock, driver, clients };

    let before = run.usage();
    let rate = if dtls.handshake_rate.0 > 0.0 { dtls.handshake_rate } else { Rate(200.0) };
    let handshakes = run.handshakes(rate, false)?;
    run.wait(2 * SECOND)?;
    let grown = before.zip(run.usage()).map(|(before, after)| after.resident as f64 - before.resident as f64);
    let resumptions =
        (dtls.resume_rate.0 > 0.0).then(|| run.handshakes(dtls.resume_rate, true)).transpose()?;
    let mut echoes = None;
    if handshakes.completed > 0 && !args.duration.is_zero() {
        run.echoes(WARM_UP)?;
        run.clients.sent = 0;
        run.clients.latency.reset();
        echoes = Some(run.echoes(args.duration)?);
    }
    let report = DtlsEchoReport {
        devices: args.devices,
        handshakes,
        resumptions,
        resident_bytes_each: grown.map(|grown| grown / handshakes.completed.max(1) as f64),
        echoes,
        sent: run.clients.sent,
        latency_us: LatencyReport::new(&run.clients.latency),
        dtls: run.clients.sessions.report(),
    };
    line(&describe(&report)).map_err(Error::Print)?;
    if let Some(path) = &args.json {
        let written = File::create(path).map(BufWriter::new).and_then(|mut file| {
            serde_json::to_writer_pretty(&mut file, &report)?;
            file.flush()
        });
        written.map_err(|error| Error::File { flag: "--json", path: path.clone(), error })?;
    }
    Ok(if handshakes.completed == 0 { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

fn describe(report: &DtlsEchoReport) -> String {
    let cost = |what: &str, cost: &Cost| {
        let cpu =
            cost.cpu_us_each.map_or_else(String::new, |cpu| format!(", {cpu:.1} µs of server CPU each"));
        format!("{what}: {}, {:.0}/s{cpu}", cost.completed, cost.per_second)
    };
    let mut lines = vec![cost("handshakes", &report.handshakes)];
    lines.extend(report.resumptions.iter().map(|resumed| cost("resumed", resumed)));
    lines.extend(report.echoes.iter().map(|echoes| cost("echoes", echoes)));
    lines.extend(report.resident_bytes_each.map(|bytes| format!("resident: {bytes:.0} bytes per session")));
    lines.push(report.dtls.describe());
    lines.join("\n")
}
