//! Values and attributes as a command line has them.

use std::str::FromStr;

use godwit_lwm2m::path::Path;
use godwit_proto::v1::{
    Attributes, PathValue, Value,
    command::{self, write::Mode},
};

use crate::{admin::text, ctl::fault::CtlError};

/// "/3/0/14=+02" or "/26241/0/1:float=2.5".
#[derive(Debug, Clone, PartialEq)]
pub(in crate::ctl) struct Assignment(PathValue);

impl FromStr for Assignment {
    type Err = String;

    fn from_str(argument: &str) -> Result<Self, String> {
        let (path, value) = argument.split_once('=').ok_or("a value is PATH=VALUE or PATH:TYPE=VALUE")?;
        let (path, name) = path.split_once(':').map_or((path, None), |(path, name)| (path, Some(name)));
        let mut assigned = PathValue { path: path.to_owned(), ..Default::default() };
        match name {
            // The node knows the model.
            None => assigned.text = Some(value.to_owned()),
            Some(name) => {
                let value_type = name.parse().map_err(|error| format!("{name:?} is no type: {error}"))?;
                let kind = text::parse(value, value_type).ok_or_else(|| format!("{value:?} is no {name}"))?;
                assigned.value = Some(Value { kind: Some(kind) });
            }
        }
        Ok(Self(assigned))
    }
}

/// The operation that writes what is to be written.
#[derive(Debug, PartialEq)]
pub(super) enum Write {
    One(command::Write),
    Composite(command::WriteComposite),
}

/// One value, or several of one instance, are a Write, which every device knows; the rest a Write-Composite.
pub(super) fn write(
    values: Vec<Assignment>,
    remove: Vec<String>,
    replace: bool,
    composite: bool,
    format: Option<u32>,
) -> Result<Write, CtlError> {
    let instance = common_instance(&values)?;
    let mut values: Vec<PathValue> = values.into_iter().map(|assignment| assignment.0).collect();
    let several_instances = values.len() > 1 && instance.is_none();
    if composite || !remove.is_empty() || several_instances {
        if replace {
            return Err(CtlError::Usage("--replace is for values of one object instance".into()));
        }
        values.extend(remove.into_iter().map(|path| PathValue { path, ..Default::default() }));
        return Ok(Write::Composite(command::WriteComposite { values, format }));
    }
    let mode = if replace { Mode::Replace } else { Mode::Unspecified };
    let path = match (values.as_slice(), instance) {
        ([one], _) => one.path.clone(),
        (_, Some(instance)) => instance.to_string(),
        (_, None) => return Err(CtlError::Usage("nothing to write".into())),
    };
    Ok(Write::One(command::Write { path, values, mode: mode.into(), format }))
}

/// The instance that all values are of.
fn common_instance(values: &[Assignment]) -> Result<Option<Path>, CtlError> {
    let instance = |assignment: &Assignment| {
        let text = &assignment.0.path;
        let path = text.parse::<Path>();
        path.map(|path| path.truncate(2)).map_err(|error| CtlError::Usage(format!("{text:?}: {error}")))
    };
    let instances = values.iter().map(instance).collect::<Result<Vec<_>, _>>()?;
    Ok(instances.first().filter(|first| instances.iter().all(|other| other == *first)).copied())
}

/// A Create of "/3303" or "/3303/5". Values may be named by the resource alone.
pub(super) fn create(
    target: &str,
    values: Vec<Assignment>,
    format: Option<u32>,
) -> Result<command::Create, CtlError> {
    let shape = || CtlError::Usage(format!("{target:?}: must be /OBJECT or /OBJECT/INSTANCE"));
    let path: Path = target.parse().map_err(|_| shape())?;
    let object = path.object_id().filter(|_| path.level() <= 2).ok_or_else(shape)?;
    let instance = path.instance_id();
    let values = values.into_iter().map(|Assignment(mut value)| {
        if !value.path.starts_with('/') {
            value.path = format!("/{object}/{}/{}", instance.unwrap_or(0), value.path);
        }
        value
    });
    let values = values.collect();
    Ok(command::Create { object: object.into(), instance: instance.map(u32::from), values, format })
}

/// "pmin=10", "gt=25.5" and so on; "edge" and "con" are 0 or 1.
pub(super) fn attributes(arguments: &[String]) -> Result<Attributes, CtlError> {
    let mut attributes = Attributes::default();
    for argument in arguments {
        let fault = || CtlError::Usage(format!("{argument:?} is no attribute with a value"));
        let (name, value) = argument.split_once('=').ok_or_else(fault)?;
        let whole = || value.parse::<u32>().map(Some).map_err(|_| fault());
        let number = || value.parse::<f64>().map(Some).map_err(|_| fault());
        let truth = || match value {
            "0" => Ok(Some(false)),
            "1" => Ok(Some(true)),
            _ => Err(fault()),
        };
        match name {
            "pmin" => attributes.pmin = whole()?,
            "pmax" => attributes.pmax = whole()?,
            "epmin" => attributes.epmin = whole()?,
            "epmax" => attributes.epmax = whole()?,
            "hqmax" => attributes.hqmax = whole()?,
            "gt" => attributes.gt = number()?,
            "lt" => attributes.lt = number()?,
            "st" => attributes.st = number()?,
            "edge" => attributes.edge = truth()?,
            "con" => attributes.con = truth()?,
            _ => return Err(fault()),
        }
    }
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use godwit_proto::v1::value::Kind;

    use super::*;

    fn assignments(texts: &[&str]) -> Vec<Assignment> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn written(texts: &[&str]) -> Write {
        write(assignments(texts), Vec::new(), false, false, None).unwrap()
    }

    #[test]
    fn a_value_may_name_its_type() {
        let Assignment(value) = "/26241/0/1:float=2.5".parse().unwrap();
        assert_eq!(value.value, Some(Value { kind: Some(Kind::Float(2.5)) }));
        let Assignment(value) = "/3/0/14=a=b".parse().unwrap();
        assert_eq!((value.path.as_str(), value.text.as_deref()), ("/3/0/14", Some("a=b")));
        for text in ["/3/0/14", "/1/0/1:int=5", "/1/0/1:integer=x"] {
            assert!(text.parse::<Assignment>().is_err(), "{text}");
        }
    }

    #[test]
    fn values_of_one_instance_are_one_write() {
        assert!(matches!(written(&["/3/0/14=+02"]), Write::One(write) if write.path == "/3/0/14"));
        assert!(matches!(written(&["/3/0/14=+02", "/3/0/15=x"]), Write::One(write) if write.path == "/3/0"));
        assert!(matches!(written(&["/3/0/14=+02", "/1/0/1=9"]), Write::Composite(_)));
        let removed = write(Vec::new(), vec!["/3/0/6/1".into()], false, false, None).unwrap();
        assert!(matches!(removed, Write::Composite(write) if write.values[0].text.is_none()));
        assert!(write(assignments(&["/3/0/14=a", "/1/0/1=9"]), Vec::new(), true, false, None).is_err());
    }

    #[test]
    fn resources_of_a_new_instance_need_no_path() {
        let command = create("/3303/5", assignments(&["5700=21.5", "/3303/5/5701=C"]), None).unwrap();
        assert_eq!((command.object, command.instance), (3303, Some(5)));
        assert_eq!(command.values[0].path, "/3303/5/5700");
        assert_eq!(create("/3303", assignments(&["5700=1"]), None).unwrap().values[0].path, "/3303/0/5700");
        for target in ["/", "3303/x", "/3303/5/1"] {
            assert!(create(target, Vec::new(), None).is_err(), "{target}");
        }
    }

    #[test]
    fn attributes_have_their_types() {
        let arguments = ["pmin=10", "gt=-1.5", "edge=1"].map(str::to_owned);
        let expected = Attributes { pmin: Some(10), gt: Some(-1.5), edge: Some(true), ..Default::default() };
        assert_eq!(attributes(&arguments).unwrap(), expected);
        for text in ["pmin", "pmin=-1", "edge=yes", "max=1"] {
            assert!(attributes(&[text.to_owned()]).is_err(), "{text}");
        }
    }
}
