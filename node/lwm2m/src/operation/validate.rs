//! Whether an operation makes sense before it is sent.

use super::{Operation, OperationError, Permission, WriteMode};
use crate::attributes::AttributeName;
use crate::entry::Entry;
use crate::model::ModelSet;
use crate::path::{Path, UNASSIGNED};
use crate::value::ValueType;

impl Operation {
    /// Checks levels, ids, attributes, and what the models of the client's objects allow. Objects
    /// and resources without a model may be anything. Types and formats of values are checked when
    /// they are written.
    pub fn validate(&self, models: &ModelSet) -> Result<(), OperationError> {
        match self {
            Self::Read { path, .. } | Self::Observe { path, .. } | Self::CancelObservation { path, .. } => {
                self.level(path, 1..=4, "an object, instance, resource or resource instance")?;
                if let Self::Observe { attributes, .. } = self {
                    attributes.validate(path)?;
                    fit(models, path, attributes.iter().map(|(name, _)| name))?;
                }
                self.readable(models, path)
            }
            Self::Discover { path, depth } => {
                self.level(path, 1..=3, "an object, instance or resource")?;
                depth.filter(|d| *d > 3).map_or(Ok(()), |d| Err(OperationError::Depth(d)))
            }
            Self::Write { path, values, mode, .. } => {
                let (deepest, levels) = match mode {
                    WriteMode::Replace => (4, "an instance, resource or resource instance"),
                    WriteMode::Update => (3, "an instance or resource"),
                };
                self.level(path, 2..=deepest, levels)?;
                self.not_empty(path.is_value() && values.is_empty() && !multiple(models, path))?;
                permitted(models, path, Permission::Write)?;
                values.iter().try_for_each(|entry| permitted(models, &entry.path, Permission::Write))
            }
            Self::WriteAttributes { path, attributes } => {
                self.level(path, 1..=4, "an object, instance, resource or resource instance")?;
                self.not_empty(attributes.set.is_empty() && attributes.unset.is_empty())?;
                attributes.validate(path)?;
                fit(models, path, attributes.set.iter().map(|(name, _)| name))
            }
            Self::Execute { path, .. } => {
                self.level(path, 3..=3, "a resource")?;
                permitted(models, path, Permission::Execute)
            }
            Self::Create { object, instance, values, .. } => self.create(*object, *instance, values, models),
            Self::Delete { path } => {
                if path.level() == 3 {
                    return Err(self.bad_level(path, "an instance or resource instance"));
                }
                self.level(path, 2..=4, "an instance or resource instance")
            }
            Self::ReadComposite { paths, .. }
            | Self::ObserveComposite { paths, .. }
            | Self::CancelObservationComposite { paths, .. } => {
                self.not_empty(paths.is_empty())?;
                for path in paths {
                    self.level(path, 0..=4, "any level")?;
                    self.readable(models, path)?;
                    if let Self::ObserveComposite { attributes, .. } = self {
                        attributes.validate(path)?;
                    }
                }
                Ok(())
            }
            Self::WriteComposite { values, removed, .. } => {
                self.not_empty(values.is_empty() && removed.is_empty())?;
                for path in values.iter().map(|entry| &entry.path).chain(removed) {
                    self.level(path, 3..=4, "a resource or resource instance")?;
                    permitted(models, path, Permission::Write)?;
                }
                Ok(())
            }
        }
    }

    fn create(
        &self,
        object: u16,
        instance: Option<u16>,
        values: &[Entry],
        models: &ModelSet,
    ) -> Result<(), OperationError> {
        let new = Path::instance(object, instance.unwrap_or(0));
        self.level(&new, 2..=2, "an object")?;
        let given = values.first().and_then(|entry| entry.path.instance_id());
        let expected = instance.or(given);
        for Entry { path, .. } in values {
            if path.object_id() != Some(object) || path.instance_id() != expected {
                return Err(OperationError::Elsewhere { path: *path });
            }
            // Read-only resources get their first value here.
            if let Some(model) = models.resource(path).filter(|model| model.operations.execute) {
                let name = model.name.clone().into_owned();
                return Err(OperationError::Forbidden { path: *path, name, permission: Permission::Write });
            }
        }
        Ok(())
    }

    /// What is observed can always be cancelled, whatever the models say meanwhile.
    fn readable(&self, models: &ModelSet, path: &Path) -> Result<(), OperationError> {
        match self {
            Self::CancelObservation { .. } | Self::CancelObservationComposite { .. } => Ok(()),
            _ => permitted(models, path, Permission::Read),
        }
    }

    fn level(
        &self,
        path: &Path,
        levels: std::ops::RangeInclusive<usize>,
        words: &'static str,
    ) -> Result<(), OperationError> {
        if !levels.contains(&path.level()) {
            return Err(self.bad_level(path, words));
        }
        if path.segments().contains(&UNASSIGNED) {
            return Err(OperationError::ReservedId { path: *path });
        }
        Ok(())
    }

    fn bad_level(&self, path: &Path, levels: &'static str) -> OperationError {
        OperationError::Level { operation: self.name(), path: *path, levels }
    }

    fn not_empty(&self, empty: bool) -> Result<(), OperationError> {
        if empty { Err(OperationError::Empty(self.name())) } else { Ok(()) }
    }
}

fn multiple(models: &ModelSet, path: &Path) -> bool {
    models.resource(path).is_some_and(|model| model.multiple)
}

fn permitted(models: &ModelSet, path: &Path, permission: Permission) -> Result<(), OperationError> {
    let Some(model) = models.resource(path) else { return Ok(()) };
    let name = || model.name.clone().into_owned();
    let allowed = match permission {
        Permission::Read => model.operations.read,
        Permission::Write => model.operations.write,
        Permission::Execute => model.operations.execute,
    };
    if !allowed {
        return Err(OperationError::Forbidden { path: *path, name: name(), permission });
    }
    if path.level() == 4 && !model.multiple {
        return Err(OperationError::Single { path: *path, name: name() });
    }
    Ok(())
}

/// Thresholds are for numbers, edges for booleans (Core 1.2.2 §7.3.2).
fn fit(
    models: &ModelSet,
    path: &Path,
    names: impl Iterator<Item = AttributeName>,
) -> Result<(), OperationError> {
    let Some(value_type) = models.resource(path).and_then(|model| model.value_type) else { return Ok(()) };
    let number =
        matches!(value_type, ValueType::Integer | ValueType::Unsigned | ValueType::Float | ValueType::Time);
    for name in names {
        let needed = match name {
            AttributeName::Gt | AttributeName::Lt | AttributeName::St if !number => "numbers",
            AttributeName::Edge if value_type != ValueType::Boolean => "booleans",
            _ => continue,
        };
        return Err(OperationError::AttributeType { attribute: name.as_str(), path: *path, needed });
    }
    Ok(())
}
