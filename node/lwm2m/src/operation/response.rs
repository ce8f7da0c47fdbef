//! Answers of clients.

use godwit_coap::{Code, Response};

use super::{Context, Operation, ResponseError};
use crate::attributes::{AttributeError, LinkAttributes};
use crate::entry::Content;
use crate::format::{ContentFormat, DecodeContext, decode};
use crate::link::{self, Link};
use crate::path::Path;

/// What a client answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Values: 2.05 to Read and its kin, or a notification. An Observe that is answered so is *not*
    /// established.
    Values(Content),
    /// Values, and the observation is established: 2.05 with this Observe number, or a notification.
    Observing {
        /// The values.
        content: Content,
        /// The Observe number (RFC 7641 §3.4).
        sequence: u32,
    },
    /// Links: 2.05 to Discover.
    Links(Vec<DiscoveredLink>),
    /// 2.01. The path of the new instance, unless neither the client nor the request named it.
    Created(Option<Path>),
    /// 2.04
    Changed,
    /// 2.02
    Deleted,
    /// 4.xx or 5.xx, passed through.
    Refused {
        /// The client's code.
        code: Code,
        /// Its words, if it sent any in UTF-8.
        diagnostic: String,
    },
}

impl Answer {
    /// Whether the client cannot do the content format (4.06, 4.15): the same may be tried in
    /// [the next one](super::FormatPreference::next).
    pub fn refuses_format(&self) -> bool {
        let codes = [Code::NOT_ACCEPTABLE, Code::UNSUPPORTED_CONTENT_FORMAT];
        matches!(self, Self::Refused { code, .. } if codes.contains(code))
    }
}

/// A link of a Discover answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveredLink {
    /// Without the client's root.
    pub path: Path,
    /// The link as it came.
    pub link: Link<'static>,
}

impl DiscoveredLink {
    /// The attributes that we know; an error when one of them is not what it should be.
    pub fn attributes(&self) -> Result<LinkAttributes, AttributeError> {
        LinkAttributes::from_link(&self.link)
    }
}

impl Operation {
    /// Reads the answer to this operation. An error code is an answer; an [`Err`] is what we cannot make
    /// sense of.
    pub fn response(&self, response: &Response, context: &Context<'_>) -> Result<Answer, ResponseError> {
        if !response.code.is_success() {
            return Ok(refused(response));
        }
        let expected = match self {
            Self::Create { .. } => Code::CREATED,
            Self::Delete { .. } => Code::DELETED,
            Self::Write { .. }
            | Self::WriteAttributes { .. }
            | Self::Execute { .. }
            | Self::WriteComposite { .. } => Code::CHANGED,
            _ => Code::CONTENT,
        };
        if response.code != expected {
            return Err(ResponseError::UnexpectedCode { operation: self.name(), code: response.code });
        }
        match self {
            Self::Create { object, instance, .. } => created(*object, *instance, response, context),
            Self::Delete { .. } => Ok(Answer::Deleted),
            Self::Discover { .. } => discovered(response, context),
            Self::Observe { .. } | Self::ObserveComposite { .. } => values(self.path(), response, context),
            _ if expected == Code::CHANGED => Ok(Answer::Changed),
            _ => content(self.path(), response, context).map(Answer::Values),
        }
    }
}

/// Reads a notification of an observation of `base`, the root for composite ones. Its error codes end the
/// observation.
pub fn read_notification(
    base: Path,
    response: &Response,
    context: &Context<'_>,
) -> Result<Answer, ResponseError> {
    match response.code {
        Code::CONTENT => values(base, response, context),
        code if code.is_success() => Err(ResponseError::UnexpectedCode { operation: "Observe", code }),
        _ => Ok(refused(response)),
    }
}

fn refused(response: &Response) -> Answer {
    let diagnostic = response.diagnostic_text().unwrap_or_default().to_owned();
    Answer::Refused { code: response.code, diagnostic }
}

fn values(base: Path, response: &Response, context: &Context<'_>) -> Result<Answer, ResponseError> {
    let content = content(base, response, context)?;
    Ok(match response.observe {
        Some(sequence) => Answer::Observing { content, sequence },
        None => Answer::Values(content),
    })
}

fn content(base: Path, response: &Response, context: &Context<'_>) -> Result<Content, ResponseError> {
    let format = match response.content_format {
        Some(number) => ContentFormat::from_number(number).ok_or(ResponseError::ContentFormat(number))?,
        None => context.format,
    };
    let Context { models, now, limits, .. } = *context;
    Ok(decode(format, &DecodeContext { base, types: models, now, limits }, &response.payload)?)
}

/// Links that name no LwM2M path are passed over. Some clients leave their root out.
fn discovered(response: &Response, context: &Context<'_>) -> Result<Answer, ResponseError> {
    if let Some(number) = response.content_format.filter(|n| *n != ContentFormat::CoreLink.number()) {
        return Err(ResponseError::ContentFormat(number));
    }
    let mut found = Vec::new();
    for link in link::parse(&response.payload)? {
        let path = context.root.strip(&link.target).or_else(|| link.target.parse().ok());
        if let Some(path) = path.filter(|path| path.level() > 0) {
            found.push(DiscoveredLink { path, link: link.into_owned() });
        }
    }
    Ok(Answer::Links(found))
}

fn created(
    object: u16,
    instance: Option<u16>,
    response: &Response,
    context: &Context<'_>,
) -> Result<Answer, ResponseError> {
    let location = response.location_path.join("/");
    if location.is_empty() {
        return Ok(Answer::Created(instance.map(|id| Path::instance(object, id))));
    }
    let root = context.root.segments().count();
    let below = if response.location_path.iter().zip(context.root.segments()).all(|(a, b)| a == b) {
        response.location_path.get(root..).unwrap_or_default()
    } else {
        &response.location_path
    };
    let path = below.join("/").parse::<Path>().ok();
    match path.filter(|p| p.level() == 2 && p.object_id() == Some(object)) {
        Some(path) if instance.is_none_or(|id| path.instance_id() == Some(id)) => {
            Ok(Answer::Created(Some(path)))
        }
        _ => Err(ResponseError::Location(location)),
    }
}
