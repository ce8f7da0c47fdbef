//! The command line.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::dtls::{CredentialsArgs, DtlsArgs};
use crate::endpoint::Template;
use crate::schedule::{Rate, duration};

/// Simulates fleets of LwM2M devices, measures the server that serves them, and checks that no acknowledged
/// value is lost.
#[derive(Debug, Parser)]
#[command(
    name = "godwit-load",
    version,
    after_help = "Examples:\n  \
        godwit-load run --devices 10000 --register-rate 2000/s --notify-rate 5000/s --duration 60s \\\n    \
        --journal journal.ndjson --server-pid $(pidof godwit)\n  \
        godwit-load check --journal journal.ndjson --output godwit-data/telemetry\n  \
        godwit-load run --dtls psk --cid 8 --rebind 10/s --resume-rate 5/s --devices 1000\n  \
        godwit-load demo"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Register a fleet, put load on a server, and measure.
    Run(Box<RunArgs>),
    /// Compare the journal of a run with the telemetry that a Godwit node wrote.
    ///
    /// Every run counts its devices' values from 1: runs that are checked together need endpoints of their own
    /// (--endpoint or --first), and a run that is checked alone needs an output without an earlier run's.
    Check(CheckArgs),
    /// Make keys, and certificates, for a fleet that speaks DTLS.
    Credentials(CredentialsArgs),
    /// Ten devices with living values, until interrupted.
    Demo(DemoArgs),
    /// Send random and mutated CoAP datagrams while good devices must go on being served.
    Fuzz(FuzzArgs),
    /// Begin DTLS handshakes that come to nothing, in every way, each from an address of its own.
    Abort(AbortArgs),
    /// A bare UDP echo server: what the platform charges for a request that costs nothing.
    Echo(EchoArgs),
    /// Put load on an echo server and measure.
    EchoClient(EchoClientArgs),
}

/// Where the server is and from where the devices speak.
#[derive(Clone, Debug, Args)]
pub(crate) struct TargetArgs {
    /// The server's address, host:port (IPv4; the port may be left out: 5683, with DTLS 5684) [default: 127.0.0.1]
    #[arg(long, value_parser = server)]
    pub(crate) server: Option<Server>,
    /// First source address of the devices [default: 127.16.0.0 for a server on loopback, else the host's own]
    #[arg(long)]
    pub(crate) source: Option<Ipv4Addr>,
    /// How many source addresses there are from --source on, before devices share them by further ports
    #[arg(long)]
    pub(crate) addresses: Option<u32>,
    /// Local UDP port (further sockets take the ports after it) [default: of the system's choice]
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub(crate) port: u16,
}

/// What the devices are.
#[derive(Clone, Debug, Args)]
pub(crate) struct FleetArgs {
    /// Number of devices
    #[arg(long, short = 'n', default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub(crate) devices: u32,
    /// Endpoint names: text with {} or {:08} where the device's number goes
    #[arg(long, default_value = "load-{:08}")]
    pub(crate) endpoint: Template,
    /// The number of the first device
    #[arg(long, default_value_t = 0)]
    pub(crate) first: u64,
    /// Registration lifetime in seconds
    #[arg(long, default_value_t = 86_400)]
    pub(crate) lifetime: u32,
    /// LwM2M version to register with
    #[arg(long, default_value = "1.1", value_parser = ["1.0", "1.1", "1.2"])]
    pub(crate) lwm2m: String,
    /// Binding to register with
    #[arg(long, default_value = "U")]
    pub(crate) binding: String,
    /// Register in queue mode (Q); under 1.0 use --binding UQ
    #[arg(long)]
    pub(crate) queue: bool,
    /// An object instance that each device advertises (repeatable)
    #[arg(long = "object", default_values = ["</1/0>", "</3/0>", "</3303/0>"])]
    pub(crate) objects: Vec<String>,
}

/// Retransmission, RFC 7252 §4.8.
#[derive(Clone, Debug, Args)]
pub(crate) struct TimingArgs {
    /// First retransmission after this, at least
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub(crate) ack_timeout: Duration,
    /// ... and after at most this many times it
    #[arg(long, default_value_t = 1.5)]
    pub(crate) ack_random_factor: f64,
    /// Retransmissions before giving up
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(0..=10))]
    pub(crate) max_retransmit: u8,
    /// Pause before a device tries again to register
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub(crate) retry: Duration,
}

/// A run: register, settle, load for a duration, drain, and perhaps de-register.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
    #[command(flatten)]
    pub(crate) timing: TimingArgs,
    #[command(flatten)]
    pub(crate) dtls: DtlsArgs,
    /// Registrations per second, such as 2000/s
    #[arg(long, default_value = "1000/s")]
    pub(crate) register_rate: Rate,
    /// Registration updates per second, over all devices in turn
    #[arg(long, default_value = "0")]
    pub(crate) update_rate: Rate,
    /// Notifications per second, over all observed devices in turn
    #[arg(long, default_value = "0")]
    pub(crate) notify_rate: Rate,
    /// Send notifications non-confirmable: none is acknowledged, so none is in the journal
    #[arg(long)]
    pub(crate) non_confirmable: bool,
    /// How long updates and notifications go on; with neither, how long the fleet is idle
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// After the registrations, wait until the server has observed nothing further for this long
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub(crate) settle: Duration,
    /// Start updates and notifications with the first registration instead of after the last
    #[arg(long)]
    pub(crate) overlap: bool,
    /// Send updates for the duration and then notifications for the duration, instead of both at once
    #[arg(long, conflicts_with = "overlap")]
    pub(crate) in_turn: bool,
    /// How long to wait at the end for what is still open [default: as long as its retransmissions take]
    #[arg(long, value_parser = duration)]
    pub(crate) drain: Option<Duration>,
    /// De-register every device at the end, at the register rate
    #[arg(long)]
    pub(crate) deregister: bool,
    /// Write every acknowledged value and registration to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: Option<PathBuf>,
    /// Write every datagram to and from the server to this file, a capture (pcap) that tshark and checkers read; with --dtls
    /// webrtc, what comes before that
    #[arg(long, value_name = "FILE")]
    pub(crate) capture: Option<PathBuf>,
    /// Process id of the server: reports its CPU time and memory
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,
    /// Before the run, measure a bare UDP echo at the same rate for 3 s, and report CPU as a ratio to it
    #[arg(long, requires = "server_pid")]
    pub(crate) baseline: bool,
    /// Write the results to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// No progress
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Seed of message ids
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// What to compare.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The journal of a run (repeatable)
    #[arg(long, required = true, value_name = "FILE")]
    pub(crate) journal: Vec<PathBuf>,
    /// What the node's file sink wrote: files, oldest first, or the folder with all of them (repeatable)
    #[arg(long, required = true, value_name = "PATH")]
    pub(crate) output: Vec<PathBuf>,
    /// Refuse also records that repeat an earlier one under the same ce_id
    #[arg(long)]
    pub(crate) no_duplicates: bool,
    /// How many faults of each kind are listed
    #[arg(long, default_value_t = 10)]
    pub(crate) list: usize,
    /// Write the result to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// A fleet to look at.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Number of devices
    #[arg(long, short = 'n', default_value_t = 10)]
    pub(crate) devices: u32,
    /// Endpoint names: text with {} or {:02} where the device's number goes
    #[arg(long, default_value = "demo-{:02}")]
    pub(crate) endpoint: Template,
    /// How often each device sends a value
    #[arg(long, default_value = "4s", value_parser = duration)]
    pub(crate) every: Duration,
    /// Registration lifetime in seconds; devices update after half of it
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(4..))]
    pub(crate) lifetime: u32,
    /// No progress
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// What to throw at a server.
#[derive(Debug, Args)]
pub(crate) struct FuzzArgs {
    /// The server's CoAP address, host:port
    #[arg(long, default_value = "127.0.0.1:5683", value_parser = plain_server)]
    pub(crate) target: SocketAddrV4,
    /// Datagrams to send
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) count: u64,
    /// Seed; the same seed makes the same datagrams
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Datagrams per second
    #[arg(long, default_value = "20000/s")]
    pub(crate) rate: Rate,
    /// Good devices that register, update and notify meanwhile
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) good: u32,
    /// Process id of the server: reports its memory before and after
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,
    /// Write the results to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// No progress
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// How strangers shake hands.
#[derive(Debug, Args)]
pub(crate) struct AbortArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Handshakes to begin
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=15_000_000))]
    pub(crate) count: u64,
    /// Handshakes per second
    #[arg(long, default_value = "1000/s")]
    pub(crate) rate: Rate,
    /// Seed of the noise
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// The PSK identity of a device, which attackers know
    #[arg(long, default_value = "load-00000000-identity", value_name = "TEXT")]
    pub(crate) identity: String,
    /// Its PSK, with which handshakes fall silent, is made of this as for `run`
    #[arg(long, default_value = "godwit-load", value_name = "TEXT")]
    pub(crate) psk_seed: String,
    /// A file that `godwit-load credentials x509` wrote: attackers show its first certificate and don't have its key
    #[arg(long, value_name = "FILE")]
    pub(crate) credentials: Option<PathBuf>,
    /// Write the results to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// No progress
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// Where to echo.
#[derive(Debug, Args)]
pub(crate) struct EchoArgs {
    /// Address to listen at; port 0 takes a free one, which is printed
    #[arg(long, default_value = "127.0.0.1:5699")]
    pub(crate) bind: SocketAddrV4,
    /// Echo over DTLS, served by webrtc-dtls: psk, or x509 with any client certificate
    #[arg(long, value_name = "KIND", value_parser = ["psk", "x509"])]
    pub(crate) webrtc: Option<String>,
    /// The PSK of every client, whatever its identity, in hex
    #[arg(long, value_name = "HEX", required_if_eq("webrtc", "psk"))]
    pub(crate) psk: Option<String>,
}

/// Load for an echo server.
#[derive(Debug, Args)]
pub(crate) struct EchoClientArgs {
    /// The echo server's address
    #[arg(long, default_value = "127.0.0.1:5699")]
    pub(crate) server: SocketAddrV4,
    /// Source addresses to send from
    #[arg(long, short = 'n', default_value_t = 1000)]
    pub(crate) devices: u32,
    /// Datagrams per second
    #[arg(long, default_value = "5000/s")]
    pub(crate) rate: Rate,
    /// How long
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Bytes per datagram
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u16).range(8..=1400))]
    pub(crate) size: u16,
    /// Process id of the echo server: reports its CPU time
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,
    /// DTLS: handshakes of all devices, at --handshake-rate [default: 200/s], come first, resumptions at --resume-rate second
    #[command(flatten)]
    pub(crate) dtls: DtlsArgs,
    /// DTLS: names that --identity takes up, with {} where the device's number goes
    #[arg(long, default_value = "load-{:08}")]
    pub(crate) endpoint: Template,
    /// DTLS: send CoAP pings, which any CoAP server answers, in place of bytes to echo
    #[arg(long, requires = "dtls")]
    pub(crate) ping: bool,
    /// DTLS: write the results to this file as JSON
    #[arg(long, value_name = "FILE", requires = "dtls")]
    pub(crate) json: Option<PathBuf>,
}

/// A server's address; without a port the protocol's own will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    address: Ipv4Addr,
    port: Option<u16>,
}

impl TargetArgs {
    /// Where to send.
    pub(crate) fn server(&self, dtls: bool) -> SocketAddrV4 {
        let Server { address, port } =
            self.server.unwrap_or(Server { address: Ipv4Addr::LOCALHOST, port: None });
        SocketAddrV4::new(address, port.unwrap_or(if dtls { 5684 } else { 5683 }))
    }
}

/// Resolves `host`, `host:port`, `coap://host:port` or `coaps://host:port` to an IPv4 address.
fn server(text: &str) -> Result<Server, String> {
    let bare = text.strip_prefix("coap://").or_else(|| text.strip_prefix("coaps://")).unwrap_or(text);
    let bare = bare.trim_end_matches('/');
    let named = bare.contains(':');
    let full = if named { bare.to_owned() } else { format!("{bare}:5683") };
    let mut found =
        full.to_socket_addrs().map_err(|error| format!("can't be resolved ({error}): use host:port"))?;
    found
        .find_map(|address| match address {
            SocketAddr::V4(address) => {
                Some(Server { address: *address.ip(), port: named.then_some(address.port()) })
            }
            SocketAddr::V6(_) => None,
        })
        .ok_or_else(|| "has no IPv4 address: the fleet's many source addresses are IPv4".into())
}

/// The same for commands that speak plain CoAP alone.
fn plain_server(text: &str) -> Result<SocketAddrV4, String> {
    if text.starts_with("coaps://") {
        return Err("is a DTLS address, and this command speaks plain CoAP: use the coap:// port".into());
    }
    let Server { address, port } = server(text)?;
    Ok(SocketAddrV4::new(address, port.unwrap_or(5683)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_server_is_read_with_and_without_port_and_scheme() {
        let want: SocketAddrV4 = "127.0.0.1:5683".parse().unwrap();
        for text in ["127.0.0.1", "127.0.0.1:5683", "coap://127.0.0.1:5683/"] {
            assert_eq!(plain_server(text), Ok(want));
        }
        assert!(plain_server("coaps://127.0.0.1").unwrap_err().contains("coap://"));
        let port = |text, dtls| {
            let args = ["godwit-load", "run", "--server", text];
            let Command::Run(run) = Cli::parse_from(args).command else { unreachable!() };
            run.target.server(dtls).port()
        };
        assert_eq!([port("127.0.0.1", false), port("coaps://127.0.0.1", true)], [5683, 5684]);
        assert_eq!(port("127.0.0.1:5683", true), 5683);
        assert!(server("[::1]:5683").unwrap_err().contains("IPv4"));
    }
}
