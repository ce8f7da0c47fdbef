//! LwM2M (OMA 1.0.2, 1.1.1, 1.2.2), sans-IO.

pub mod attributes;
pub mod entry;
pub mod format;
pub mod link;
pub mod model;
pub mod operation;
pub mod path;
pub mod refusal;
pub mod registration;
pub mod value;
