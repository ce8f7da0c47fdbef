//! Operations: stored ones, and the names that connect them to devices.

use godwit_proto::v1::{Operation, operation::State};

use crate::{
    admin::room::endpoint_of,
    identity::DeviceId,
    store::{DeviceRecord, value::StoredOperation},
};

/// The name of an operation.
pub(in crate::admin) fn name(device: DeviceId, operation: &str) -> String {
    format!("devices/{device}/operations/{operation}")
}

/// A stored operation as the API shows it.
pub(in crate::admin) fn show(device: DeviceId, record: &DeviceRecord, stored: &StoredOperation) -> Operation {
    let mut operation = stored.operation.clone().unwrap_or_default();
    operation.name = name(device, &stored.id);
    endpoint_of(record).clone_into(&mut operation.endpoint);
    operation
}

/// The operation of this id in a record.
pub(in crate::admin) fn find(device: DeviceId, record: &DeviceRecord, id: &str) -> Option<Operation> {
    record.operations.iter().find(|stored| stored.id == id).map(|stored| show(device, record, stored))
}

/// Whether nothing more will happen to it.
pub(in crate::admin) fn has_ended(operation: &Operation) -> bool {
    !matches!(operation.state(), State::Unspecified | State::Queued | State::Sent)
}
