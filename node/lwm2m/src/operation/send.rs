//! Send: values that a client reports on its own (Core 1.2.2 §6.4.6).

use godwit_coap::{Code, Request};

use crate::entry::Content;
use crate::format::{ContentFormat, DecodeContext, DecodeError, Limits, decode};
use crate::model::ModelSet;
use crate::path::Path;
use crate::refusal::Refusal;
use crate::registration::ObjectList;

/// Reads a `POST /dp`. Times are kept for each value; relative ones are added to `now` (Unix seconds).
///
/// 4.15 for other formats than SenML JSON, SenML CBOR and LwM2M CBOR, 4.04 for objects that the client
/// did not register, 4.13 beyond the limits, 4.00 for all else.
pub fn read_send(
    request: &Request,
    objects: &ObjectList,
    models: &ModelSet,
    now: f64,
    limits: &Limits,
) -> Result<Content, Refusal> {
    let format = request.content_format.and_then(ContentFormat::from_number);
    let format = match format {
        Some(f @ (ContentFormat::SenmlJson | ContentFormat::SenmlCbor | ContentFormat::Lwm2mCbor)) => f,
        _ => {
            return Err(Refusal::new(
                Code::UNSUPPORTED_CONTENT_FORMAT,
                "values come in content format 110, 112 or 11544",
            ));
        }
    };
    let context = DecodeContext { base: Path::ROOT, types: models, now, limits };
    let content = decode(format, &context, &request.payload).map_err(|error| {
        let code = match error {
            DecodeError::Limit { .. } => Code::REQUEST_ENTITY_TOO_LARGE,
            _ => Code::BAD_REQUEST,
        };
        Refusal::new(code, error.to_string())
    })?;
    let paths = || content.entries.iter().map(|e| &e.path).chain(&content.empty).chain(&content.nulls);
    if paths().next().is_none() {
        return Err(Refusal::bad_request("there is no value"));
    }
    // An instance may have been made since the last Update; an object cannot.
    let unknown = paths().find(|path| path.object_id().is_none_or(|id| objects.object(id).is_none()));
    match unknown {
        Some(path) => Err(Refusal::new(Code::NOT_FOUND, format!("{path} is in no registered object"))),
        None => Ok(content),
    }
}
