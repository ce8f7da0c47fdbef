//! What the runs ask of a peer.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicU16, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use godwit_tests::Identity;

use crate::{table::Case, world::World};

/// For an answer on loopback; some repeat their first flight after a second or two.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) type Result<T> = std::result::Result<T, String>;

/// A running client.
pub(crate) trait Peer {
    /// Connects anew, and offers to resume what it had.
    fn connect(&mut self) -> Result<()>;
    /// Sends a request and waits for its answer.
    fn exchange(&mut self) -> Result<()>;
}

/// What a client is started with.
pub(crate) struct Start<'a> {
    pub(crate) world: &'a World,
    pub(crate) case: &'a Case,
    /// Where it is to send to.
    pub(crate) server: SocketAddr,
    /// Of the client, where the mode needs one.
    pub(crate) identity: Option<&'a Identity>,
    /// A folder of its own.
    pub(crate) folder: PathBuf,
}

impl Start<'_> {
    /// Where a client may log its keys.
    pub(crate) fn key_log(&self) -> PathBuf {
        self.folder.join("keys")
    }

    /// Writes a file for the client; its path.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.folder.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().into()
    }
}

/// A confirmable GET of /.well-known/core, with a message id of its own.
pub(crate) fn request() -> Vec<u8> {
    static COUNT: AtomicU16 = AtomicU16::new(1);
    let mut request = vec![0x44, 1, 0, 0, 1, 2, 3, 4, 0xbb];
    request[2..4].copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    request.extend(b".well-known\x04core");
    request
}

/// Is this the answer to that request?
pub(crate) fn check_answer(request: &[u8], answer: &[u8]) -> Result<()> {
    let is = answer.len() > 8 && answer[..2] == [0x64, 0x45] && answer[2..8] == request[2..8];
    if is { Ok(()) } else { Err(format!("answered {answer:02x?}")) }
}

/// A child process whose output is read as it comes. It ends with this.
pub(crate) struct Process {
    pub(crate) child: Child,
    output: mpsc::Receiver<Vec<u8>>,
    seen: Vec<u8>,
}

impl Process {
    /// Starts it, standard output and error together.
    pub(crate) fn start(command: &mut Command) -> Result<Process> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{command:?}: {error}"))?;
        let (sender, output) = mpsc::channel();
        forward(child.stdout.take().unwrap(), sender.clone());
        forward(child.stderr.take().unwrap(), sender);
        Ok(Process { child, output, seen: Vec::new() })
    }

    /// Sends bytes to its input.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(bytes).and_then(|()| input.flush()).map_err(|error| error.to_string())
    }

    /// Waits for something in what it printed since the last find, and forgets the rest up to there.
    pub(crate) fn find<T>(&mut self, what: &str, matches: impl Fn(&[u8]) -> Option<(usize, T)>) -> Result<T> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some((end, found)) = matches(&self.seen) {
                self.seen.drain(..end);
                return Ok(found);
            }
            match self.output.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.seen.extend(bytes),
                Err(_) => return Err(format!("no {what}: {}", String::from_utf8_lossy(&self.seen))),
            }
        }
    }

    /// Waits for the next line.
    pub(crate) fn line(&mut self) -> Result<String> {
        self.find("line", |seen| {
            let end = seen.iter().position(|byte| *byte == b'\n')?;
            Some((end + 1, String::from_utf8_lossy(&seen[..end]).trim_end().to_owned()))
        })
    }

    /// Closes its input and gives it a moment to say goodbye.
    pub(crate) fn end(mut self) {
        drop(self.child.stdin.take());
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            // Ends when the last of its outputs is closed.
            let _ = self.output.recv_timeout(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(stream: impl Read + Send + 'static, sender: mpsc::Sender<Vec<u8>>) {
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        while let Ok(bytes) = stream.fill_buf() {
            let length = bytes.len();
            if length == 0 || sender.send(bytes.to_vec()).is_err() {
                break;
            }
            stream.consume(length);
        }
    });
}
