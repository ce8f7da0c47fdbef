//! CPU time and memory of a process, from /proc.

use std::fs;
use std::time::Duration;

use serde::Serialize;

/// What a process has used so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Usage {
    /// User and system time of all its threads, also of those that have ended; 10 ms is the grain.
    pub(crate) cpu: Duration,
    /// Resident set in bytes.
    pub(crate) resident: u64,
}

/// Reads a process's usage; `None` when it is gone or not ours to see.
pub(crate) fn usage(pid: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(Usage { cpu: cpu(&stat)?, resident: resident(&status)? })
}

/// Fields 14 and 15 of proc(5) stat, in ticks of 1/100 s; the command before them may hold blanks.
fn cpu(stat: &str) -> Option<Duration> {
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_blanks_and_brackets_does_not_shift_the_fields() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194560 1 2 3 4 150 25 7 8 20 0 1 0 100";
        assert_eq!(cpu(stat), Some(Duration::from_millis(1750)));
        assert_eq!(resident("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
    }

    #[test]
    fn this_process_can_be_read_and_a_missing_one_is_none() {
        assert!(usage(std::process::id()).unwrap().resident > 0);
        assert_eq!(usage(u32::MAX), None);
    }
}
