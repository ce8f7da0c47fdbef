//! A request as the layers above write and read it: options taken apart, the body whole.

use crate::{ETag, Method};

/// A request, without message id, token and the options of block-wise transfer, which [`Peer`](crate::Peer) adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub method: Method,
    /// Uri-Path, one segment each, percent-decoded by nature. Empty is the root.
    pub uri_path: Vec<String>,
    /// Uri-Query, one parameter each, as `name=value` or `name`.
    pub uri_query: Vec<String>,
    /// The Content-Format that the answer must have.
    pub accept: Option<u16>,
    /// The Content-Format of the payload.
    pub content_format: Option<u16>,
    /// 0 registers, 1 cancels an observation (RFC 7641 §2). A received one is at most 2²⁴ − 1.
    pub observe: Option<u32>,
    /// An entity tag that the client holds already (RFC 7252 §5.10.6.2): 2.03 may answer.
    pub etag: Option<ETag>,
    /// Entity tags of which one must be current (RFC 7252 §5.10.8.1).
    pub if_match: Vec<ETag>,
    /// Whether the target must not exist yet (RFC 7252 §5.10.8.2).
    pub if_none_match: bool,
    /// The body.
    pub payload: Vec<u8>,
}

impl Request {
    /// A request to the root path with nothing else.
    pub fn new(method: Method) -> Self {
        Self {
            method,
            uri_path: Vec::new(),
            uri_query: Vec::new(),
            accept: None,
            content_format: None,
            observe: None,
            etag: None,
            if_match: Vec::new(),
            if_none_match: false,
            payload: Vec::new(),
        }
    }

    /// A GET of `path`, written with slashes.
    pub fn get(path: &str) -> Self {
        Self::new(Method::Get).path(path)
    }

    /// A POST to `path`.
    pub fn post(path: &str) -> Self {
        Self::new(Method::Post).path(path)
    }

    /// A PUT to `path`.
    pub fn put(path: &str) -> Self {
        Self::new(Method::Put).path(path)
    }

    /// A DELETE of `path`.
    pub fn delete(path: &str) -> Self {
        Self::new(Method::Delete).path(path)
    }

    /// A FETCH of `path`.
    pub fn fetch(path: &str) -> Self {
        Self::new(Method::Fetch).path(path)
    }

    /// Appends the segments of `path`, split at slashes; empty ones are left out.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        self.uri_path.extend(path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned));
        self
    }

    /// Appends one segment, slashes and all.
    #[must_use]
    pub fn segment(mut self, segment: impl Into<String>) -> Self {
        self.uri_path.push(segment.into());
        self
    }

    /// Appends one query parameter.
    #[must_use]
    pub fn query(mut self, parameter: impl Into<String>) -> Self {
        self.uri_query.push(parameter.into());
        self
    }

    /// Sets the format that the answer must have.
    #[must_use]
    pub fn accept(mut self, format: u16) -> Self {
        self.accept = Some(format);
        self
    }

    /// Sets Observe: 0 registers, 1 cancels.
    #[must_use]
    pub fn observe(mut self, value: u32) -> Self {
        self.observe = Some(value);
        self
    }

    /// Adds an If-Match tag.
    #[must_use]
    pub fn if_match(mut self, etag: ETag) -> Self {
        self.if_match.push(etag);
        self
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

    /// The value of the first query parameter `name=value`; `Some("")` for a bare `name`.
    pub fn query_value(&self, name: &str) -> Option<&str> {
        self.uri_query.iter().find_map(|parameter| match parameter.split_once('=') {
            Some((key, value)) => (key == name).then_some(value),
            None => (parameter == name).then_some(""),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_at_slashes() {
        assert_eq!(Request::get("/3/0/9").uri_path, ["3", "0", "9"]);
        assert_eq!(Request::get("rd").segment("a/b").uri_path, ["rd", "a/b"]);
        assert!(Request::get("/").uri_path.is_empty());
    }

    #[test]
    fn a_query_value_is_found_by_name() {
        let request = Request::post("rd").query("ep=a=b").query("Q");
        assert_eq!(request.query_value("ep"), Some("a=b"));
        assert_eq!(request.query_value("Q"), Some(""));
        assert_eq!(request.query_value("lt"), None);
    }
}
