//! Reports of a soak, `docs/soak/<name>.md`.

use std::{fs, process::Command, thread};

use crate::{Scale, binary::root};

/// Prints what a check found, as Markdown, and at the scale of a soak writes it to `docs/soak/<name>.md` under a title,
/// the date, the machine and the command that makes it again.
pub fn report(name: &str, title: &str, command: &str, body: &str) {
    let text = format!(
        "# {title}\n\nMade by `{command}` on {date}, commit {commit}, {machine}.\n\n{body}\n",
        date = output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        commit = output("git", &["rev-parse", "--short=12", "HEAD"]),
        machine = machine(),
        body = body.trim_end(),
    );
    eprintln!("{text}");
    if Scale::from_environment() == Scale::SOAK {
        let folder = root().join("docs/soak");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name).with_extension("md"), text).unwrap();
    }
}

/// Processor, cores, memory and kernel, with how busy the machine is otherwise.
fn machine() -> String {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".into());
    let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    let kib: u64 = memory.trim_end_matches(" kB").parse().unwrap_or(0);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{cores} cores ({processor}), {} GiB, Linux {}; load average of the last minute {}",
        (kib + (1 << 19)) >> 20,
        output("uname", &["-r"]),
        load.split(' ').next().unwrap_or("unknown"),
    )
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))?;
    Some(value.trim().into())
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".into())
}
