//! Operations of the Device Management and Information Reporting interfaces (Core 1.2.2 §6.3, §6.4).
//!
//! ```text
//!   Operation ── validate(models) ──▶ request(context) ──▶ godwit_coap::Request ─▶ client
//!                                                                                    │
//!   Answer ◀── response(context) ◀──────────── godwit_coap::Response ◀──────────────┤
//!   Answer ◀── read_notification(path) ◀────────── notifications ◀──────────────────┤
//!   Content ◀─ read_send(objects) ◀──────────────── POST /dp ◀──────────────────────┘
//! ```

mod arguments;
mod error;
mod preference;
mod request;
mod response;
mod send;
mod validate;

pub use arguments::{Arguments, ArgumentsError};
pub use error::{OperationError, Permission, ResponseError};
pub use preference::FormatPreference;
pub use response::{Answer, DiscoveredLink, read_notification};
pub use send::read_send;

use crate::attributes::{AttributeChange, Attributes};
use crate::entry::Entry;
use crate::format::{ContentFormat, Limits};
use crate::model::ModelSet;
use crate::path::Path;
use crate::registration::RootPath;

/// What a client is asked to do. A `format` of `None` leaves the choice to [`FormatPreference`].
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// GET: values of an object, instance, resource or resource instance.
    Read {
        /// Level 1 to 4.
        path: Path,
        /// Wanted format.
        format: Option<ContentFormat>,
    },
    /// GET of links: what is there, and its attributes.
    Discover {
        /// Level 1 to 3.
        path: Path,
        /// Levels below the path, 0 to 3 (1.2 on); `None` is the default of the path's level.
        depth: Option<u8>,
    },
    /// PUT or POST of values.
    Write {
        /// Level 2 to 4.
        path: Path,
        /// At or below the path.
        values: Vec<Entry>,
        /// What happens to what is not named.
        mode: WriteMode,
        /// Format of the body.
        format: Option<ContentFormat>,
    },
    /// PUT of attributes.
    WriteAttributes {
        /// Level 1 to 4.
        path: Path,
        /// What is set and taken back.
        attributes: AttributeChange,
    },
    /// POST to an executable resource.
    Execute {
        /// Level 3.
        path: Path,
        /// Mostly none.
        arguments: Arguments,
    },
    /// POST of a new instance.
    Create {
        /// The object.
        object: u16,
        /// Its id; `None` lets the client choose.
        instance: Option<u16>,
        /// Values of the new instance. Without an id they may have any instance id, one and the same.
        values: Vec<Entry>,
        /// Format of the body.
        format: Option<ContentFormat>,
    },
    /// DELETE of an instance or (1.2 on) a resource instance.
    Delete {
        /// Level 2 or 4.
        path: Path,
    },
    /// FETCH: values of several paths (1.1 on).
    ReadComposite {
        /// Any level, the root too.
        paths: Vec<Path>,
        /// Format of body and answer.
        format: Option<ContentFormat>,
    },
    /// iPATCH: values in several objects (1.1 on).
    WriteComposite {
        /// Level 3 or 4.
        values: Vec<Entry>,
        /// Resource instances to be removed (SenML-ETCH and LwM2M CBOR only).
        removed: Vec<Path>,
        /// Format of the body.
        format: Option<ContentFormat>,
    },
    /// GET with Observe 0.
    Observe {
        /// Level 1 to 4.
        path: Path,
        /// Go as query parameters with the request (1.2 on); mostly none.
        attributes: Attributes,
        /// Wanted format.
        format: Option<ContentFormat>,
    },
    /// FETCH with Observe 0 (1.1 on).
    ObserveComposite {
        /// Any level, the root too.
        paths: Vec<Path>,
        /// As for a single observation.
        attributes: Attributes,
        /// Format of body and answers.
        format: Option<ContentFormat>,
    },
    /// GET with Observe 1: ends an observation, and reads a last time.
    CancelObservation {
        /// The path that is observed.
        path: Path,
        /// The format that the observation was made with.
        format: Option<ContentFormat>,
    },
    /// FETCH with Observe 1.
    CancelObservationComposite {
        /// The paths that are observed, in the same order.
        paths: Vec<Path>,
        /// The format that the observation was made with.
        format: Option<ContentFormat>,
    },
}

/// What a Write does to what it does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteMode {
    /// PUT: it goes.
    Replace,
    /// POST: it stays. Instances and multiple resources only.
    Update,
}

impl WriteMode {
    /// What is meant when nobody says: an instance keeps what is not named, a resource is replaced.
    pub fn usual(path: &Path) -> Self {
        if path.level() == 2 { Self::Update } else { Self::Replace }
    }
}

/// What an operation needs a content format for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FormatUse {
    /// Nothing.
    None,
    /// Values at or below one path.
    Values,
    /// A new instance without an id, or without values: TLV alone can say it.
    NewInstance,
    /// Values or paths anywhere.
    Composite,
}

impl FormatUse {
    /// Whether a format can be used so at all. Formats of a single value are able to carry
    /// [`Values`](Self::Values) of a resource, which is found out when they are written.
    pub const fn carries(self, format: ContentFormat) -> bool {
        let composite = matches!(
            format,
            ContentFormat::SenmlJson
                | ContentFormat::SenmlCbor
                | ContentFormat::SenmlEtchJson
                | ContentFormat::SenmlEtchCbor
                | ContentFormat::Lwm2mCbor
        );
        match self {
            Self::None => false,
            Self::Values => !matches!(format, ContentFormat::SenmlEtchJson | ContentFormat::SenmlEtchCbor),
            Self::NewInstance => matches!(format, ContentFormat::Tlv),
            Self::Composite => composite,
        }
    }
}

/// What is known of the client when a request is written or an answer read.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Comes before every path.
    pub root: &'a RootPath,
    /// Models of the registered objects.
    pub models: &'a ModelSet,
    /// The chosen format; an answer that names none is read in it.
    pub format: ContentFormat,
    /// Unix time in seconds, to which relative times of an answer are added.
    pub now: f64,
    /// Bounds on an answer's payload.
    pub limits: &'a Limits,
}

impl Operation {
    /// Name in the words of the specification.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Read { .. } => "Read",
            Self::Discover { .. } => "Discover",
            Self::Write { .. } => "Write",
            Self::WriteAttributes { .. } => "Write-Attributes",
            Self::Execute { .. } => "Execute",
            Self::Create { .. } => "Create",
            Self::Delete { .. } => "Delete",
            Self::ReadComposite { .. } => "Read-Composite",
            Self::WriteComposite { .. } => "Write-Composite",
            Self::Observe { .. } => "Observe",
            Self::ObserveComposite { .. } => "Observe-Composite",
            Self::CancelObservation { .. } => "Cancel Observation",
            Self::CancelObservationComposite { .. } => "Cancel Observation-Composite",
        }
    }

    /// The format that the request itself names.
    pub const fn format(&self) -> Option<ContentFormat> {
        match self {
            Self::Read { format, .. }
            | Self::Write { format, .. }
            | Self::Create { format, .. }
            | Self::ReadComposite { format, .. }
            | Self::WriteComposite { format, .. }
            | Self::Observe { format, .. }
            | Self::ObserveComposite { format, .. }
            | Self::CancelObservation { format, .. }
            | Self::CancelObservationComposite { format, .. } => *format,
            _ => None,
        }
    }

    /// What it needs a content format for.
    pub fn format_use(&self) -> FormatUse {
        match self {
            Self::Create { instance, values, .. } if instance.is_none() || values.is_empty() => {
                FormatUse::NewInstance
            }
            Self::Discover { .. }
            | Self::WriteAttributes { .. }
            | Self::Execute { .. }
            | Self::Delete { .. } => FormatUse::None,
            Self::Read { .. }
            | Self::Write { .. }
            | Self::Create { .. }
            | Self::Observe { .. }
            | Self::CancelObservation { .. } => FormatUse::Values,
            Self::ReadComposite { .. }
            | Self::WriteComposite { .. }
            | Self::ObserveComposite { .. }
            | Self::CancelObservationComposite { .. } => FormatUse::Composite,
        }
    }

    /// The path that it goes to; the root for composite ones.
    pub fn path(&self) -> Path {
        match self {
            Self::Read { path, .. }
            | Self::Discover { path, .. }
            | Self::Write { path, .. }
            | Self::WriteAttributes { path, .. }
            | Self::Execute { path, .. }
            | Self::Delete { path }
            | Self::Observe { path, .. }
            | Self::CancelObservation { path, .. } => *path,
            Self::Create { object, .. } => Path::object(*object),
            Self::ReadComposite { .. }
            | Self::WriteComposite { .. }
            | Self::ObserveComposite { .. }
            | Self::CancelObservationComposite { .. } => Path::ROOT,
        }
    }
}
