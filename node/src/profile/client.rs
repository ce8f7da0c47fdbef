//! What the plans must know of a registered client.

use godwit_lwm2m::{model::ModelSet, registration::ObjectList};

/// A registered client, as plans see it.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// What it registered.
    pub registered: &'a ObjectList,
    /// The models of its objects.
    pub models: &'a ModelSet,
    /// Whether it knows composite operations: LwM2M 1.1 and later.
    pub composite: bool,
}
