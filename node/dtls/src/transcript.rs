//! The handshake's messages as one hash (RFC 5246 §7.4.9, RFC 6347 §4.2.6).

use ring::digest::{Context, SHA256};

use crate::message::Message;

/// Every message from the second ClientHello on, of both sides, in the order of the protocol and as if none had been
/// cut. The first ClientHello and the HelloVerifyRequest are not in it; repeated messages are there once.
#[derive(Clone)]
pub struct Transcript {
    hash: Context,
    /// A signature is made over the messages themselves; without a client certificate nobody asks for them.
    messages: Option<Vec<u8>>,
}

impl Transcript {
    /// Keeps the messages until [`Transcript::forget_messages`]: some KiB with certificates.
    pub fn new() -> Self {
        Transcript { hash: Context::new(&SHA256), messages: Some(Vec::new()) }
    }

    /// The next message of either side.
    pub fn add(&mut self, message: &Message) {
        for part in [&message.header()[..], &message.body] {
            self.hash.update(part);
            if let Some(messages) = &mut self.messages {
                messages.extend_from_slice(part);
            }
        }
    }

    /// Of what was added so far: for the extended master secret (RFC 7627 §3) and for Finished.
    pub fn hash(&self) -> [u8; 32] {
        let digest = self.hash.clone().finish();
        digest.as_ref().try_into().expect("invariant: SHA-256 has 32 bytes")
    }

    /// What a CertificateVerify signs (RFC 5246 §7.4.8); empty once forgotten.
    pub fn messages(&self) -> &[u8] {
        self.messages.as_deref().unwrap_or_default()
    }

    /// Goes on with the hash alone.
    pub fn forget_messages(&mut self) {
        self.messages = None;
    }
}

impl Default for Transcript {
    fn default() -> Self {
        Self::new()
    }
}

/// Without the messages, which hold identities.
impl std::fmt::Debug for Transcript {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transcript").field("kept", &self.messages().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessageType;

    #[test]
    fn forgetting_the_messages_keeps_the_hash() {
        let message = |seq| Message::new(MessageType::FINISHED, seq, |out| out.extend([7; 12]));
        let mut kept = Transcript::new();
        kept.add(&message(1));
        let mut forgotten = kept.clone();
        forgotten.forget_messages();
        kept.add(&message(2));
        forgotten.add(&message(2));
        assert_eq!(kept.hash(), forgotten.hash());
        assert_eq!(kept.messages(), [message(1).to_bytes(), message(2).to_bytes()].concat());
        assert!(forgotten.messages().is_empty());
    }
}
