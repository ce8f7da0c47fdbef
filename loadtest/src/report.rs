//! The result of a run: a table for people, JSON for programs.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write as _, stdout};
use std::path::Path as FilePath;
use std::process::ExitCode;

use serde::Serialize;

use crate::cli::RunArgs;
use crate::clock::{Micros, SECOND};
use crate::driver::Driver;
use crate::dtls::{self, Devices, Sessions};
use crate::echo::{self, EchoReport};
use crate::fleet::Fleet;
use crate::measure::{Action, Served, TallyReport};
use crate::process::Usage;

/// Writes one line of results.
pub(crate) fn line(text: &str) -> io::Result<()> {
    writeln!(stdout(), "{text}")
}

/// What one phase cost.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Phase {
    name: &'static str,
    seconds: f64,
    /// Exchanges that ended well, and non-confirmable notifications.
    completed: u64,
    server: Option<Cost>,
    generator: Option<Cost>,
    /// That ended well in this phase.
    handshakes: Option<u64>,
}

/// CPU and memory of a process over a phase.
#[derive(Clone, Copy, Debug, Serialize)]
struct Cost {
    cpu_seconds: f64,
    /// Of one core.
    cpu_share: f64,
    cpu_per_request_us: Option<f64>,
    resident_bytes: u64,
    resident_growth: i64,
}

impl Phase {
    /// A phase of `elapsed`, with the usage of server and generator before and after it.
    pub(crate) fn new(
        name: &'static str,
        elapsed: Micros,
        completed: u64,
        server: (Option<Usage>, Option<Usage>),
        generator: (Option<Usage>, Option<Usage>),
        handshakes: Option<u64>,
    ) -> Self {
        let seconds = elapsed.max(1) as f64 / SECOND as f64;
        let cost = |(before, after): (Option<Usage>, Option<Usage>)| {
            let (before, after) = before.zip(after)?;
            // A server that was replaced under the same id would count backwards.
            let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
            Some(Cost {
                cpu_seconds: cpu,
                cpu_share: cpu / seconds,
                cpu_per_request_us: (completed > 0).then(|| cpu * 1e6 / completed as f64),
                resident_bytes: after.resident,
                resident_growth: after.resident as i64 - before.resident as i64,
            })
        };
        let (server, generator) = (cost(server), cost(generator));
        Self { name, seconds, completed, server, generator, handshakes }
    }
}

/// How the fleet stood under load, before any device left.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Loaded {
    registered: u32,
    refused: u32,
    observed_devices: u32,
    observations: usize,
}

impl Loaded {
    pub(crate) fn new(fleet: &Fleet) -> Self {
        let (observed_devices, observations) = fleet.observed();
        Self { registered: fleet.registered(), refused: fleet.refused(), observed_devices, observations }
    }
}

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    server: String,
    devices: u32,
    registered: u32,
    refused: u32,
    observed_devices: u32,
    observations: usize,
    registered_again: u64,
    actions: Vec<TallyReport>,
    served: Served,
    dtls: Option<dtls::TallyReport>,
    phases: Vec<Phase>,
    /// Growth of the server's resident set while the fleet registered and was observed, per device.
    server_bytes_per_device: Option<f64>,
    open: u32,
    malformed: u64,
    unmatched: u64,
    /// Lost on the generator's side: not taken by the kernel, or not read from it in time.
    send_refused: u64,
    receive_dropped: u32,
    echo: Option<EchoReport>,
    /// Server CPU per request of the load phase, as a multiple of the echo's; none where actions come in turn.
    cpu_ratio_to_echo: Option<f64>,
}

impl Report {
    pub(crate) fn new(
        args: &RunArgs,
        devices: &Devices,
        driver: &Driver,
        loaded: Loaded,
        phases: Vec<Phase>,
        echo: Option<EchoReport>,
    ) -> Self {
        let fleet = &devices.fleet;
        let seconds = |action| {
            let during: &[&str] = match action {
                Action::Register => &["register"],
                Action::Deregister => &["deregister"],
                Action::Update if args.in_turn => &["update"],
                Action::Notify if args.in_turn => &["notify"],
                _ if args.overlap => &["register", "settle", "load"],
                _ => &["load"],
            };
            phases.iter().filter(|phase| during.contains(&phase.name)).map(|phase| phase.seconds).sum::<f64>()
        };
        let actions = Action::ALL
            .into_iter()
            .filter(|&action| fleet.measure.tally(action).due > 0)
            .map(|action| {
                TallyReport::new(
                    action,
                    fleet.measure.tally(action),
                    (seconds(action) * SECOND as f64) as Micros,
                )
            })
            .collect();
        let cost = |name| phases.iter().find(|phase| phase.name == name)?.server;
        let growth = |name| Some(cost(name)?.resident_growth);
        let server_bytes_per_device = growth("register")
            .zip(growth("settle"))
            .filter(|_| loaded.registered > 0)
            .map(|(register, settle)| (register + settle) as f64 / f64::from(loaded.registered));
        let per_request = cost("load").and_then(|cost| cost.cpu_per_request_us);
        let per_echo = echo.and_then(|echo| echo.cpu_per_request_us);
        let Loaded { registered, refused, observed_devices, observations } = loaded;
        Self {
            server: args.target.server(args.dtls.dtls.is_some()).to_string(),
            devices: args.fleet.devices,
            registered,
            refused,
            observed_devices,
            observations,
            registered_again: fleet.measure.registered_again,
            actions,
            served: fleet.measure.served,
            dtls: devices.sessions.as_ref().map(Sessions::report),
            server_bytes_per_device,
            open: fleet.open(),
            malformed: fleet.measure.malformed,
            unmatched: fleet.measure.unmatched,
            send_refused: driver.transport.refused(),
            receive_dropped: driver.dropped(),
            echo,
            cpu_ratio_to_echo: per_request.zip(per_echo).map(|(request, echo)| request / echo),
            phases,
        }
    }

    /// 0; 1 when a device could not register; 3 when nobody answered at all.
    pub(crate) fn exit_code(&self) -> ExitCode {
        let answered = self.actions.iter().any(|action| action.acknowledged > 0 || !action.errors.is_empty());
        let registered = self.actions.iter().find(|action| action.action == "register");
        match (answered, registered) {
            (false, _) => ExitCode::from(3),
            (_, Some(register)) if register.acknowledged < u64::from(self.devices) || self.refused > 0 => {
                ExitCode::from(1)
            }
            _ => ExitCode::SUCCESS,
        }
    }

    pub(crate) fn write(&self, path: &FilePath) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.flush()
    }

    pub(crate) fn print(&self) -> io::Result<()> {
        line(&self.table())
    }

    fn table(&self) -> String {
        let mut text = format!(
            "{} devices at {}: {} registered, {} refused, {} observed ({} observations)\n\n",
            self.devices,
            self.server,
            self.registered,
            self.refused,
            self.observed_devices,
            self.observations
        );
        text.push_str(
            "action            due       sent      acked       /s  retrans  timeout  reset     busy     idle   p50 µs   p99 µs p99.9 µs   max µs\n",
        );
        for row in &self.actions {
            let latency = row.latency_us.map_or_else(
                || format!("{:>8} {:>8} {:>8} {:>8}", "-", "-", "-", "-"),
                |l| format!("{:>8} {:>8} {:>8} {:>8}", l.p50, l.p99, l.p999, l.max),
            );
            let _infallible = writeln!(
                text,
                "{:<10} {:>10} {:>10} {:>10} {:>8.0} {:>8} {:>8} {:>6} {:>8} {:>8} {latency}",
                row.action,
                row.due,
                row.sent,
                row.acknowledged,
                row.per_second,
                row.retransmissions,
                row.timeouts,
                row.resets,
                row.skipped_busy,
                row.skipped_idle,
            );
        }
        text.push_str("\nphase         seconds  completed  server CPU s   share  µs/request   RSS MiB  generator CPU s  µs/request\n");
        for phase in &self.phases {
            let _infallible = writeln!(
                text,
                "{:<10} {:>10.2} {:>10}  {} {}",
                phase.name,
                phase.seconds,
                phase.completed,
                phase.server.map_or_else(
                    || format!("{:>12} {:>7} {:>11} {:>9}", "-", "-", "-", "-"),
                    |cost| format!(
                        "{:>12.2} {:>6.1}% {:>11} {:>9.1}",
                        cost.cpu_seconds,
                        cost.cpu_share * 100.0,
                        decimal(cost.cpu_per_request_us),
                        cost.resident_bytes as f64 / f64::from(1 << 20),
                    )
                ),
                phase.generator.map_or_else(String::new, |cost| format!(
                    "{:>16.2} {:>11}",
                    cost.cpu_seconds,
                    decimal(cost.cpu_per_request_us)
                )),
            );
        }
        self.remarks(&mut text);
        text.trim_end().to_owned()
    }

    fn remarks(&self, text: &mut String) {
        let mut remark = |remark: String| {
            text.push('\n');
            text.push_str(&remark);
        };
        if let Some(bytes) = self.server_bytes_per_device {
            remark(format!(
                "server memory: {bytes:.0} bytes per device (growth from before the first registration)"
            ));
        }
        if let Some(echo) = &self.echo {
            remark(echo::describe(echo));
        }
        if let Some(ratio) = self.cpu_ratio_to_echo {
            remark(format!("server CPU per request under load: {ratio:.2} times the echo's"));
        }
        if let Some(dtls) = &self.dtls {
            remark(dtls.describe());
        }
        for row in self.actions.iter().filter(|row| !row.errors.is_empty()) {
            let codes: Vec<_> = row.errors.iter().map(|(code, count)| format!("{code} × {count}")).collect();
            remark(format!("{} was answered with an error: {}", row.action, codes.join(", ")));
        }
        let Served {
            reads,
            discovers,
            observes,
            cancels,
            writes,
            executes,
            creates,
            deletes,
            refused,
            duplicates,
        } = self.served;
        if self.served != Served::default() {
            remark(format!(
                "served: {reads} reads, {discovers} discovers, {observes} observes, {cancels} cancels, {writes} writes, \
                 {executes} executes, {creates} creates, {deletes} deletes; {refused} refused, {duplicates} repeated"
            ));
        }
        for row in self.actions.iter().filter(|row| row.late > 0) {
            remark(format!(
                "note: {}: {} of {} left more than 1 ms late (at worst {:.1} ms), for want of CPU for the generator",
                row.action,
                row.late,
                row.sent,
                row.worst_lateness_us as f64 / 1000.0
            ));
        }
        if self.registered_again > 0 {
            remark(format!("note: {} registrations were made again", self.registered_again));
        }
        if self.open > 0 {
            remark(format!("note: {} exchanges were still open at the end", self.open));
        }
        if self.malformed > 0 {
            remark(format!("note: {} datagrams of the server were malformed", self.malformed));
        }
        if self.send_refused > 0 || self.receive_dropped > 0 {
            remark(format!(
                "note: lost on the generator's side: {} not sent, {} not read in time",
                self.send_refused, self.receive_dropped
            ));
        }
    }
}

fn decimal(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.2}"))
}
