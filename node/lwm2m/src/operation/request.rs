//! Operations as CoAP requests (Transport 1.2.2 §6.4).

use godwit_coap::{Method, Request};

use super::{Context, FormatUse, Operation, OperationError, WriteMode};
use crate::attributes::AttributeChange;
use crate::entry::{Content, Entry};
use crate::format::{ContentFormat, encode, encode_content, encode_paths};
use crate::path::{Path, UNASSIGNED};

/// Observe option values (RFC 7641 §2).
const REGISTER: u32 = 0;
const DEREGISTER: u32 = 1;

impl Operation {
    /// Writes the request, in `context.format` where one is needed. Validates first.
    pub fn request(&self, context: &Context<'_>) -> Result<Request, OperationError> {
        self.validate(context.models)?;
        let format = context.format;
        if self.format_use() != FormatUse::None && !self.format_use().carries(format) {
            return Err(OperationError::Format { operation: self.name(), format });
        }
        let number = format.number();
        let to = |method| addressed(method, context, &self.path());
        Ok(match self {
            Self::Read { .. } => to(Method::Get).accept(number),
            Self::Discover { depth, .. } => {
                let request = to(Method::Get).accept(ContentFormat::CoreLink.number());
                match depth {
                    Some(depth) => request.query(format!("depth={depth}")),
                    None => request,
                }
            }
            Self::Write { path, values, mode, .. } => {
                let method = match mode {
                    WriteMode::Replace => Method::Put,
                    WriteMode::Update => Method::Post,
                };
                // Nothing at all is said by an empty list: the instance or resource loses what it has.
                let empty = if values.is_empty() { vec![*path] } else { Vec::new() };
                let content = Content { entries: values.clone(), empty, nulls: Vec::new() };
                to(method).content(number, encode_content(format, *path, &content, context.models)?)
            }
            Self::WriteAttributes { attributes, .. } => queries(to(Method::Put), attributes),
            Self::Execute { arguments, .. } if arguments.is_empty() => to(Method::Post),
            Self::Execute { arguments, .. } => {
                to(Method::Post).content(ContentFormat::Text.number(), arguments.to_string())
            }
            Self::Create { object, instance, values, .. } => {
                let content = created(*object, *instance, values);
                let body = encode_content(format, Path::object(*object), &content, context.models)?;
                to(Method::Post).content(number, body)
            }
            Self::Delete { .. } => to(Method::Delete),
            Self::ReadComposite { paths, .. } => {
                to(Method::Fetch).accept(number).content(number, encode_paths(format, paths)?)
            }
            Self::WriteComposite { values, removed, .. } => {
                let body = if removed.is_empty() {
                    encode(format, Path::ROOT, values, context.models)?
                } else {
                    let content =
                        Content { entries: values.clone(), empty: Vec::new(), nulls: removed.clone() };
                    encode_content(format, Path::ROOT, &content, context.models)?
                };
                to(Method::IPatch).content(number, body)
            }
            Self::Observe { attributes, .. } => {
                queries(to(Method::Get).observe(REGISTER).accept(number), &(*attributes).into())
            }
            Self::ObserveComposite { paths, attributes, .. } => {
                let request = to(Method::Fetch).observe(REGISTER).accept(number);
                queries(request, &(*attributes).into()).content(number, encode_paths(format, paths)?)
            }
            Self::CancelObservation { .. } => to(Method::Get).observe(DEREGISTER).accept(number),
            Self::CancelObservationComposite { paths, .. } => to(Method::Fetch)
                .observe(DEREGISTER)
                .accept(number)
                .content(number, encode_paths(format, paths)?),
        })
    }
}

fn addressed(method: Method, context: &Context<'_>, path: &Path) -> Request {
    let root = context.root.segments().map(str::to_owned);
    let uri_path = root.chain(path.segments().iter().map(u16::to_string)).collect();
    Request { uri_path, ..Request::new(method) }
}

fn queries(request: Request, attributes: &AttributeChange) -> Request {
    attributes.queries().into_iter().fold(request, Request::query)
}

/// The values of a Create under the id of the instance, or under the one that stands for *the client
/// chooses*.
fn created(object: u16, instance: Option<u16>, values: &[Entry]) -> Content {
    let id = instance.unwrap_or(UNASSIGNED);
    let moved = |path: &Path| {
        let mut ids = path.segments().to_vec();
        if let Some(instance) = ids.get_mut(1) {
            *instance = id;
        }
        Path::from_segments(&ids).unwrap_or(*path)
    };
    let entries = values.iter().map(|entry| Entry { path: moved(&entry.path), ..entry.clone() }).collect();
    let bare = instance.filter(|_| values.is_empty());
    let empty = bare.map(|id| Path::instance(object, id)).into_iter().collect();
    Content { entries, empty, nulls: Vec::new() }
}
