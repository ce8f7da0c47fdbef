//! Who may call what: the one table of methods and roles.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What a caller may do; each includes the ones before.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Role {
    /// See what is there.
    Read,
    /// Send commands to devices.
    Operate,
    /// Provision devices, profiles and models.
    Admin,
}

impl Role {
    /// As the tokens file writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a role is read, operate or admin")]
pub struct NotARole;

impl FromStr for Role {
    type Err = NotARole;

    fn from_str(text: &str) -> Result<Self, NotARole> {
        [Self::Read, Self::Operate, Self::Admin].into_iter().find(|role| role.name() == text).ok_or(NotARole)
    }
}

/// A method's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    /// "/package.Service/Method".
    pub path: &'static str,
    /// The least role that may call it; `None`: whoever can connect.
    pub role: Option<Role>,
    /// Whether each call leaves a line in the audit log.
    pub audited: bool,
}

const fn open(path: &'static str) -> Method {
    Method { path, role: None, audited: false }
}

const fn read(path: &'static str) -> Method {
    Method { path, role: Some(Role::Read), audited: false }
}

const fn operate(path: &'static str) -> Method {
    Method { path, role: Some(Role::Operate), audited: true }
}

const fn admin(path: &'static str) -> Method {
    Method { path, role: Some(Role::Admin), audited: true }
}

/// Every method that may be called at all. What is not here is denied, also to admins.
pub const METHODS: &[Method] = &[
    admin("/godwit.v1.DeviceService/CreateDevice"),
    admin("/godwit.v1.DeviceService/BatchCreateDevices"),
    read("/godwit.v1.DeviceService/GetDevice"),
    read("/godwit.v1.DeviceService/ListDevices"),
    admin("/godwit.v1.DeviceService/ExportDevices"),
    admin("/godwit.v1.DeviceService/UpdateDevice"),
    admin("/godwit.v1.DeviceService/DeleteDevice"),
    admin("/godwit.v1.DeviceService/RotateSecret"),
    admin("/godwit.v1.ProfileService/CreateProfile"),
    read("/godwit.v1.ProfileService/GetProfile"),
    read("/godwit.v1.ProfileService/ListProfiles"),
    admin("/godwit.v1.ProfileService/UpdateProfile"),
    admin("/godwit.v1.ProfileService/DeleteProfile"),
    admin("/godwit.v1.ProfileService/ImportThingsBoardProfile"),
    admin("/godwit.v1.ModelService/UploadModels"),
    read("/godwit.v1.ModelService/GetModel"),
    read("/godwit.v1.ModelService/ListModels"),
    admin("/godwit.v1.ModelService/DeleteModel"),
    read("/godwit.v1.RegistrationService/GetRegistration"),
    read("/godwit.v1.RegistrationService/ListRegistrations"),
    read("/godwit.v1.RegistrationService/WatchRegistrations"),
    operate("/godwit.v1.OperationService/Read"),
    operate("/godwit.v1.OperationService/ReadComposite"),
    operate("/godwit.v1.OperationService/Discover"),
    operate("/godwit.v1.OperationService/Write"),
    operate("/godwit.v1.OperationService/WriteComposite"),
    operate("/godwit.v1.OperationService/WriteAttributes"),
    operate("/godwit.v1.OperationService/Execute"),
    operate("/godwit.v1.OperationService/Create"),
    operate("/godwit.v1.OperationService/Delete"),
    operate("/godwit.v1.OperationService/Observe"),
    operate("/godwit.v1.OperationService/ObserveComposite"),
    operate("/godwit.v1.OperationService/CancelObservation"),
    read("/godwit.v1.OperationService/GetOperation"),
    read("/godwit.v1.OperationService/ListOperations"),
    read("/godwit.v1.OperationService/WatchOperations"),
    operate("/godwit.v1.OperationService/CancelOperation"),
    read("/godwit.v1.TelemetryService/Tail"),
    read("/godwit.v1.NodeService/GetNode"),
    admin("/godwit.v1.StoreService/Reseal"),
    read("/godwit.v1.ClusterService/ListNodes"),
    read("/godwit.v1.ClusterService/GetOwner"),
    admin("/godwit.v1.ClusterService/DrainNode"),
    open("/grpc.health.v1.Health/Check"),
    open("/grpc.health.v1.Health/Watch"),
    read("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"),
    read("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"),
];

/// The row of a method, from its HTTP path.
pub fn method(path: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_include_the_ones_before() {
        assert!(Role::Read < Role::Operate && Role::Operate < Role::Admin);
        assert_eq!("operate".parse(), Ok(Role::Operate));
        assert_eq!("Admin".parse::<Role>(), Err(NotARole));
    }

    #[test]
    fn a_method_without_a_row_is_not_found() {
        assert_eq!(method("/godwit.v1.DeviceService/DropAll"), None);
        assert!(method("/godwit.v1.DeviceService/GetDevice").is_some());
    }
}
