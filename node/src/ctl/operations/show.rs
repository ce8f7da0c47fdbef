//! Operations and their results for people.

use godwit_proto::v1::{Operation, command::Kind, operation::State};

use crate::{
    admin::text,
    ctl::{
        console::{Console, Table, dash, time},
        fault::CtlError,
    },
};

const OPERATION: &str = "godwit.v1.Operation";

/// One operation: its result, or where it stands.
pub(super) fn operation(operation: &Operation, console: &mut Console<'_>) -> Result<(), CtlError> {
    if console.is_json() {
        return Ok(console.message(OPERATION, operation)?);
    }
    let Some(result) = &operation.result else {
        console.line(&format!("{} {}", operation.name, state(operation)))?;
        return Ok(());
    };
    if !result.values.is_empty() {
        let mut table = Table::new(&["PATH", "VALUE", "TYPE"]);
        for value in &result.values {
            let (shown, kind) =
                value.value.as_ref().map_or_else(Default::default, |v| (text::show(v), text::type_name(v)));
            table.row([value.path.clone(), shown, kind.to_owned()]);
        }
        return Ok(console.table(&table)?);
    }
    if !result.links.is_empty() {
        let mut table = Table::new(&["PATH", "ATTRIBUTES"]);
        for link in &result.links {
            let mut attributes: Vec<_> = link.attributes.iter().collect();
            attributes.sort();
            let attributes = attributes
                .into_iter()
                .map(|(name, value)| if value.is_empty() { name.clone() } else { format!("{name}={value}") });
            table.row([link.path.clone(), attributes.collect::<Vec<_>>().join(" ")]);
        }
        return Ok(console.table(&table)?);
    }
    let told = [&result.code_text, &result.location, &result.diagnostic];
    let told: Vec<_> = told.into_iter().filter(|text| !text.is_empty()).map(String::as_str).collect();
    Ok(console.line(&told.join(" "))?)
}

/// A list, the oldest first.
pub(super) fn list(operations: &[Operation], console: &mut Console<'_>) -> Result<(), CtlError> {
    if console.is_json() {
        for operation in operations {
            console.message(OPERATION, operation)?;
        }
        return Ok(());
    }
    let mut table = Table::new(&["COMMAND", "STATE", "RESULT", "CREATED", "EXPIRES", "OPERATION"]);
    for operation in operations {
        table.row([
            command(operation),
            state(operation).to_owned(),
            outcome(operation),
            time(operation.create_time.as_ref()),
            time(operation.expire_time.as_ref()),
            operation.name.clone(),
        ]);
    }
    Ok(console.table(&table)?)
}

/// One change of a watched operation.
pub(super) fn change(operation: &Operation, console: &mut Console<'_>) -> Result<(), CtlError> {
    if console.is_json() {
        return Ok(console.message(OPERATION, operation)?);
    }
    Ok(console.line(&format!(
        "{:<10} {}  {}  {}  {}",
        state(operation),
        operation.endpoint,
        command(operation),
        outcome(operation),
        operation.name,
    ))?)
}

fn outcome(operation: &Operation) -> String {
    match &operation.result {
        Some(result) => result.code_text.clone(),
        None => dash(&operation.detail),
    }
}

fn state(operation: &Operation) -> &'static str {
    match operation.state() {
        State::Unspecified => "-",
        State::Queued => "queued",
        State::Sent => "sent",
        State::Succeeded => "succeeded",
        State::Failed => "failed",
        State::Expired => "expired",
        State::Cancelled => "cancelled",
        State::Aborted => "aborted",
    }
}

fn command(operation: &Operation) -> String {
    let Some(kind) = operation.command.as_ref().and_then(|command| command.kind.as_ref()) else {
        return "-".to_owned();
    };
    let many = |verb: &str, paths: &[String]| format!("{verb} {}", paths.join(" "));
    match kind {
        Kind::Read(read) => format!("read {}", read.path),
        Kind::Discover(discover) => format!("discover {}", discover.path),
        Kind::Write(write) => format!("write {}", write.path),
        Kind::WriteAttributes(write) => format!("write-attributes {}", write.path),
        Kind::Execute(execute) => format!("exec {}", execute.path),
        Kind::Create(create) => format!("create /{}", create.object),
        Kind::Delete(delete) => format!("delete {}", delete.path),
        Kind::ReadComposite(read) => many("read", &read.paths),
        Kind::WriteComposite(write) => format!("write {} values", write.values.len()),
        Kind::Observe(observe) => format!("observe {}", observe.path),
        Kind::ObserveComposite(observe) => many("observe", &observe.paths),
        Kind::CancelObservation(cancel) => many("cancel-observation", &cancel.paths),
    }
}
