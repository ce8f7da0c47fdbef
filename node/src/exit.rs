//! Exit codes that scripts can use.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Not done.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// The node can't be reached.
    Unreachable = 3,
    /// The device answered with an error.
    DeviceError = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
