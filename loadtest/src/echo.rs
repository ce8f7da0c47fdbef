//! A bare UDP echo, server and client: what the platform charges for a request before any protocol does its
//! work. Measured in the same run, it makes a server's figures comparable between machines.

use std::io::{BufRead, BufReader};
use std::net::SocketAddrV4;
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use hdrhistogram::Histogram;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

use crate::address::AddressPlan;
use crate::batch::{BATCH, ReceiveBatch, SendBatch};
use crate::cli::{EchoArgs, EchoClientArgs};
use crate::clock::{Clock, Micros, SECOND, micros};
use crate::driver::{Driver, Load, Population};
use crate::dtls;
use crate::echo_dtls;
use crate::error::Error;
use crate::measure::LatencyReport;
use crate::process;
use crate::report::line;
use crate::schedule::{Rate, Schedule};
use crate::socket::{Plain, Route, Transport, open};

/// Echoes until it is killed. The first line on stdout is the address.
pub(crate) fn serve(args: &EchoArgs) -> Result<ExitCode, Error> {
    if args.webrtc.is_some() {
        let psk = args.psk.as_deref().map(dtls::psk).transpose()?;
        let served = dtls::webrtc_echo(args.bind, psk, |address| line(&address));
        return served.map(|()| ExitCode::SUCCESS).map_err(Error::Baseline);
    }
    let socket = open(args.bind).map_err(Error::Socket)?;
    line(&socket.local_addr().map_err(Error::Socket)?.to_string()).map_err(Error::Print)?;
    let (mut inbox, mut outbox) = (ReceiveBatch::new(), SendBatch::new());
    loop {
        let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        poll(&mut ready, PollTimeout::NONE).map_err(|error| Error::Socket(error.into()))?;
        loop {
            let received = inbox.receive(socket.as_fd()).map_err(Error::Socket)?;
            for slot in 0..received {
                let datagram = inbox.datagram(slot);
                outbox.push(0, Some(datagram.to), datagram.from, datagram.bytes);
            }
            outbox.flush(std::slice::from_ref(&socket));
            if received < BATCH {
                break;
            }
        }
    }
}

/// What an echo cost.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct EchoReport {
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) per_second: f64,
    pub(crate) latency_us: Option<LatencyReport>,
    /// CPU time of the echo server per answered datagram, where its process is known.
    pub(crate) cpu_per_request_us: Option<f64>,
}

/// Runs the client against a server that is there.
pub(crate) fn client(args: &EchoClientArgs) -> Result<ExitCode, Error> {
    if let Some(kind) = args.dtls.dtls {
        return echo_dtls::client(args, kind);
    }
    let size = usize::from(args.size);
    let report = measure(args.server, args.devices, args.rate, args.duration, size, args.server_pid)?;
    line(&describe(&report)).map_err(Error::Print)?;
    Ok(if report.answered == 0 { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

/// One sentence on an echo.
pub(crate) fn describe(report: &EchoReport) -> String {
    let latency =
        report.latency_us.map_or_else(String::new, |l| format!(", p50 {} µs, p99 {} µs", l.p50, l.p99));
    let cpu =
        report.cpu_per_request_us.map_or_else(String::new, |cpu| format!(", {cpu:.2} µs of server CPU each"));
    format!("echo: {} of {} answered, {:.0}/s{latency}{cpu}", report.answered, report.sent, report.per_second)
}

/// Starts an echo server of its own, measures it for three seconds, and stops it.
pub(crate) fn baseline(devices: u32, rate: Rate) -> Result<EchoReport, Error> {
    let rate = if rate.0 > 0.0 { rate } else { Rate(5000.0) };
    let program = std::env::current_exe().map_err(Error::Baseline)?;
    let server = Command::new(program)
        .args(["echo", "--bind", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Error::Baseline)?;
    let mut server = Stopped(server);
    let pid = server.0.id();
    let mut address = String::new();
    if let Some(output) = server.0.stdout.take() {
        BufReader::new(output).read_line(&mut address).map_err(Error::Baseline)?;
    }
    let address = address.trim().parse();
    let address = address.map_err(|_| Error::Baseline(std::io::Error::other("it printed no address")))?;
    measure(address, devices, rate, Duration::from_secs(3), 40, Some(pid))
}

/// A child that does not outlive its use.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left to do about it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn measure(
    server: SocketAddrV4,
    devices: u32,
    rate: Rate,
    duration: Duration,
    size: usize,
    pid: Option<u32>,
) -> Result<EchoReport, Error> {
    let plan = AddressPlan::new(*server.ip(), devices, None, None)?;
    let transport = Plain::open(Route { plan, server }, 0).map_err(Error::Socket)?;
    let clock = Clock::start();
    let mut driver = Driver::new(transport, clock).map_err(Error::Socket)?;
    let mut echoes = Echoes::new(size);
    let before = pid.and_then(process::usage);
    let begin = clock.now();
    let end = begin + micros(duration);
    let events = (rate.0 * duration.as_secs_f64()) as u64;
    let mut loads = [Load::new((), Schedule::new(begin, rate, Some(events)), devices)];
    // What was due by the end is sent, however late.
    while (clock.now() < end || !loads[0].is_done()) && !driver.interrupted() {
        let until = end.max(clock.now());
        driver.turn(&mut echoes, &mut loads, until).map_err(Error::Socket)?;
    }
    let elapsed = clock.now() - begin;
    // What is still under way gets a moment.
    let last = clock.now() + SECOND / 5;
    while clock.now() < last && echoes.answered < echoes.sent {
        driver.turn(&mut echoes, &mut [], last).map_err(Error::Socket)?;
    }
    let after = pid.and_then(process::usage);
    let cpu = before.zip(after).map(|(before, after)| (after.cpu - before.cpu).as_secs_f64() * 1e6);
    Ok(EchoReport {
        sent: echoes.sent,
        answered: echoes.answered,
        per_second: echoes.answered as f64 * SECOND as f64 / elapsed.max(1) as f64,
        latency_us: LatencyReport::new(&echoes.latency),
        cpu_per_request_us: cpu.filter(|_| echoes.answered > 0).map(|cpu| cpu / echoes.answered as f64),
    })
}

/// Sends the due time and reads it back.
struct Echoes {
    message: Vec<u8>,
    sent: u64,
    answered: u64,
    latency: Histogram<u64>,
}

impl Echoes {
    fn new(size: usize) -> Self {
        let latency = Histogram::new_with_bounds(1, 60 * SECOND, 3).expect("invariant: bounds are valid");
        Self { message: vec![0; size.max(8)], sent: 0, answered: 0, latency }
    }
}

impl Population for Echoes {
    type Action = ();

    fn handle(&mut self, arrived: Micros, _: Micros, _: u32, datagram: &[u8], _: &mut Plain) {
        if let Some((due, _)) = datagram.split_first_chunk() {
            self.answered += 1;
            self.latency.saturating_record(arrived.saturating_sub(u64::from_be_bytes(*due)));
        }
    }

    fn expire(&mut self, _: Micros, _: &mut Plain) {}

    fn next_deadline(&self) -> Micros {
        Micros::MAX
    }

    fn fire(&mut self, (): (), device: u32, due: Micros, _: Micros, out: &mut Plain) {
        self.message[..8].copy_from_slice(&due.to_be_bytes());
        self.sent += 1;
        out.send(device, &self.message);
    }
}
