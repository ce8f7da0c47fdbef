//! Names that only the caller can give, as they must be unique and lead back to a shard and a store.

use crate::{
    cid::Cid,
    session::{SessionId, SessionName},
};

/// Makes the names of new sessions. Both are needed before a client has told who it is.
pub trait Naming {
    /// A new Connection ID that steers to this shard. Minted for each handshake, also where none goes on the wire.
    fn name(&mut self) -> Cid;

    /// A new session id. `name` is that of the full handshake's keys, so that the id can lead to it without a pointer of its
    /// own; after resumptions it is not the current one's.
    fn session_id(&mut self, name: &SessionName) -> SessionId;
}
