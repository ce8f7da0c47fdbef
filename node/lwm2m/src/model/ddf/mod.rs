//! Object definitions as OMA DDF XML files (schema 1.0 and 1.1).
//!
//! A file is read into a small tree first ([`tree`]), within bounds and without entities or a DTD;
//! then its elements are taken for what the schema says they are. Every error names the element and
//! the line.

mod error;
mod tree;

use std::borrow::Cow;
use std::collections::HashSet;

pub use error::{DdfError, DdfFault};
use tree::Element;
pub use tree::MAX_DOCUMENT;

use super::{ObjectModel, ObjectVersion, Operations, Range, ResourceModel};
use crate::value::ValueType;

/// What a file of the OMA registry defines.
#[derive(Debug, Clone, PartialEq)]
pub enum Ddf {
    /// Objects, at least one; usually it is one.
    Objects(Vec<ObjectModel>),
    /// Reusable resources, which belong to no object yet.
    Resources(Vec<ResourceModel>),
    /// A companion of the definitions (the index, the units): well-formed, and no model in it.
    Companion,
}

/// Reads a definition file of at most [`MAX_DOCUMENT`] bytes of UTF-8.
///
/// Schema 1.0 leaves `LWM2MVersion` and `ObjectVersion` out: the version is then the one at the end
/// of the URN, or else 1.0. Elements that the schema does not know are passed over.
pub fn load_ddf(document: &[u8]) -> Result<Ddf, DdfError> {
    let root = tree::read(document)?;
    match root.name.as_str() {
        "LWM2M" => definitions(&root),
        "DDFList" | "units" => Ok(Ddf::Companion),
        _ => Err(root.fault(DdfFault::NotADefinition)),
    }
}

fn definitions(root: &Element) -> Result<Ddf, DdfError> {
    let mut objects = Vec::new();
    let mut reusable = Vec::new();
    for element in root.children.iter().filter(|e| e.name == "Object") {
        match element.attribute("ObjectType") {
            Some("MODefinition") => objects.push(object(element)?),
            Some("CommonResources") => reusable.extend(resources(element)?),
            Some(other) => return Err(element.value_fault("ObjectType", other)),
            None => return Err(element.fault(DdfFault::MissingAttribute("ObjectType"))),
        }
    }
    match (objects.is_empty(), reusable.is_empty()) {
        (false, _) => Ok(Ddf::Objects(objects)),
        (true, false) => Ok(Ddf::Resources(reusable)),
        (true, true) => Err(root.fault(DdfFault::MissingElement("Object"))),
    }
}

fn object(element: &Element) -> Result<ObjectModel, DdfError> {
    Ok(ObjectModel {
        id: id(element.need("ObjectID")?)?,
        version: version(element)?,
        name: name(element)?,
        multiple: multiple(element.need("MultipleInstances")?)?,
        mandatory: mandatory(element.need("Mandatory")?)?,
        resources: resources(element)?.into(),
    })
}

fn resources(object: &Element) -> Result<Vec<ResourceModel>, DdfError> {
    let items = &object.need("Resources")?.children;
    let mut seen = HashSet::new();
    let mut resources = Vec::with_capacity(items.len());
    for item in items.iter().filter(|e| e.name == "Item") {
        let resource = resource(item)?;
        if !seen.insert(resource.id) {
            return Err(item.fault(DdfFault::Duplicate(resource.id)));
        }
        resources.push(resource);
    }
    resources.sort_unstable_by_key(|r| r.id);
    Ok(resources)
}

/// Reusable resources have neither `MultipleInstances` nor `Mandatory`; an object that takes one up
/// says so itself.
fn resource(item: &Element) -> Result<ResourceModel, DdfError> {
    let id = item.attribute("ID").ok_or_else(|| item.fault(DdfFault::MissingAttribute("ID")))?;
    let letters = item.need("Operations")?;
    Ok(ResourceModel {
        id: number(id).ok_or_else(|| item.value_fault("ID", id))?,
        name: name(item)?,
        operations: Operations::parse(&letters.text).ok_or_else(|| letters.bad_value())?,
        multiple: item.find("MultipleInstances").map_or(Ok(false), multiple)?,
        mandatory: item.find("Mandatory").map_or(Ok(false), mandatory)?,
        value_type: value_type(item.need("Type")?)?,
        range: item.find("RangeEnumeration").and_then(|e| Range::parse(&e.text)),
        unit: Cow::Owned(item.find("Units").map(|e| e.text.clone()).unwrap_or_default()),
    })
}

fn id(element: &Element) -> Result<u16, DdfError> {
    number(&element.text).ok_or_else(|| element.bad_value())
}

fn number(text: &str) -> Option<u16> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

fn name(element: &Element) -> Result<Cow<'static, str>, DdfError> {
    let name = element.need("Name")?;
    if name.text.is_empty() {
        return Err(name.bad_value());
    }
    Ok(Cow::Owned(name.text.split_whitespace().collect::<Vec<_>>().join(" ")))
}

/// URNs are `urn:oma:lwm2m:CLASS:ID[:VERSION]`.
fn version(object: &Element) -> Result<ObjectVersion, DdfError> {
    if let Some(element) = object.find("ObjectVersion").filter(|e| !e.text.is_empty()) {
        return element.text.parse().map_err(|_| element.bad_value());
    }
    let urn = object.find("ObjectURN").and_then(|e| e.text.split(':').nth(5).map(|v| (e, v)));
    match urn {
        Some((element, version)) => version.trim().parse().map_err(|_| element.bad_value()),
        None => Ok(ObjectVersion::V1_0),
    }
}

fn multiple(element: &Element) -> Result<bool, DdfError> {
    match element.text.as_str() {
        "Multiple" => Ok(true),
        "Single" => Ok(false),
        _ => Err(element.bad_value()),
    }
}

fn mandatory(element: &Element) -> Result<bool, DdfError> {
    match element.text.as_str() {
        "Mandatory" => Ok(true),
        "Optional" => Ok(false),
        _ => Err(element.bad_value()),
    }
}

fn value_type(element: &Element) -> Result<Option<ValueType>, DdfError> {
    Ok(Some(match element.text.as_str() {
        "" => return Ok(None),
        "String" => ValueType::String,
        "Integer" => ValueType::Integer,
        "Unsigned Integer" => ValueType::Unsigned,
        "Float" => ValueType::Float,
        "Boolean" => ValueType::Boolean,
        "Opaque" => ValueType::Opaque,
        "Time" => ValueType::Time,
        "Objlnk" => ValueType::ObjectLink,
        "Corelnk" => ValueType::CoreLink,
        _ => return Err(element.bad_value()),
    }))
}

#[cfg(test)]
mod tests;
