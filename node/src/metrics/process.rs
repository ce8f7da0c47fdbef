//! What the kernel and the allocator say about this process, read anew at each scrape. Counters of the `metrics` crate are whole numbers
//! and seconds of CPU are not, so these are written straight into the exposition.

use std::fmt::Write;
use std::fs;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use super::definition::{Definition, Kind};
use super::names::{PROCESS_CPU_SECONDS, PROCESS_HEAP_BYTES, PROCESS_OPEN_FDS, PROCESS_RESIDENT_BYTES};
use crate::heap;

/// Appends the process's metrics; those that the kernel doesn't tell are left out.
pub(super) fn render(out: &mut String) {
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        append(out, &PROCESS_CPU_SECONDS, seconds(usage.user_time()) + seconds(usage.system_time()));
    }
    if let Some(bytes) = resident() {
        append(out, &PROCESS_RESIDENT_BYTES, bytes);
    }
    // Programs that only use the library have an allocator of their own.
    let heap = heap::in_use();
    if heap > 0 {
        append(out, &PROCESS_HEAP_BYTES, heap);
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        append(out, &PROCESS_OPEN_FDS, entries.count());
    }
}

fn append(out: &mut String, definition: &Definition, value: impl std::fmt::Display) {
    let Definition { name, kind, help, .. } = definition;
    let kind = if *kind == Kind::Counter { "counter" } else { "gauge" };
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n\n");
}

#[expect(clippy::cast_precision_loss, reason = "seconds and microseconds of CPU stay far below 2^53")]
fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}

/// `VmRSS`, which the kernel gives in KiB.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_has_cpu_memory_and_descriptors() {
        let mut out = String::new();
        render(&mut out);
        for definition in [PROCESS_CPU_SECONDS, PROCESS_RESIDENT_BYTES, PROCESS_OPEN_FDS] {
            let value = out.lines().find_map(|line| line.strip_prefix(&format!("{} ", definition.name)));
            let value: f64 = value.expect("rendered").parse().unwrap();
            assert!(value > 0.0, "{} is {value}", definition.name);
        }
    }
}
