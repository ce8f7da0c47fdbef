//! How far a load has come.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    thread,
    time::Duration,
};

use crate::{Load, wait};

/// A load's journal, read as it grows. It grows by whole lines, but a reader may see half of one.
#[derive(Debug)]
pub struct Journal {
    file: BufReader<File>,
    values: u64,
}

impl Journal {
    /// Waits until the load has made it.
    pub fn open(path: &Path) -> Journal {
        let file = wait("the load's journal", || File::open(path).ok());
        Journal { file: BufReader::new(file), values: 0 }
    }

    /// Values that were acknowledged up to now.
    pub fn values(&mut self) -> u64 {
        let mut line = String::new();
        while self.file.read_line(&mut line).unwrap() > 0 {
            if !line.ends_with('\n') {
                self.file.seek_relative(-(line.len() as i64)).unwrap();
                break;
            }
            self.values += u64::from(line.contains(r#""kind":"value""#));
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
}
