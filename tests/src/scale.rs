//! How large the load-based checks are.

use std::{env, time::Duration};

/// The sizes of every check that puts load on a node: `make test` takes [`Scale::TEST`], minutes on any machine, and
/// `make soak` takes [`Scale::SOAK`], whose figures are the ones that are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// The scale's name.
    pub name: &'static str,
    /// See `load_kill`.
    pub load_kill: LoadKill,
    /// See `hostile`.
    pub hostile: Hostile,
    /// See `mixed_fleet`.
    pub mixed_fleet: MixedFleet,
    /// See `kafka`.
    pub kafka: KafkaOutages,
    /// See `kafka`.
    pub kafka_cluster: KafkaCluster,
    /// See `kafka`.
    pub kafka_full: KafkaFull,
    /// See `kafka`.
    pub kafka_slow: KafkaSlow,
    /// See `aborted`.
    pub aborted: Aborted,
    /// See `sessions`.
    pub sessions: Sessions,
    /// See `cluster`.
    pub cluster: ClusterLoad,
}

/// DTLS handshakes that come to nothing, while good devices are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aborted {
    /// So many first, that tables and buffers find their size, which is that of the most that were under way at once.
    pub warm_up: u32,
    /// Handshakes that are measured.
    pub handshakes: u32,
    /// Handshakes per second, where the machine bears them.
    pub rate: u32,
    /// Devices that are served meanwhile.
    pub good: u32,
    /// Growth of the node's live heap that they may leave, in bytes, but for what the store holds.
    pub growth: u64,
}

/// Idle DTLS sessions with Connection IDs, and what happens to them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sessions {
    /// Devices with one each.
    pub devices: u32,
    /// Full handshakes and registrations per second.
    pub register_rate: u32,
    /// How long they are idle.
    pub idle: Duration,
    /// Changes of address per second, two for every device, with twice as many updates.
    pub rebind_rate: u32,
    /// Abbreviated handshakes per second meanwhile.
    pub resume_rate: u32,
}

/// Devices with pre-shared keys notify three nodes while something fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterLoad {
    /// Devices that register first, all with Connection IDs.
    pub devices: u32,
    /// Confirmable notifications per second, over all devices in turn.
    pub rate: u32,
    /// How long they are sent where flows move all the time.
    pub duration: Duration,
    /// How long they are sent before something fails, and after it is mended.
    pub calm: Duration,
    /// How long it fails.
    pub outage: Duration,
    /// `cluster.timers_percent`.
    pub timers_percent: u32,
}

/// Devices of every security mode at once, each of which notifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MixedFleet {
    /// Devices without DTLS.
    pub no_sec: u32,
    /// Devices with certificates.
    pub x509: u32,
    /// Devices with pre-shared keys.
    pub psk: u32,
    /// Devices with raw public keys.
    pub rpk: u32,
    /// Registrations per second, for each mode.
    pub register_rate: u32,
    /// Notifications per second, for each mode.
    pub notify_rate: u32,
    /// How long they notify.
    pub duration: Duration,
}

/// A fleet notifies into the file sink while the node is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadKill {
    /// Devices that register first.
    pub devices: u32,
    /// Confirmable notifications per second, over all devices in turn.
    pub rate: u32,
    /// How long they are sent.
    pub duration: Duration,
    /// How many times the node is killed and started again, at even distances.
    pub kills: u32,
}

/// A fleet notifies into Kafka while broker, network and node fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KafkaOutages {
    /// Devices that register first.
    pub devices: u32,
    /// Confirmable notifications per second, over all devices in turn.
    pub rate: u32,
    /// How long they are sent at least; a tenth of their number comes through between outages.
    pub duration: Duration,
    /// How long the network is cut.
    pub cut: Duration,
}

/// Devices with pre-shared keys notify three nodes with spools, of which two are killed while Kafka is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KafkaCluster {
    /// Devices that register first, all with Connection IDs.
    pub devices: u32,
    /// Confirmable notifications per second, over all devices in turn; two for each device come through between kills.
    pub rate: u32,
}

/// A fleet notifies while Kafka is away and the spool is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KafkaFull {
    /// Devices that register first.
    pub devices: u32,
    /// Confirmable notifications per second, over all devices in turn.
    pub rate: u32,
    /// `sink.queue` and `sink.kafka.spool.limit`, in bytes.
    pub bound: u64,
    /// Records that are refused while memory is watched.
    pub refused: u32,
    /// Growth of the node's live heap without the store that they may leave, in bytes: less than they would take.
    pub growth: u64,
}

/// A fleet notifies while the broker answers late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KafkaSlow {
    /// Devices that register first.
    pub devices: u32,
    /// Confirmable notifications per second, over all devices in turn.
    pub rate: u32,
    /// How much later the broker answers.
    pub delay: Duration,
    /// How long it does.
    pub duration: Duration,
    /// Notifications per second of the same number of other devices afterwards, for ten seconds, more than drains meanwhile; none
    /// where it is 0.
    pub burst: u32,
}

/// Random and mutated datagrams among good devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hostile {
    /// Datagrams of one dose.
    pub datagrams: u32,
    /// Datagrams per second.
    pub rate: u32,
    /// Growth of the node's memory that a second dose may cause, in bytes, where attackers can't register.
    pub growth: u64,
    /// The same where they can: what they register is written.
    pub stored: u64,
}

impl Scale {
    /// `make test`.
    pub const TEST: Scale = Scale {
        name: "test",
        load_kill: LoadKill { devices: 300, rate: 300, duration: Duration::from_secs(6), kills: 1 },
        hostile: Hostile { datagrams: 20_000, rate: 4000, growth: 2 << 20, stored: 8 << 20 },
        mixed_fleet: MixedFleet {
            no_sec: 182,
            x509: 182,
            psk: 18,
            rpk: 18,
            register_rate: 50,
            notify_rate: 40,
            duration: Duration::from_secs(5),
        },
        kafka: KafkaOutages {
            devices: 300,
            rate: 300,
            duration: Duration::from_secs(10),
            cut: Duration::from_secs(3),
        },
        kafka_cluster: KafkaCluster { devices: 120, rate: 120 },
        kafka_full: KafkaFull { devices: 300, rate: 300, bound: 64 << 10, refused: 700, growth: 1 << 20 },
        kafka_slow: KafkaSlow {
            devices: 100,
            rate: 50,
            delay: Duration::from_secs(3),
            duration: Duration::from_secs(10),
            burst: 0,
        },
        aborted: Aborted { warm_up: 10_000, handshakes: 10_000, rate: 1000, good: 10, growth: 1 << 20 },
        sessions: Sessions {
            devices: 500,
            register_rate: 200,
            idle: Duration::from_secs(2),
            rebind_rate: 100,
            resume_rate: 20,
        },
        cluster: ClusterLoad {
            devices: 120,
            rate: 60,
            duration: Duration::from_secs(10),
            calm: Duration::from_secs(2),
            outage: Duration::from_secs(3),
            timers_percent: 25,
        },
    };

    /// `make soak`.
    pub const SOAK: Scale = Scale {
        name: "soak",
        load_kill: LoadKill { devices: 10_000, rate: 5000, duration: Duration::from_secs(60), kills: 3 },
        hostile: Hostile { datagrams: 1_000_000, rate: 20_000, growth: 1 << 20, stored: 2 << 20 },
        mixed_fleet: MixedFleet {
            no_sec: 20_000,
            x509: 20_000,
            psk: 2_000,
            rpk: 2_000,
            register_rate: 300,
            notify_rate: 500,
            duration: Duration::from_secs(60),
        },
        kafka: KafkaOutages {
            devices: 10_000,
            rate: 5000,
            duration: Duration::from_secs(120),
            cut: Duration::from_secs(90),
        },
        kafka_cluster: KafkaCluster { devices: 5000, rate: 1000 },
        kafka_full: KafkaFull {
            devices: 10_000,
            rate: 5000,
            bound: 8 << 20,
            refused: 20_000,
            growth: 4 << 20,
        },
        kafka_slow: KafkaSlow {
            devices: 1000,
            rate: 200,
            delay: Duration::from_secs(3),
            duration: Duration::from_secs(600),
            burst: 3000,
        },
        aborted: Aborted { warm_up: 1_000_000, handshakes: 1_000_000, rate: 2500, good: 50, growth: 1 << 20 },
        sessions: Sessions {
            devices: 50_000,
            register_rate: 1000,
            idle: Duration::from_secs(30),
            rebind_rate: 1000,
            resume_rate: 300,
        },
        cluster: ClusterLoad {
            devices: 5000,
            rate: 1000,
            duration: Duration::from_secs(60),
            calm: Duration::from_secs(10),
            outage: Duration::from_secs(60),
            timers_percent: 100,
        },
    };

    /// What the environment variable `SCALE` names, "test" where it is not set.
    pub fn from_environment() -> Scale {
        match env::var("SCALE").as_deref() {
            Err(_) | Ok("" | "test") => Scale::TEST,
            Ok("soak") => Scale::SOAK,
            Ok(other) => panic!("SCALE is {other:?}: test or soak"),
        }
    }
}
