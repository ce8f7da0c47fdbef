//! Holds a server to its word: compares what it acknowledged (the journal) with what it published.
//!
//! A device's values are its counter, so each is unique and greater than the one before. Then:
//! every acknowledged value came out; in the order that `order` gives, a device's values rise; what was published
//! again has its first `ce_id`, and nothing else has it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path as FilePath, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use crate::cli::CheckArgs;
use crate::error::Error;
use crate::journal::Entry;
use crate::output::{Record, Unreadable};
use crate::report::line;

/// What can be wrong, worst first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub(crate) enum Fault {
    /// Acknowledged and never published.
    Missing { endpoint: String, path: String, count: u64 },
    /// Two different records under one `ce_id`.
    Conflict { id: String, first_line: usize, line: usize },
    /// One value under two `ce_id`s: a reader can't tell that it is a duplicate.
    Twice { endpoint: String, path: String, count: u64, first_id: String, id: String },
    /// By `order` later than a greater value.
    Disorder { endpoint: String, path: String, count: u64, after: u64, order: String },
    /// Two records of a device under one `order`.
    SameOrder { endpoint: String, order: String, first_id: String, id: String },
    /// Published again under its `ce_id`, which only `--no-duplicates` minds.
    Duplicate { id: String, first_line: usize, line: usize },
    /// A line that is neither a record nor the beginning of one.
    Unreadable { line: usize, reason: String },
}

impl Fault {
    fn kind(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "acknowledged values missing",
            Self::Conflict { .. } => "ce_ids with different content",
            Self::Twice { .. } => "values under two ce_ids",
            Self::Disorder { .. } => "values out of order",
            Self::SameOrder { .. } => "orders used twice",
            Self::Duplicate { .. } => "duplicates refused",
            Self::Unreadable { .. } => "unreadable lines",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { endpoint, path, count } => {
                write!(f, "missing: {endpoint} {path} {count} was acknowledged and did not come out")
            }
            Self::Conflict { id, first_line, line } => {
                write!(f, "conflict: {id} in line {line} says other than in line {first_line}")
            }
            Self::Twice { endpoint, path, count, first_id, id } => {
                write!(f, "twice: {endpoint} {path} {count} came out as {first_id} and as {id}")
            }
            Self::Disorder { endpoint, path, count, after, order } => {
                write!(f, "disorder: {endpoint} {path} {count} follows {after} (order {order})")
            }
            Self::SameOrder { endpoint, order, first_id, id } => {
                write!(f, "same order: {endpoint} has {first_id} and {id} under {order}")
            }
            Self::Duplicate { id, first_line, line } => {
                write!(f, "duplicate: {id} in line {line} repeats line {first_line}")
            }
            Self::Unreadable { line, reason } => write!(f, "unreadable: line {line}: {reason}"),
        }
    }
}

/// What a comparison found.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Findings {
    /// Values in the journal.
    pub(crate) acknowledged: u64,
    /// Devices in the journal.
    pub(crate) endpoints: usize,
    pub(crate) registrations: u64,
    pub(crate) lines: usize,
    /// Records of telemetry and attributes, without those that repeat one.
    pub(crate) records: u64,
    /// Records that repeat an earlier one under the same `ce_id`.
    pub(crate) duplicates: u64,
    pub(crate) stale: u64,
    /// Beginnings of records, as a killed node leaves them; what they held counts as not published.
    pub(crate) torn: u64,
    /// Values that came out without having been acknowledged: answers to reads and observes, non-confirmable
    /// notifications, and acknowledgements that were lost.
    pub(crate) unacknowledged: u64,
    pub(crate) faults: Vec<Fault>,
}

/// The values of one resource of one device, in one kind of record.
type Stream = (String, String, String);

#[derive(Default)]
struct Value {
    order: String,
    count: u64,
    id: String,
}

/// Takes records first, then journal entries, then tells.
#[derive(Default)]
pub(crate) struct Check {
    no_duplicates: bool,
    findings: Findings,
    /// Content and line of the first record with an id.
    ids: HashMap<String, (u64, usize)>,
    streams: HashMap<Stream, Vec<Value>>,
    orders: HashMap<(String, String), String>,
    /// What came out, by endpoint and path.
    published: HashMap<(String, String), HashSet<u64>>,
    endpoints: HashSet<String>,
}

impl Check {
    pub(crate) fn new(no_duplicates: bool) -> Self {
        Self { no_duplicates, ..Self::default() }
    }

    /// Takes a line of the output.
    pub(crate) fn output(&mut self, text: &str) {
        self.findings.lines += 1;
        let line = self.findings.lines;
        let record = match Record::parse(text) {
            Ok(record) => record,
            Err(Unreadable::Torn) => {
                self.findings.torn += 1;
                return;
            }
            Err(Unreadable::Malformed(reason)) => {
                self.findings.faults.push(Fault::Unreadable { line, reason });
                return;
            }
        };
        if let Some(&(content, first_line)) = self.ids.get(&record.id) {
            let id = record.id;
            if content != record.content {
                self.findings.faults.push(Fault::Conflict { id, first_line, line });
                return;
            }
            // The first occurrence's time and order count.
            self.findings.duplicates += 1;
            if self.no_duplicates {
                self.findings.faults.push(Fault::Duplicate { id, first_line, line });
            }
            return;
        }
        self.ids.insert(record.id.clone(), (record.content, line));
        self.first(record);
    }

    fn first(&mut self, record: Record) {
        let Record { id, kind, endpoint, order, stale, counts, .. } = record;
        let key = (endpoint.clone(), order.clone());
        if let Some(first_id) = self.orders.insert(key, id.clone()) {
            let (endpoint, order, id) = (endpoint.clone(), order.clone(), id.clone());
            self.findings.faults.push(Fault::SameOrder { endpoint, order, first_id, id });
        }
        if !counts.is_empty() {
            self.findings.records += 1;
            self.findings.stale += u64::from(stale);
        }
        for (path, count) in counts {
            self.published.entry((endpoint.clone(), path.clone())).or_default().insert(count);
            let stream = self.streams.entry((kind.clone(), endpoint.clone(), path)).or_default();
            // A stale record says itself that it is out of order.
            if !stale {
                stream.push(Value { order: order.clone(), count, id: id.clone() });
            }
        }
    }

    /// Takes an entry of the journal, after all of the output.
    pub(crate) fn journal(&mut self, entry: Entry) {
        match entry {
            Entry::Value { endpoint, path, count, .. } => {
                self.findings.acknowledged += 1;
                if !self.endpoints.contains(&endpoint) {
                    self.endpoints.insert(endpoint.clone());
                }
                let stream = (endpoint, path);
                let published = self.published.get_mut(&stream);
                if !published.is_some_and(|counts| counts.remove(&count)) {
                    let (endpoint, path) = stream;
                    self.findings.faults.push(Fault::Missing { endpoint, path, count });
                }
            }
            Entry::Registered { .. } => self.findings.registrations += 1,
            Entry::Updated { .. } | Entry::Deregistered { .. } => {}
        }
    }

    /// Looks at the order of what came out. Values of devices that the journal does not know are not counters,
    /// so nothing is asked of them.
    pub(crate) fn finish(mut self) -> Findings {
        let known = |endpoint: &String| self.endpoints.contains(endpoint);
        for ((_, endpoint, path), mut values) in self.streams {
            if !known(&endpoint) {
                continue;
            }
            values.sort_by(|a, b| a.order.cmp(&b.order));
            let mut seen: HashMap<u64, String> = HashMap::with_capacity(values.len());
            let mut greatest = 0;
            for Value { order, count, id } in values {
                let (endpoint, path) = (endpoint.clone(), path.clone());
                if let Some(first_id) = seen.get(&count).cloned() {
                    self.findings.faults.push(Fault::Twice { endpoint, path, count, first_id, id });
                } else if count < greatest {
                    let after = greatest;
                    self.findings.faults.push(Fault::Disorder { endpoint, path, count, after, order });
                } else {
                    greatest = count;
                    seen.insert(count, id);
                }
            }
        }
        let left = self.published.iter().filter(|((endpoint, _), _)| known(endpoint));
        self.findings.unacknowledged = left.map(|(_, counts)| counts.len() as u64).sum();
        self.findings.endpoints = self.endpoints.len();
        self.findings.faults.sort();
        self.findings
    }
}

/// Reads the files, compares, prints. The exit code is 1 when there is a fault.
pub(crate) fn check(args: &CheckArgs) -> Result<ExitCode, Error> {
    let mut check = Check::new(args.no_duplicates);
    for path in &files(&args.output)? {
        each_line("--output", path, |_, text| {
            check.output(text);
            Ok(())
        })?;
    }
    for path in &args.journal {
        each_line("--journal", path, |number, text| {
            let entry = serde_json::from_str(text).map_err(|error| Error::Line {
                flag: "--journal",
                path: path.clone(),
                line: number,
                reason: format!("{error}; is this a file that 'run --journal' wrote?"),
            })?;
            check.journal(entry);
            Ok(())
        })?;
    }
    let findings = check.finish();
    line(&describe(&findings, args.list)).map_err(Error::Print)?;
    if let Some(path) = &args.json {
        write(&findings, path).map_err(|error| Error::File { flag: "--json", path: path.clone(), error })?;
    }
    Ok(ExitCode::from(u8::from(!findings.faults.is_empty())))
}

/// The files of folders in the order of their names, in which the node numbers them.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let fault = |error| Error::File { flag: "--output", path: path.clone(), error };
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path).map_err(fault)? {
            inside.push(entry.map_err(fault)?.path());
        }
        inside.retain(|file| file.extension().is_some_and(|extension| extension == "ndjson"));
        inside.sort();
        if inside.is_empty() {
            return Err(fault(std::io::Error::other("holds no .ndjson file")));
        }
        files.append(&mut inside);
    }
    Ok(files)
}

fn each_line(
    flag: &'static str,
    path: &PathBuf,
    mut take: impl FnMut(usize, &str) -> Result<(), Error>,
) -> Result<(), Error> {
    let fault = |error| Error::File { flag, path: path.clone(), error };
    let mut file = BufReader::with_capacity(1 << 20, File::open(path).map_err(fault)?);
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        if file.read_until(b'\n', &mut bytes).map_err(fault)? == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&bytes);
        take(number, text.trim_end())?;
    }
    Ok(())
}

fn write(findings: &Findings, path: &FilePath) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    serde_json::to_writer_pretty(&mut file, findings)?;
    file.flush()
}

fn describe(findings: &Findings, list: usize) -> String {
    let Findings {
        acknowledged,
        endpoints,
        records,
        duplicates,
        stale,
        torn,
        unacknowledged,
        lines,
        faults,
        ..
    } = findings;
    let mut text = format!(
        "journal   {acknowledged:>12} values acknowledged, of {endpoints} devices\n\
         output    {lines:>12} lines\n          {records:>12} records with values\n          \
         {duplicates:>12} repeated under their ce_id\n          {stale:>12} marked stale\n          {torn:>12} torn lines\n          \
         {unacknowledged:>12} values beyond the journal (reads, observes, lost acknowledgements)\n"
    );
    let mut kinds: BTreeMap<&str, Vec<&Fault>> = BTreeMap::new();
    for fault in faults {
        kinds.entry(fault.kind()).or_default().push(fault);
    }
    for (kind, faults) in &kinds {
        text.push_str(&format!("FAULT     {:>12} {kind}\n", faults.len()));
    }
    for faults in kinds.values() {
        for fault in faults.iter().take(list) {
            text.push_str(&format!("  {fault}\n"));
        }
    }
    let missing = faults.iter().filter(|fault| matches!(fault, Fault::Missing { .. })).count() as u64;
    text.push_str(&match faults.is_empty() {
        true => format!("ok: all {acknowledged} acknowledged values came out, in order"),
        false => format!("FAILED: {} faults, {missing} of {acknowledged} values missing", faults.len()),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of endpoint `e`, as the file sink writes it.
    fn record(id: &str, order: u64, count: u64) -> String {
        serde_json::json!({
            "id": id, "source": "/godwit/main/devices/d1", "type": "dev.godwit.telemetry.v1", "endpoint": "e",
            "order": format!("{order:020x}"), "time": "2026-01-01T00:00:00.000Z", "path": "/3303/0/5700",
            "data": {"ts": order, "values": {"t": count as f64}, "paths": {"t": ["/3303/0/5700"]}},
        })
        .to_string()
    }

    fn compare(no_duplicates: bool, output: &[String], acknowledged: &[u64]) -> Findings {
        let mut check = Check::new(no_duplicates);
        output.iter().for_each(|line| check.output(line));
        for &count in acknowledged {
            let (endpoint, path) = ("e".into(), "/3303/0/5700".into());
            check.journal(Entry::Value { t: 0, endpoint, path, count });
        }
        check.finish()
    }

    #[test]
    fn what_came_out_in_order_and_once_is_sound_wherever_its_lines_stand() {
        let output = [record("b", 2, 2), record("a", 1, 1), record("c", 3, 3)];
        let findings = compare(true, &output, &[1, 2]);
        assert_eq!(findings.faults, []);
        assert_eq!((findings.acknowledged, findings.records, findings.unacknowledged), (2, 3, 1));
    }

    #[test]
    fn a_missing_value_is_found() {
        let findings = compare(false, &[record("a", 1, 1), record("c", 3, 3)], &[1, 2, 3]);
        let missing = Fault::Missing { endpoint: "e".into(), path: "/3303/0/5700".into(), count: 2 };
        assert_eq!(findings.faults, [missing]);
    }

    #[test]
    fn a_value_out_of_order_is_found_unless_it_says_so() {
        let output = [record("a", 1, 1), record("c", 2, 3), record("b", 3, 2)];
        let findings = compare(false, &output, &[1, 2, 3]);
        assert!(matches!(findings.faults[..], [Fault::Disorder { count: 2, after: 3, .. }]));
        let stale = output[2].replace("\"id\"", "\"stale\":true,\"id\"");
        let findings = compare(false, &[output[0].clone(), output[1].clone(), stale], &[1, 2, 3]);
        assert_eq!((findings.faults, findings.stale), (vec![], 1));
    }

    #[test]
    fn a_value_under_two_ids_is_found() {
        let findings = compare(false, &[record("a", 1, 1), record("b", 2, 1)], &[1]);
        assert!(
            matches!(&findings.faults[..], [Fault::Twice { count: 1, first_id, id, .. }] if first_id == "a" && id == "b")
        );
    }

    #[test]
    fn a_duplicate_is_a_fault_only_where_none_is_allowed() {
        let output = [record("a", 1, 1), record("b", 2, 2), record("a", 3, 1)];
        let findings = compare(false, &output, &[1, 2]);
        assert_eq!((findings.faults, findings.duplicates), (vec![], 1));
        let findings = compare(true, &output, &[1, 2]);
        assert_eq!(findings.faults, [Fault::Duplicate { id: "a".into(), first_line: 1, line: 3 }]);
    }

    #[test]
    fn one_id_with_different_content_is_found() {
        let findings = compare(false, &[record("a", 1, 1), record("a", 2, 2)], &[1]);
        assert_eq!(findings.faults, [Fault::Conflict { id: "a".into(), first_line: 1, line: 2 }]);
    }

    #[test]
    fn an_order_that_two_records_share_is_found() {
        let findings = compare(false, &[record("a", 1, 1), record("b", 1, 2)], &[1, 2]);
        assert!(matches!(&findings.faults[..], [Fault::SameOrder { id, .. }] if id == "b"));
    }

    #[test]
    fn what_a_torn_line_held_is_missing_if_it_was_acknowledged() {
        let torn = record("b", 2, 2)[..40].to_owned();
        let findings = compare(false, &[record("a", 1, 1), torn.clone()], &[1]);
        assert_eq!((findings.faults, findings.torn), (vec![], 1));
        let findings = compare(false, &[record("a", 1, 1), torn], &[1, 2]);
        assert!(matches!(findings.faults[..], [Fault::Missing { count: 2, .. }]));
    }

    #[test]
    fn a_line_that_is_no_record_is_found() {
        let findings = compare(false, &[record("a", 1, 1), "hello".into()], &[1]);
        assert!(matches!(findings.faults[..], [Fault::Unreadable { line: 2, .. }]));
    }

    #[test]
    fn attributes_and_telemetry_of_one_value_are_no_double() {
        let attributes = record("a-attributes-0", 2, 1).replace("telemetry.v1", "attributes.v1");
        let findings = compare(true, &[record("a-telemetry-0", 1, 1), attributes], &[1]);
        assert_eq!(findings.faults, []);
    }

    #[test]
    fn other_devices_values_need_not_rise() {
        let other = |id, order, count| record(id, order, count).replace("\"e\"", "\"other\"");
        let findings = compare(false, &[other("x", 1, 9), other("y", 2, 3), record("a", 1, 1)], &[1]);
        assert_eq!(findings.faults, []);
    }

    #[test]
    fn an_empty_output_misses_everything() {
        assert_eq!(compare(false, &[], &[1, 2]).faults.len(), 2);
    }
}
