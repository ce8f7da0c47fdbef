//! CPU time and memory of a process.

use std::fs;
use std::time::Duration;

use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;
use serde::Serialize;

/// What a process has used so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Usage {
    /// User and system time of all its threads, also of those that have ended; exact, where /proc counts ticks of 10 ms.
    pub(crate) cpu: Duration,
    /// Resident set in bytes.
    pub(crate) resident: u64,
}

/// Reads a process's usage; `None` when it is gone or not ours to see.
pub(crate) fn usage(pid: u32) -> Option<Usage> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(pid).ok()?)).ok()?;
    Some(Usage { cpu: clock.now().ok()?.into(), resident: resident(&status)? })
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resident_set_is_found_among_the_other_lines() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
    }

    #[test]
    fn this_process_can_be_read_and_a_missing_one_is_none() {
        let own = usage(std::process::id()).unwrap();
        assert!(own.resident > 0 && !own.cpu.is_zero());
        assert!(usage(std::process::id()).unwrap().cpu > own.cpu, "each look costs");
        assert_eq!(usage(u32::MAX), None);
    }
}
