//! What a cluster costs: `tools/bench-cluster` runs it.
//!
//! ```text
//! steady      each device notifies once a second: Redis's commands and fields per uplink; CPU beside one node on Redis
//! memory      Redis's bytes per device, by the kind of the key
//! take-over   the node that has all devices is killed while they notify: sessions claimed per second
//! ```
#![allow(clippy::print_stderr, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader, Write as _},
    net::TcpStream,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use godwit_tests::{Cluster, Fleet, Journal, Load, Redis, Setup, report};

fn main() {
    let number = |name: &str, default: u32| {
        env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: a number")))
    };
    let bench = Bench {
        devices: number("DEVICES", 1000),
        seconds: number("SECONDS_EACH", 60),
        moved: number("MOVED", 5000),
        moved_rate: number("MOVED_RATE", 2500),
        folder: env::temp_dir().join(format!("godwit-bench-cluster-{}", std::process::id())),
    };
    fs::create_dir_all(&bench.folder).unwrap();
    let three = bench.steady(3);
    let one = bench.steady(1);
    let taken = bench.take_over();
    let Bench { devices, seconds, moved, moved_rate, .. } = bench;
    report(
        "cluster-cost",
        "What a cluster costs",
        "tools/bench-cluster",
        &format!(
            "Three nodes on one Redis (`hash-max-listpack-value 1024`, append-only file synced each second), PSK devices with \
             Connection IDs and two observations each (profile `demo`), through a load balancer; nodes, Redis, balancer and \
             devices share the machine.\n\n\
             ## Redis in steady state\n\n\
             {devices} devices notify once a second each for {seconds} s: {uplinks} uplinks. The heartbeats of three nodes are in \
             it, and what each minute writes of every session. Commands of nodes are for devices, or in the background: the look for \
             what is due, heartbeats, news, as many a second whatever the number of devices ({background:.0} in all); counts of all devices, \
             192 commands of each node every five minutes, may not fall into it. Scripts run further ones inside of Redis; `INFO \
             commandstats` has all three columns together.\n\n\
             | commands per uplink | for devices | in the background | by scripts |\n|---|---|---|---|\n{commands}\n\
             Fields written per device and hour, by their first letter: {fields}.\n\n\
             ## CPU per uplink\n\n\
             | | µs of CPU per uplink |\n|---|---|\n\
             | three nodes, together | {cpu_3:.1} |\n| one node on Redis | {cpu_1:.1} |\n\
             | Redis, beside three nodes | {redis_3:.1} |\n\n\
             ## Take-overs\n\n\
             {moved} devices on one node notify at {moved_rate}/s in all when it is killed, and the balancer leads them to the other two. \
             {taken}\n\n\
             ## Memory of Redis\n\n\
             `used_memory` grew by {used:.0} bytes per device, its data set (`used_memory_dataset`) by {dataset:.0}; by the kind of the key \
             (`MEMORY USAGE`, which counts a key's name and value but not its place in Redis's table):\n\n\
             | key | per device | bytes each | bytes per device |\n|---|---|---|---|\n{kinds}",
            uplinks = three.uplinks,
            background = three.background,
            commands = three.commands,
            fields = three.fields,
            cpu_3 = three.cpu,
            cpu_1 = one.cpu,
            redis_3 = three.redis_cpu,
            used = three.used,
            dataset = three.dataset,
            kinds = three.kinds,
        ),
    );
    fs::remove_dir_all(&bench.folder).unwrap();
}

struct Bench {
    /// Of the steady state.
    devices: u32,
    seconds: u32,
    /// Devices whose node dies, and their notifications per second.
    moved: u32,
    moved_rate: u32,
    folder: PathBuf,
}

/// What a steady state costs.
struct Steady {
    uplinks: u64,
    /// µs per uplink.
    cpu: f64,
    redis_cpu: f64,
    commands: String,
    /// Commands a second that are for no device.
    background: f64,
    fields: String,
    /// Bytes per device.
    used: f64,
    dataset: f64,
    kinds: String,
}

/// Nodes on a Redis that is set as docs/redis.md asks for.
fn cluster(nodes: usize) -> Cluster {
    let redis = Redis::with(&[
        "--hash-max-listpack-value",
        "1024",
        "--appendonly",
        "yes",
        "--appendfsync",
        "everysec",
    ]);
    let setup = Setup::default().set("limits.handshakes_per_prefix=1000").redis(&redis);
    Cluster::on(redis, Vec::new(), vec![setup; nodes])
}

impl Bench {
    /// Registers a fleet, which notifies without end from then on.
    fn fleet(&self, cluster: &Cluster, devices: u32, rate: u32) -> (Load, Journal) {
        let fleet = Fleet::new("psk", devices, &self.folder);
        let _ = fs::remove_file(fleet.file("journal"));
        fleet.mint();
        fleet.declare(&cluster.nodes[0]);
        let more = [
            "--register-rate=200/s".to_owned(),
            format!("--notify-rate={rate}/s"),
            "--duration=3600s".into(),
        ];
        let mut load = Load::start(&fleet.arguments_at(cluster.secure.address(), true, &more));
        let mut journal = Journal::open(fleet.file("journal").as_ref());
        // Each has notified some times.
        journal.reach(u64::from(devices) * 3, &mut load);
        (load, journal)
    }

    fn steady(&self, nodes: usize) -> Steady {
        let cluster = cluster(nodes);
        let before = Memory::of(&cluster.redis);
        let (load, mut journal) = self.fleet(&cluster, self.devices, self.devices);
        let count = f64::from(self.devices);
        let cpu = || cluster.metric_sum("godwit_process_cpu_seconds_total", "");
        // What registrations left to do is done before, and a session's marks are a minute apart.
        thread::sleep(Duration::from_secs(10));
        let (values, busy, redis_busy) = (journal.values(), cpu(), cpu_of(&cluster.redis));
        let watched = watch(&cluster.redis, Duration::from_secs(self.seconds.into()));
        let uplinks = journal.values() - values;
        let each = |seconds: f64| seconds * 1e6 / uplinks as f64;
        let after = Memory::of(&cluster.redis);
        let steady = Steady {
            uplinks,
            cpu: each(cpu() - busy),
            redis_cpu: each(cpu_of(&cluster.redis) - redis_busy),
            background: watched.background() / f64::from(self.seconds),
            commands: watched.commands(uplinks),
            fields: watched.fields(count * f64::from(self.seconds) / 3600.0),
            used: (after.used - before.used) / count,
            dataset: (after.dataset - before.dataset) / count,
            kinds: kinds(&cluster.redis, count),
        };
        load.interrupt();
        steady
    }

    /// Kills the node that has all devices: what came of it, as a sentence.
    fn take_over(&self) -> String {
        let mut cluster = cluster(3);
        for node in [1, 2] {
            cluster.secure.health(node, false);
        }
        let (load, mut journal) = self.fleet(&cluster, self.moved, self.moved_rate);
        for node in [1, 2] {
            cluster.secure.health(node, true);
        }
        let claims = |cluster: &Cluster| {
            cluster.nodes[1..].iter().map(|node| node.metric_sum("godwit_dtls_claims_total", "")).sum::<f64>()
        };
        let cpu = |cluster: &Cluster| {
            cluster.nodes[1..].iter().map(|node| node.metric("godwit_process_cpu_seconds_total")).sum::<f64>()
        };
        let (before, values) = (claims(&cluster), journal.values());
        let (busy, redis_busy) = (cpu(&cluster), cpu_of(&cluster.redis));
        cluster.kill(0);
        let began = Instant::now();
        let mut seen = vec![(0.0, 0.0)];
        let due = f64::from(self.moved);
        while seen.last().is_some_and(|(_, claimed)| *claimed < due)
            && began.elapsed() < Duration::from_secs(60)
        {
            thread::sleep(Duration::from_millis(200));
            seen.push((began.elapsed().as_secs_f64(), claims(&cluster) - before));
        }
        let (spent, redis_spent) = (cpu(&cluster) - busy, cpu_of(&cluster.redis) - redis_busy);
        let took = seen.last().unwrap().0;
        let claimed = seen.last().unwrap().1;
        let best = seen.iter().flat_map(|from| seen.iter().map(move |to| (to.0 - from.0, to.1 - from.1)));
        let best =
            best.filter(|(span, _)| *span >= 0.8).map(|(span, claimed)| claimed / span).fold(0.0, f64::max);
        let uplinks = journal.values() - values;
        load.interrupt();
        format!(
            "{claimed} sessions were claimed within {took:.1} s, at most {best:.0} in a second, while {uplinks} values were \
             acknowledged. Redis spent {redis:.0} µs of CPU per take-over, the nodes {nodes:.0} µs, what they did for these values \
             included.",
            redis = redis_spent * 1e6 / claimed,
            nodes = spent * 1e6 / claimed,
        )
    }
}

/// Seconds of CPU that a Redis has used.
fn cpu_of(redis: &Redis) -> f64 {
    let info = redis.command(&["INFO", "cpu"]);
    ["used_cpu_sys:", "used_cpu_user:"].iter().map(|name| field(&info, name)).sum()
}

fn field(info: &str, name: &str) -> f64 {
    info.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap()
}

/// Bytes.
struct Memory {
    used: f64,
    dataset: f64,
}

impl Memory {
    fn of(redis: &Redis) -> Memory {
        let info = redis.command(&["INFO", "memory"]);
        Memory { used: field(&info, "used_memory:"), dataset: field(&info, "used_memory_dataset:") }
    }
}

/// Sums what keys take by their kind, inside of Redis, for their names are no texts.
const KINDS: &str = "
local kinds = {}
for _, key in ipairs(redis.call('KEYS', 'gw:*')) do
  local kind = key:sub(4, 4) == '{' and 'gw:{<device>}' or key:match('^gw:%a+:?')
  local of = kinds[kind] or {0, 0}
  kinds[kind] = {of[1] + 1, of[2] + redis.call('MEMORY', 'USAGE', key, 'SAMPLES', 0)}
end
local out = {}
for kind, of in pairs(kinds) do out[#out + 1] = kind .. ' ' .. of[1] .. ' ' .. of[2] end
return out";

/// What all keys take, by their kind, as rows.
fn kinds(redis: &Redis, devices: f64) -> String {
    let mut kinds = BTreeMap::new();
    for line in redis.command(&["EVAL", KINDS, "0"]).lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<f64>().unwrap();
        kinds.insert(words[0].to_owned(), (number(1), number(2)));
    }
    let row = |(kind, (count, sum)): (&String, &(f64, f64))| {
        format!("| `{kind}` | {:.2} | {:.0} | {:.0} |\n", count / devices, sum / count, sum / devices)
    };
    let total: f64 = kinds.values().map(|(_, sum)| sum).sum();
    kinds.iter().map(row).collect::<String>() + &format!("| all | | | {:.0} |\n", total / devices)
}

/// Commands by name: of nodes for devices, of nodes for nobody, of scripts; and fields written.
#[derive(Default)]
struct Watched {
    commands: BTreeMap<String, [u64; 3]>,
    fields: BTreeMap<String, u64>,
}

/// Looks at every command for a time (`MONITOR`).
fn watch(redis: &Redis, span: Duration) -> Watched {
    let mut stream = TcpStream::connect(redis.address()).unwrap();
    stream.write_all(b"MONITOR\r\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let (mut lines, mut line, mut watched) = (BufReader::new(stream), Vec::new(), Watched::default());
    let began = Instant::now();
    while began.elapsed() < span {
        // A line that is cut by the timeout goes on with the next read.
        if lines.read_until(b'\n', &mut line).is_ok() {
            watched.add(&String::from_utf8_lossy(&line));
            line.clear();
        }
    }
    watched
}

impl Watched {
    /// A line of MONITOR: `+<time> [<database> <client, or lua>] "<command>" "<argument>" …`; arguments are escaped.
    fn add(&mut self, line: &str) {
        let Some((head, rest)) = line.split_once("] ") else { return };
        let mut words = Vec::new();
        let (mut word, mut inside, mut escaped) = (String::new(), false, false);
        for character in rest.chars() {
            match character {
                _ if escaped => {
                    word.push(character);
                    escaped = false;
                }
                '\\' => escaped = true,
                '"' if inside => {
                    words.push(std::mem::take(&mut word));
                    inside = false;
                }
                '"' => inside = true,
                _ if inside => word.push(character),
                _ => {}
            }
        }
        let Some(command) = words.first().map(|word| word.to_uppercase()) else { return };
        let script = head.ends_with(" lua");
        if command == "HSET" {
            for name in words.iter().skip(2).step_by(2) {
                let letter = name.chars().take(1).collect();
                if words[1].starts_with("gw:{") {
                    *self.fields.entry(letter).or_default() += 1;
                }
            }
        }
        let key = words.get(if command.starts_with("EVAL") { 3 } else { 1 }).map_or("", String::as_str);
        let of_device =
            ["gw:{", "gw:cid:", "gw:session:", "gw:rd:", "gw:psk:"].iter().any(|it| key.starts_with(it));
        let column = match (script, of_device) {
            (true, _) => 2,
            (false, true) => 0,
            (false, false) => 1,
        };
        self.commands.entry(command).or_default()[column] += 1;
    }

    fn background(&self) -> f64 {
        self.commands.values().map(|[_, background, _]| *background as f64).sum()
    }

    /// As rows, per uplink.
    fn commands(&self, uplinks: u64) -> String {
        let row = |name: &str, counts: &[u64; 3]| {
            let each = counts.map(|count| format!("{:.4}", count as f64 / uplinks as f64)).join(" | ");
            format!("| {name} | {each} |\n")
        };
        let mut all = [0; 3];
        for counts in self.commands.values() {
            all.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        self.commands.iter().map(|(name, counts)| row(name, counts)).collect::<String>() + &row("all", &all)
    }

    fn fields(&self, device_hours: f64) -> String {
        let each =
            self.fields.iter().map(|(name, count)| format!("`{name}` {:.1}", *count as f64 / device_hours));
        each.collect::<Vec<_>>().join(", ")
    }
}
