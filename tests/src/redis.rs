//! Real Redis servers on free ports of loopback, ended when they are dropped, also by a panic.
//!
//! The node's unit tests include this file too, so it uses the standard library alone.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

/// Whether redis-server can be started. On a user's machine without it the tests that need it are skipped; with CI=true
/// that is a failure.
pub fn available() -> bool {
    let found = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "redis-server is needed where CI=true");
        eprintln!("skipped: redis-server is not here; `make install-test-deps` installs it");
    }
    found
}

/// A server, in a folder of its own.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    folder: PathBuf,
    args: Vec<String>,
    child: Child,
}

impl Redis {
    /// A server that keeps an append-only file, synced at each write, and no snapshots.
    pub fn start() -> Redis {
        Redis::with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// A server with these arguments.
    pub fn with(args: &[&str]) -> Redis {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("godwit-redis-{}-{count}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder can be made");
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        // Somebody else may take the port between the look and the start.
        for _ in 0..20 {
            let port = free_port();
            let mut child = spawn(port, &folder, &args);
            if is_up(port, &mut child) {
                return Redis { port, folder, args, child };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("redis-server does not start with {args:?}: {}", log(&folder));
    }

    /// A Sentinel that watches this master as `mymaster` and gives it up soon, where so many of its kind agree.
    pub fn sentinel(master: u16, quorum: u8) -> Redis {
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("godwit-sentinel-{}-{port}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder can be made");
        let file = folder.join("sentinel.conf");
        let lines = [
            format!("sentinel monitor mymaster 127.0.0.1 {master} {quorum}"),
            "sentinel down-after-milliseconds mymaster 500".to_owned(),
            "sentinel failover-timeout mymaster 2000".to_owned(),
        ];
        fs::write(&file, lines.join("\n")).expect("a file can be written");
        let mut command = Command::new("redis-server");
        command.arg(&file).args(["--sentinel", "--bind", "127.0.0.1", "--port", &port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("redis-server starts");
        assert!(is_up(port, &mut child), "the sentinel starts");
        Redis { port, folder, args: Vec::new(), child }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`, as settings have it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Runs a command and answers what it prints, line by line, as redis-cli would.
    ///
    /// # Panics
    /// When the server does not answer, or with an error.
    pub fn command(&self, args: &[&str]) -> String {
        command(self.port, args).unwrap_or_else(|error| panic!("{args:?}: {error}"))
    }

    /// Ends the process at once, as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().expect("the server runs");
        self.child.wait().expect("the server ends");
    }

    /// Starts it again on the same port with what it kept.
    pub fn restart(&mut self) {
        self.child = spawn(self.port, &self.folder, &self.args);
        assert!(is_up(self.port, &mut self.child), "redis-server starts again: {}", log(&self.folder));
    }

    /// Forgets all that it kept on disk. It must not run.
    pub fn forget(&self) {
        fs::remove_dir_all(&self.folder).expect("the folder can be removed");
        fs::create_dir_all(&self.folder).expect("a folder can be made");
    }

    /// Copies what it keeps on disk, while it runs: what a backup would hold.
    pub fn copy(&self) -> Backup {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mut folder = self.folder.clone().into_os_string();
        folder.push(format!("-copy-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        let copy = Backup(folder.into());
        copy_folder(&self.folder, &copy.0).expect("the folder can be copied");
        copy
    }

    /// Puts a copy in the place of what it keeps on disk. It must not run.
    pub fn restore(&self, copy: &Backup) {
        self.forget();
        copy_folder(&copy.0, &self.folder).expect("the copy can be copied");
    }

    /// Has it stand still, with its connections open, until [`Redis::resume`].
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs");
        assert!(sent.success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What a server kept on disk at some time; removed when it is dropped.
#[derive(Debug)]
pub struct Backup(PathBuf);

impl Drop for Backup {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A Redis Cluster of masters without replicas.
#[derive(Debug)]
pub struct RedisCluster {
    /// The masters.
    pub nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Three masters, each with a third of the slots.
    pub fn start() -> RedisCluster {
        let args = ["--cluster-enabled", "yes", "--save", "", "--cluster-node-timeout", "15000"];
        let nodes: Vec<Redis> = (0..3).map(|_| Redis::with(&args)).collect();
        let first = nodes[0].port.to_string();
        for (number, (node, range)) in (1..).zip(nodes.iter().zip(SLOTS)) {
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &number.to_string()]);
            node.command(&["CLUSTER", "ADDSLOTSRANGE", &range.0.to_string(), &range.1.to_string()]);
            if number > 1 {
                node.command(&["CLUSTER", "MEET", "127.0.0.1", &first]);
            }
        }
        let cluster = RedisCluster { nodes };
        cluster.wait();
        cluster
    }

    /// `host:port` of each master.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(Redis::address).collect()
    }

    /// Waits until every node knows every other and all slots are served.
    pub fn wait(&self) {
        let ready = |node: &Redis| {
            let info = node.command(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok")
                && info.contains(&format!("cluster_known_nodes:{}", self.nodes.len()))
        };
        for _ in 0..600 {
            if self.nodes.iter().all(ready) {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("the cluster does not come together");
    }
}

const SLOTS: [(u16, u16); 3] = [(0, 5_460), (5_461, 10_922), (10_923, 16_383)];

/// A port below those that the kernel gives to clients, so that none takes it meanwhile; with the one 10,000 above it, where
/// a cluster's nodes talk.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 12_000 + ((std::process::id().wrapping_mul(97) + step) % 8_000) as u16;
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

fn spawn(port: u16, folder: &Path, args: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--dir"]).arg(folder);
    command.args(["--logfile", "log"]).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server starts")
}

fn is_up(port: u16, child: &mut Child) -> bool {
    for _ in 0..2_000 {
        if child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return false;
        }
        // One that asks for a password or for TLS is up as well.
        match command(port, &["PING"]) {
            Ok(_) => return true,
            Err(error) if error.starts_with("NOAUTH") => return true,
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
    false
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}

/// Runs a command on a connection of its own.
fn command(port: u16, args: &[&str]) -> Result<String, String> {
    let run = || -> std::io::Result<Result<String, String>> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "*{}\r\n", args.len())?;
        for arg in args {
            write!(stream, "${}\r\n{arg}\r\n", arg.len())?;
        }
        let mut text = String::new();
        let ok = read(&mut BufReader::new(stream), &mut text)?;
        Ok(if ok { Ok(text) } else { Err(text) })
    };
    run().unwrap_or_else(|error| Err(error.to_string()))
}

/// Appends an answer; false for an error.
fn read(from: &mut BufReader<TcpStream>, text: &mut String) -> std::io::Result<bool> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let (kind, rest) = line.trim_end().split_at_checked(1).unwrap_or(("-", "no answer"));
    let length = rest.parse::<i64>().ok().and_then(|length| usize::try_from(length).ok());
    match (kind, length) {
        ("$", Some(length)) => {
            let mut bytes = vec![0; length + 2];
            from.read_exact(&mut bytes)?;
            text.push_str(&String::from_utf8_lossy(&bytes[..length]));
            text.push('\n');
        }
        ("*", Some(count)) => {
            for _ in 0..count {
                read(from, text)?;
            }
        }
        ("$" | "*", None) => text.push('\n'),
        _ => {
            text.push_str(rest);
            text.push('\n');
        }
    }
    Ok(kind != "-")
}
