//! A request that is answered by an error.

use std::fmt;

use godwit_coap::{Code, Response};

/// The answer to a request that cannot be taken: a code of class 4, and words for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// The response code.
    pub code: Code,
    /// Goes out as diagnostic payload (RFC 7252 §5.5.2).
    pub diagnostic: String,
}

impl Refusal {
    /// A refusal by this code.
    pub fn new(code: Code, diagnostic: impl Into<String>) -> Self {
        Self { code, diagnostic: diagnostic.into() }
    }

    /// 4.00
    pub fn bad_request(diagnostic: impl Into<String>) -> Self {
        Self::new(Code::BAD_REQUEST, diagnostic)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.diagnostic)
    }
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        Response::diagnostic(refusal.code, refusal.diagnostic)
    }
}
