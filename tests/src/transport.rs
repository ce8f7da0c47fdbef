//! What lies beneath the clients of scenarios that run over plain CoAP, and again over DTLS.

use std::env;

use crate::Node;

/// In a test binary named `over_psk`, the pre-shared key that this device has from now on; elsewhere none.
pub(crate) fn key(node: &Node, endpoint: &str) -> Option<[u8; 16]> {
    let own = env::current_exe().ok()?;
    own.file_name()?.to_str()?.strip_prefix("over_psk-")?;
    let key = [0xc5; 16];
    node.admin().ensure_psk(endpoint, &key);
    Some(key)
}
