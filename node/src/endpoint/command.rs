//! Commands as the API writes them, and operations as LwM2M has them.

use godwit_lwm2m::{
    attributes::{AttributeChange, Attributes},
    entry::{Content, Entry},
    format::ContentFormat,
    operation::{Answer, ArgumentsError, Operation, OperationError, WriteMode},
    path::{Path, PathError},
    value::Value,
};
use godwit_proto::v1::{self, command::Kind, command_result, value};
use thiserror::Error;

use super::observation::Observations;
use crate::{profile::Target, telemetry::value_of};

/// Why a command is none.
#[derive(Debug, Clone, PartialEq, Error)]
pub(super) enum CommandError {
    #[error("the command is empty")]
    Empty,
    #[error("{field}: {text:?} is not a path: {reason}")]
    Path { field: &'static str, text: String, reason: PathError },
    #[error("{field}: {value} is not an id, which are 0 to 65534")]
    Id { field: &'static str, value: u32 },
    #[error("format: {0} is not a content format of LwM2M")]
    Format(u32),
    #[error("values: {0} has no value")]
    NoValue(Path),
    #[error("depth: {0} is more than 3")]
    Depth(u32),
    #[error("there is no such observation")]
    NotObserved,
    #[error(transparent)]
    Arguments(#[from] ArgumentsError),
    #[error(transparent)]
    Operation(#[from] OperationError),
}

/// The operation that a command asks for. `observations` are the device's: a cancellation goes out in the format
/// that its observation was made with.
pub(super) fn operation(
    command: &v1::Command,
    observations: &Observations,
) -> Result<Operation, CommandError> {
    Ok(match command.kind.as_ref().ok_or(CommandError::Empty)? {
        Kind::Read(read) => Operation::Read { path: path("path", &read.path)?, format: format(read.format)? },
        Kind::Discover(discover) => Operation::Discover {
            path: path("path", &discover.path)?,
            depth: discover
                .depth
                .map(|depth| u8::try_from(depth).map_err(|_| CommandError::Depth(depth)))
                .transpose()?,
        },
        Kind::Write(write) => {
            let path = path("path", &write.path)?;
            let mode = match write.mode() {
                v1::command::write::Mode::Unspecified => WriteMode::usual(&path),
                v1::command::write::Mode::Replace => WriteMode::Replace,
                v1::command::write::Mode::Update => WriteMode::Update,
            };
            Operation::Write { path, values: entries(&write.values)?, mode, format: format(write.format)? }
        }
        Kind::WriteAttributes(write) => Operation::WriteAttributes {
            path: path("path", &write.path)?,
            attributes: attributes(&write.attributes.unwrap_or_default()),
        },
        Kind::Execute(execute) => {
            Operation::Execute { path: path("path", &execute.path)?, arguments: execute.arguments.parse()? }
        }
        Kind::Create(create) => Operation::Create {
            object: id("object", create.object)?,
            instance: create.instance.map(|instance| id("instance", instance)).transpose()?,
            values: entries(&create.values)?,
            format: format(create.format)?,
        },
        Kind::Delete(delete) => Operation::Delete { path: path("path", &delete.path)? },
        Kind::ReadComposite(read) => {
            Operation::ReadComposite { paths: paths(&read.paths)?, format: format(read.format)? }
        }
        Kind::WriteComposite(write) => Operation::WriteComposite {
            values: entries(&write.values)?,
            removed: Vec::new(),
            format: format(write.format)?,
        },
        Kind::Observe(observe) => Operation::Observe {
            path: path("path", &observe.path)?,
            attributes: Attributes::default(),
            format: format(observe.format)?,
        },
        Kind::ObserveComposite(observe) => Operation::ObserveComposite {
            paths: paths(&observe.paths)?,
            attributes: Attributes::default(),
            format: format(observe.format)?,
        },
        Kind::CancelObservation(cancel) => {
            let target = observed(&cancel.paths)?;
            let observation = observations.by_target(&target).ok_or(CommandError::NotObserved)?;
            super::downlink::cancel(&target, observation.format)
        }
    })
}

/// What a passive cancellation is for; `None` for any other command.
pub(super) fn passive_cancel(command: &v1::Command) -> Option<Target> {
    match command.kind.as_ref()? {
        Kind::CancelObservation(cancel)
            if cancel.mode() == v1::command::cancel_observation::Mode::Passive =>
        {
            observed(&cancel.paths).ok()
        }
        _ => None,
    }
}

/// What an operation observes or stops to observe.
pub(super) fn target(operation: &Operation) -> Option<Target> {
    match operation {
        Operation::Observe { path, .. } | Operation::CancelObservation { path, .. } => {
            Some(Target::Single(*path))
        }
        Operation::ObserveComposite { paths, .. } | Operation::CancelObservationComposite { paths, .. } => {
            Some(composite(paths.clone()))
        }
        _ => None,
    }
}

/// Whether a command may be carried out twice without harm.
pub(super) fn may_repeat(command: &v1::Command) -> bool {
    match command.kind.as_ref() {
        Some(Kind::Execute(_)) => false,
        Some(Kind::Create(create)) => create.instance.is_some(),
        Some(Kind::Write(write)) => {
            let usual = || write.path.parse().map_or(WriteMode::Update, |path| WriteMode::usual(&path));
            match write.mode() {
                v1::command::write::Mode::Unspecified => usual() == WriteMode::Replace,
                mode => mode == v1::command::write::Mode::Replace,
            }
        }
        _ => true,
    }
}

/// Puts what the device answered into a result.
pub(super) fn fill(result: &mut v1::CommandResult, answer: &Answer) {
    match answer {
        Answer::Values(content) | Answer::Observing { content, .. } => result.values = values(content),
        Answer::Links(links) => {
            result.links = links
                .iter()
                .map(|found| command_result::Link {
                    path: found.path.to_string(),
                    attributes: found
                        .link
                        .attributes
                        .iter()
                        .map(|set| {
                            (set.name.to_string(), set.value.as_deref().unwrap_or_default().to_owned())
                        })
                        .collect(),
                })
                .collect();
        }
        Answer::Created(Some(path)) => result.location = path.to_string(),
        Answer::Refused { diagnostic, .. } => result.diagnostic.clone_from(diagnostic),
        Answer::Created(None) | Answer::Changed | Answer::Deleted => {}
    }
}

/// Attributes of the API as a change of the device's.
pub(super) fn attributes(set: &v1::Attributes) -> AttributeChange {
    Attributes {
        pmin: set.pmin,
        pmax: set.pmax,
        gt: set.gt,
        lt: set.lt,
        st: set.st,
        epmin: set.epmin,
        epmax: set.epmax,
        edge: set.edge,
        con: set.con,
        hqmax: set.hqmax,
    }
    .into()
}

fn observed(texts: &[String]) -> Result<Target, CommandError> {
    Ok(match paths(texts)?.as_slice() {
        [] => return Err(CommandError::NotObserved),
        [path] => Target::Single(*path),
        paths => composite(paths.to_vec()),
    })
}

fn composite(mut paths: Vec<Path>) -> Target {
    paths.sort();
    paths.dedup();
    Target::Composite(paths.into())
}

fn path(field: &'static str, text: &str) -> Result<Path, CommandError> {
    text.parse().map_err(|reason| CommandError::Path { field, text: text.to_owned(), reason })
}

fn paths(texts: &[String]) -> Result<Vec<Path>, CommandError> {
    texts.iter().map(|text| path("paths", text)).collect()
}

fn id(field: &'static str, value: u32) -> Result<u16, CommandError> {
    u16::try_from(value).ok().filter(|id| *id != u16::MAX).ok_or(CommandError::Id { field, value })
}

fn format(number: Option<u32>) -> Result<Option<ContentFormat>, CommandError> {
    let known = |number| u16::try_from(number).ok().and_then(ContentFormat::from_number);
    number.map(|number| known(number).ok_or(CommandError::Format(number))).transpose()
}

fn entries(values: &[v1::PathValue]) -> Result<Vec<Entry>, CommandError> {
    values
        .iter()
        .map(|given| {
            let path = path("values", &given.path)?;
            let value = given.value.as_ref().and_then(from_proto).ok_or(CommandError::NoValue(path))?;
            Ok(Entry { path, time: given.time, value })
        })
        .collect()
}

fn values(content: &Content) -> Vec<v1::PathValue> {
    content
        .entries
        .iter()
        .map(|entry| v1::PathValue {
            path: entry.path.to_string(),
            value: Some(value_of(&entry.value)),
            time: entry.time,
            text: None,
        })
        .collect()
}

fn from_proto(value: &v1::Value) -> Option<Value> {
    Some(match value.kind.as_ref()? {
        value::Kind::String(text) => Value::String(text.clone()),
        value::Kind::Integer(number) => Value::Integer(*number),
        value::Kind::Unsigned(number) => Value::Unsigned(*number),
        value::Kind::Float(number) => Value::Float(*number),
        value::Kind::Boolean(flag) => Value::Boolean(*flag),
        value::Kind::Opaque(bytes) => Value::Opaque(bytes.clone()),
        value::Kind::Time(seconds) => Value::Time(*seconds),
        value::Kind::ObjectLink(link) => Value::ObjectLink {
            object: u16::try_from(link.object).ok()?,
            instance: u16::try_from(link.instance).ok()?,
        },
        value::Kind::CoreLink(links) => Value::CoreLink(links.clone()),
    })
}
