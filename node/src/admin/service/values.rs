//! Commands as callers write them: paths checked by level, values given as text typed by the object's model.

use godwit_lwm2m::{
    model::{ModelRegistry, ObjectVersion, ResourceModel},
    path::Path,
    registration::ObjectList,
    value::ValueType,
};
use godwit_proto::v1::{Command, PathValue, Value, command, value::Kind};

use crate::admin::{
    error::{AdminError, invalid},
    text,
};

/// Most paths or values of one command.
const MAX_VALUES: usize = 1024;

/// The models of one device.
pub(super) struct DeviceModels<'a> {
    /// What its profile goes by.
    pub(super) registry: &'a ModelRegistry,
    /// What it registered, for the versions; `None` if it is not registered.
    pub(super) objects: Option<&'a ObjectList>,
}

impl DeviceModels<'_> {
    fn resource(&self, path: Path) -> Option<ResourceModel> {
        let object = path.object_id()?;
        let registered = self.objects.and_then(|list| list.object(object));
        let version = registered.map_or(ObjectVersion::V1_0, |object| object.version);
        self.registry.nearest(object, version)?.resource(path.resource_id()?).cloned()
    }
}

/// Checks the paths of a command and types its values. What the device has or lacks is the device's to say.
pub(super) fn check(command: &mut Command, models: &DeviceModels<'_>) -> Result<(), AdminError> {
    use command::Kind;

    match command.kind.as_mut().ok_or_else(|| invalid("command", "must be set"))? {
        Kind::Read(read) => at("command.path", &read.path, 1..=4).map(drop),
        Kind::Discover(discover) => at("command.path", &discover.path, 1..=3).map(drop),
        Kind::Observe(observe) => at("command.path", &observe.path, 1..=4).map(drop),
        Kind::WriteAttributes(write) => at("command.path", &write.path, 1..=4).map(drop),
        Kind::Execute(execute) => at("command.path", &execute.path, 3..=3).map(drop),
        Kind::Delete(delete) => match at("command.path", &delete.path, 2..=4)?.level() {
            3 => Err(invalid("command.path", "must be an object instance or a resource instance")),
            _ => Ok(()),
        },
        Kind::Write(write) => {
            let target = at("command.path", &write.path, 2..=4)?;
            values(&mut write.values, models, Some(target), false)
        }
        Kind::Create(create) => {
            let object = u16::try_from(create.object)
                .map_err(|_| invalid("command.object", "must be an object's id, 0 to 65534"))?;
            let instance = u16::try_from(create.instance.unwrap_or(0))
                .map_err(|_| invalid("command.instance", "must be an instance's id, 0 to 65534"))?;
            let target = Path::instance(object, instance);
            if create.values.is_empty() {
                return Ok(());
            }
            values(&mut create.values, models, Some(target), false)
        }
        Kind::WriteComposite(write) => values(&mut write.values, models, None, true),
        Kind::ReadComposite(read) => paths(&read.paths),
        Kind::ObserveComposite(observe) => paths(&observe.paths),
        Kind::CancelObservation(cancel) => paths(&cancel.paths),
    }
}

fn at(field: &str, text: &str, levels: std::ops::RangeInclusive<usize>) -> Result<Path, AdminError> {
    const LEVELS: [&str; 5] = ["/", "/3", "/3/0", "/3/0/9", "/3/0/6/1"];
    let path: Path = text.parse().map_err(|error| invalid(field, format!("{text:?}: {error}")))?;
    if !levels.contains(&path.level()) {
        let fix =
            format!("{path} must be of the form {} to {}", LEVELS[*levels.start()], LEVELS[*levels.end()]);
        return Err(invalid(field, fix));
    }
    Ok(path)
}

fn paths(paths: &[String]) -> Result<(), AdminError> {
    bounded("command.paths", paths.len())?;
    for (index, path) in paths.iter().enumerate() {
        at(&format!("command.paths[{index}]"), path, 0..=4)?;
    }
    Ok(())
}

fn bounded(field: &str, count: usize) -> Result<(), AdminError> {
    if (1..=MAX_VALUES).contains(&count) {
        return Ok(());
    }
    Err(invalid(field, format!("has {count} entries, must have 1 to {MAX_VALUES}")))
}

/// `within`: what all paths must be at or below. `removal`: a value may be left out, which removes what is there.
fn values(
    values: &mut [PathValue],
    models: &DeviceModels<'_>,
    within: Option<Path>,
    removal: bool,
) -> Result<(), AdminError> {
    bounded("command.values", values.len())?;
    for (index, value) in values.iter_mut().enumerate() {
        let field = format!("command.values[{index}]");
        if let (Some(within), true) = (within, value.path.is_empty()) {
            value.path = within.to_string();
        }
        let path = at(&format!("{field}.path"), &value.path, 3..=4)?;
        if let Some(within) = within.filter(|within| !path.starts_with(within)) {
            return Err(invalid(format!("{field}.path"), format!("{path} is not within {within}")));
        }
        match (value.text.take(), &value.value) {
            (Some(_), Some(_)) => return Err(invalid(field, "must have `value` or `text`, not both")),
            (None, Some(Value { kind: Some(_) })) => {}
            (None, _) if removal => value.value = None,
            (None, _) => return Err(invalid(field, "must have a `value` or a `text`")),
            (Some(text), None) => {
                let typed =
                    typed(&text, path, models).map_err(|fix| invalid(format!("{field}.text"), fix))?;
                value.value = Some(Value { kind: Some(typed) });
            }
        }
    }
    Ok(())
}

fn typed(text: &str, path: Path, models: &DeviceModels<'_>) -> Result<Kind, String> {
    let Some(resource) = models.resource(path) else {
        return Err(format!("no model knows {path}: give a typed `value`"));
    };
    let Some(value_type) = resource.value_type else {
        return Err(format!("{path} ({}) has no value, it can only be executed", resource.name));
    };
    text::parse(text, value_type).ok_or_else(|| {
        let shape = match value_type {
            ValueType::Boolean => " (true or false)",
            ValueType::Opaque => " (base64)",
            ValueType::Time => " (seconds since 1970 or RFC 3339)",
            ValueType::ObjectLink => " (object:instance)",
            _ => "",
        };
        format!("{text:?} is no {value_type}{shape}, as {path} ({}) has it", resource.name)
    })
}

#[cfg(test)]
mod tests {
    use godwit_proto::v1::command::{Create, Delete, Execute, Read, Write, WriteComposite};

    use super::*;

    fn checked(kind: command::Kind) -> Result<command::Kind, String> {
        let registry = ModelRegistry::builtin();
        let mut command = Command { kind: Some(kind) };
        let models = DeviceModels { registry: &registry, objects: None };
        match check(&mut command, &models) {
            Ok(()) => Ok(command.kind.unwrap()),
            Err(AdminError::Invalid { field, .. }) => Err(field),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn write(path: &str, values: &[(&str, &str)]) -> command::Kind {
        let values = values.iter().map(|(path, text)| PathValue {
            path: (*path).into(),
            text: Some((*text).into()),
            ..Default::default()
        });
        command::Kind::Write(Write { path: path.into(), values: values.collect(), ..Default::default() })
    }

    fn first(kind: command::Kind) -> PathValue {
        let command::Kind::Write(write) = kind else { panic!("not a write") };
        write.values[0].clone()
    }

    #[test]
    fn a_text_takes_the_models_type() {
        let value = first(checked(write("/3/0/14", &[("", "+02")])).unwrap());
        assert_eq!(value.path, "/3/0/14");
        assert_eq!(value.text, None);
        assert_eq!(value.value.unwrap().kind, Some(Kind::String("+02".into())));
        let value = first(checked(write("/3/0/13", &[("", "2026-01-01T00:00:00Z")])).unwrap());
        assert_eq!(value.value.unwrap().kind, Some(Kind::Time(1_767_225_600)));
    }

    #[test]
    fn texts_of_the_wrong_type_are_refused() {
        assert_eq!(checked(write("/1/0/1", &[("", "soon")])).unwrap_err(), "command.values[0].text");
        assert_eq!(checked(write("/3/0/4", &[("", "1")])).unwrap_err(), "command.values[0].text");
        assert_eq!(checked(write("/31999/0/1", &[("", "1")])).unwrap_err(), "command.values[0].text");
    }

    #[test]
    fn paths_must_be_of_the_commands_level() {
        let read = |path: &str| checked(command::Kind::Read(Read { path: path.into(), format: None }));
        assert!(read("/3/0/6/1").is_ok());
        assert_eq!(read("/").unwrap_err(), "command.path");
        assert_eq!(read("3/x").unwrap_err(), "command.path");
        let execute = command::Kind::Execute(Execute { path: "/3/0".into(), arguments: String::new() });
        assert_eq!(checked(execute).unwrap_err(), "command.path");
        let delete = command::Kind::Delete(Delete { path: "/3/0/1".into() });
        assert_eq!(checked(delete).unwrap_err(), "command.path");
        assert_eq!(checked(write("/3/0", &[("/4/0/1", "1")])).unwrap_err(), "command.values[0].path");
    }

    #[test]
    fn only_a_write_composite_may_leave_a_value_out() {
        let none = vec![PathValue { path: "/3/0/14".into(), ..Default::default() }];
        let composite = WriteComposite { values: none.clone(), format: None };
        assert!(checked(command::Kind::WriteComposite(composite)).is_ok());
        let write = Write { path: "/3/0/14".into(), values: none, ..Default::default() };
        assert_eq!(checked(command::Kind::Write(write)).unwrap_err(), "command.values[0]");
        assert!(checked(command::Kind::Create(Create { object: 1, ..Default::default() })).is_ok());
        let create = Create { object: 70_000, ..Default::default() };
        assert_eq!(checked(command::Kind::Create(create)).unwrap_err(), "command.object");
    }
}
