//! The registration interface: what a Register and an Update say (Core 1.2.2 §6.2).
//!
//! ```text
//!   POST /rd ───────▶ Registration::parse ─▶ Registration ─┐
//!                          │                               ▼
//!   POST /rd/<id> ──▶ Update::parse ───────▶ Update ─▶ Registration::apply
//!                          ▼
//!                       Refusal (4.00, 4.12, 4.15; never 5.xx)
//! ```
//!
//! Whether an endpoint may register at all, and under which id, is decided elsewhere.

mod binding;
mod formats;
mod links;
mod objects;
mod query;
mod root;
mod update;

use std::sync::Arc;

use godwit_coap::{Code, Request};

pub use binding::Binding;
pub use formats::FormatSet;
pub use links::RegisteredLinks;
pub use objects::{ObjectList, ObjectLists, RegisteredObject};
use query::Query;
pub use root::RootPath;
pub use update::Update;

use crate::format::ContentFormat;
use crate::model::LwM2mVersion;
use crate::refusal::Refusal;

/// Seconds that count when a Register names no `lt` (Core 1.2.2 §6.2.1).
pub const DEFAULT_LIFETIME: u32 = 86_400;

/// Bounds on what a client may register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Longest lifetime in seconds, and what `lt=0` (for ever, from 1.1 on) stands for; longer ones
    /// are cut silently. Default 365 days.
    pub lifetime_cap: u32,
    /// Longest endpoint name in bytes. Default 252, the most that fits behind `ep=` in one option.
    pub endpoint_bytes: usize,
    /// Most parameters that LwM2M does not define. Default 16.
    pub parameters: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self { lifetime_cap: 365 * 86_400, endpoint_bytes: 252, parameters: 16 }
    }
}

/// A client's registration as its Register, and the Updates since, made it.
///
/// 120 bytes, the endpoint name and what it holds of texts, besides [`objects`](Self::objects), which
/// [`ObjectLists`] shares between devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// `ep`; under DTLS it may be missing, and the identity names the endpoint.
    pub endpoint: Option<String>,
    /// `lwm2m`, 1.0 when missing.
    pub version: LwM2mVersion,
    /// Seconds until the registration ends without an Update.
    pub lifetime: u32,
    /// Transports.
    pub binding: Binding,
    /// Whether the client sleeps between its messages.
    pub queue_mode: bool,
    /// Number for SMS.
    pub sms: Option<Box<str>>,
    /// `pid` of 1.2, unread: we know no profiles of links, so that a payload is always needed.
    pub profile_id: Option<Box<str>>,
    /// Where the objects are.
    pub root: RootPath,
    /// Content formats that the client listed; empty when it listed none.
    pub formats: FormatSet,
    /// Objects and instances.
    pub objects: Arc<ObjectList>,
    /// Parameters that LwM2M does not define, in order.
    pub parameters: Vec<(Box<str>, Option<Box<str>>)>,
}

impl Registration {
    /// Reads a Register.
    ///
    /// 4.12 for an unknown version, 4.15 for a payload that is no link format, 4.00 for all else. A
    /// missing Content-Format is taken for link format.
    pub fn parse(request: &Request, policy: &Policy) -> Result<Self, Refusal> {
        let query = Query::parse(&request.uri_query, policy)?;
        let version = version(&query)?;
        let endpoint = query.endpoint(policy)?;
        let lifetime = query.lifetime(version, policy)?.unwrap_or(DEFAULT_LIFETIME.min(policy.lifetime_cap));
        let (binding, queued) = query.binding(version)?.unwrap_or_default();
        let sms = query.sms()?;
        check_format(request)?;
        if request.payload.is_empty() {
            return Err(Refusal::bad_request(match query.profile_id {
                Some(_) => "links: no payload, and this pid is not known",
                None => "links: no payload",
            }));
        }
        let links = RegisteredLinks::parse(&request.payload, version, &RootPath::default())?;
        Ok(Self {
            endpoint,
            version,
            lifetime,
            binding,
            queue_mode: queued || query.queue_mode,
            sms,
            profile_id: query.profile_id.map(Into::into),
            root: links.root.unwrap_or_default(),
            formats: links.formats.unwrap_or_default(),
            objects: links.objects,
            parameters: query.custom,
        })
    }
}

fn version(query: &Query<'_>) -> Result<LwM2mVersion, Refusal> {
    let Some(text) = query.version else { return Ok(LwM2mVersion::V1_0) };
    LwM2mVersion::parse(text).ok_or_else(|| {
        let asked = query::cut(text);
        Refusal::new(Code::PRECONDITION_FAILED, format!("LwM2M {asked:?} is not spoken here: 1.0, 1.1, 1.2"))
    })
}

fn check_format(request: &Request) -> Result<(), Refusal> {
    match request.content_format {
        Some(number) if number != ContentFormat::CoreLink.number() && !request.payload.is_empty() => {
            Err(Refusal::new(
                Code::UNSUPPORTED_CONTENT_FORMAT,
                format!("links come in content format 40, not {number}"),
            ))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
