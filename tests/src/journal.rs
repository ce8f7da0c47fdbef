//! How far a load has come.

use std::{
    collections::HashSet,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{Load, PATIENCE, wait};

/// A load's journal, read as it grows. It grows by whole lines, but a reader may see half of one.
#[derive(Debug)]
pub struct Journal {
    file: BufReader<File>,
    values: u64,
    /// Devices that got a value acknowledged since somebody began to wait for all.
    heard: Option<HashSet<String>>,
}

impl Journal {
    /// Waits until the load has made it.
    pub fn open(path: &Path) -> Journal {
        let file = wait("the load's journal", || File::open(path).ok());
        Journal { file: BufReader::new(file), values: 0, heard: None }
    }

    /// Values that were acknowledged up to now.
    pub fn values(&mut self) -> u64 {
        let mut line = String::new();
        while self.file.read_line(&mut line).unwrap() > 0 {
            if !line.ends_with('\n') {
                self.file.seek_relative(-(line.len() as i64)).unwrap();
                break;
            }
            if line.contains(r#""kind":"value""#) {
                self.values += 1;
                let endpoint = line.split(r#""endpoint":""#).nth(1).and_then(|rest| rest.split('"').next());
                if let (Some(heard), Some(endpoint)) = (&mut self.heard, endpoint) {
                    heard.insert(endpoint.to_owned());
                }
            }
            line.clear();
        }
        self.values
    }

    /// Waits until so many values were acknowledged; fails where the load ends before.
    #[track_caller]
    pub fn reach(&mut self, values: u64, load: &mut Load) {
        while self.values() < values {
            assert!(load.runs(), "the load ended after {} of {values} values", self.values());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until each of so many devices got another value acknowledged: none is left that nobody answers.
    #[track_caller]
    pub fn reach_all(&mut self, devices: u32, load: &mut Load) {
        self.values();
        self.heard = Some(HashSet::new());
        let deadline = Instant::now() + PATIENCE * 3;
        loop {
            self.values();
            let heard = self.heard.as_ref().map_or(0, HashSet::len);
            if heard >= devices as usize {
                break;
            }
            assert!(load.runs(), "the load ended");
            assert!(Instant::now() < deadline, "of {devices} devices {heard} are answered");
            thread::sleep(Duration::from_millis(20));
        }
        self.heard = None;
    }
}
