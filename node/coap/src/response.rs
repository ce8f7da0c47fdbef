//! A response as the layers above write and read it: options taken apart, the body whole.

use crate::{Block, Code, ETag};

/// A response, without message id and token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Success or failure.
    pub code: Code,
    /// The Content-Format of the payload.
    pub content_format: Option<u16>,
    /// The sequence number of a notification (RFC 7641 §3.4), at most 2²⁴ − 1.
    pub observe: Option<u32>,
    /// Location-Path, one segment each.
    pub location_path: Vec<String>,
    /// Location-Query, one parameter each.
    pub location_query: Vec<String>,
    /// Seconds for which the answer is fresh, or after which to try again (5.03).
    pub max_age: Option<u32>,
    /// The entity tag of the payload.
    pub etag: Option<ETag>,
    /// With 4.13: the largest body that is accepted.
    pub size1: Option<u32>,
    /// The size of the whole body, where told.
    pub size2: Option<u32>,
    /// In a received first part of a longer body (see [`Event::Notification`](crate::Event::Notification)): which
    /// part. Otherwise `None`; not looked at when sending.
    pub block2: Option<Block>,
    /// The body, or a diagnostic in UTF-8 if the code is an error and there is no Content-Format.
    pub payload: Vec<u8>,
}

impl Response {
    /// A response with nothing but its code.
    pub fn new(code: Code) -> Self {
        Self {
            code,
            content_format: None,
            observe: None,
            location_path: Vec::new(),
            location_query: Vec::new(),
            max_age: None,
            etag: None,
            size1: None,
            size2: None,
            block2: None,
            payload: Vec::new(),
        }
    }

    /// An error with words for a person (RFC 7252 §5.5.2).
    pub fn diagnostic(code: Code, text: impl Into<String>) -> Self {
        Self { payload: text.into().into_bytes(), ..Self::new(code) }
    }

    /// Sets the body and its format.
    #[must_use]
    pub fn content(mut self, format: u16, payload: impl Into<Vec<u8>>) -> Self {
        self.content_format = Some(format);
        self.payload = payload.into();
        self
    }

    /// Sets the body alone.
    #[must_use]
    pub fn payload(mut self, payload: impl Into<Vec<u8>>) -> Self {
        self.payload = payload.into();
        self
    }

    /// Appends the segments of `path`, split at slashes, to Location-Path.
    #[must_use]
    pub fn location(mut self, path: &str) -> Self {
        self.location_path.extend(path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned));
        self
    }

    /// Sets the sequence number of a notification; only its low 24 bits go out.
    #[must_use]
    pub fn observe(mut self, sequence: u32) -> Self {
        self.observe = Some(sequence);
        self
    }

    /// Sets Max-Age in seconds.
    #[must_use]
    pub fn max_age(mut self, seconds: u32) -> Self {
        self.max_age = Some(seconds);
        self
    }

    /// Sets the entity tag.
    #[must_use]
    pub fn etag(mut self, etag: ETag) -> Self {
        self.etag = Some(etag);
        self
    }

    /// Sets Size1: with 4.13, the largest body that is accepted.
    #[must_use]
    pub fn size1(mut self, bytes: u32) -> Self {
        self.size1 = Some(bytes);
        self
    }

    /// The diagnostic words of an error, if they are UTF-8.
    pub fn diagnostic_text(&self) -> Option<&str> {
        if self.code.is_success() || self.content_format.is_some() || self.payload.is_empty() {
            return None;
        }
        std::str::from_utf8(&self.payload).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_error_without_format_has_a_diagnostic() {
        assert_eq!(Response::diagnostic(Code::BAD_REQUEST, "no lt").diagnostic_text(), Some("no lt"));
        assert_eq!(Response::new(Code::CONTENT).payload("x").diagnostic_text(), None);
        assert_eq!(Response::new(Code::BAD_REQUEST).content(0, "x").diagnostic_text(), None);
    }
}
