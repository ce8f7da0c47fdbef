//! `TelemetryService`.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use godwit_lwm2m::path::Path;
use godwit_proto::v1::{
    TailRequest, TailResponse, TelemetryRecord, tail_response::Event,
    telemetry_service_server::TelemetryService,
};
use tonic::{Request, Response, Status};

use super::Answers;
use crate::{
    admin::{
        error::{AdminError, invalid},
        name,
        room::Room,
    },
    telemetry::{Filter, Item, RecordKind},
};

/// Most entries of one list of a filter.
const MAX_FILTER: usize = 256;

/// The service.
pub(in crate::admin) struct Telemetry(pub(in crate::admin) Arc<Room>);

#[tonic::async_trait]
impl TelemetryService for Telemetry {
    type TailStream = Answers<TailResponse>;

    async fn tail(&self, request: Request<TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        let subscription = self.0.parts.tail.subscribe(filter(request.into_inner())?);
        let room = self.0.clone();
        let items = stream::unfold(Some((room, subscription)), |state| async move {
            let (room, mut subscription) = state?;
            tokio::select! {
                item = subscription.next() => match item {
                    Some(item) => Some((Ok(show(item)), Some((room, subscription)))),
                    None => Some((Err(AdminError::Stopping.into()), None)),
                },
                () = room.stopping() => Some((Err(AdminError::Stopping.into()), None)),
            }
        });
        Ok(Response::new(items.boxed()))
    }
}

fn show(item: Item) -> TailResponse {
    let event = match item {
        Item::Record(record) => Event::Record(TelemetryRecord::from(&*record)),
        Item::Missed(missed) => Event::Missed(missed),
    };
    TailResponse { event: Some(event) }
}

fn filter(request: TailRequest) -> Result<Filter, AdminError> {
    let sizes = [
        ("endpoints", request.endpoints.len()),
        ("profiles", request.profiles.len()),
        ("paths", request.paths.len()),
        ("kinds", request.kinds.len()),
    ];
    if let Some((field, size)) = sizes.into_iter().find(|(_, size)| *size > MAX_FILTER) {
        return Err(invalid(field, format!("has {size} entries, must have at most {MAX_FILTER}")));
    }
    for (index, profile) in request.profiles.iter().enumerate() {
        name::profile(&format!("profiles[{index}]"), profile)?;
    }
    let path = |(index, text): (usize, &String)| {
        text.parse::<Path>().map_err(|error| invalid(format!("paths[{index}]"), error.to_string()))
    };
    let kind = |(index, text): (usize, &String)| {
        const ALL: [RecordKind; 5] = [
            RecordKind::Telemetry,
            RecordKind::Attributes,
            RecordKind::Events,
            RecordKind::Operations,
            RecordKind::Raw,
        ];
        ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            invalid(format!("kinds[{index}]"), "must be telemetry, attributes, events, operations or raw")
        })
    };
    Ok(Filter {
        paths: request.paths.iter().enumerate().map(path).collect::<Result<_, _>>()?,
        kinds: request.kinds.iter().enumerate().map(kind).collect::<Result<_, _>>()?,
        endpoints: request.endpoints,
        profiles: request.profiles,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_entry_of_a_filter_is_named() {
        let field = |request| match filter(request) {
            Err(AdminError::Invalid { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        assert_eq!(field(TailRequest { paths: texts(&["/3", "3/x"]), ..Default::default() }), "paths[1]");
        assert_eq!(field(TailRequest { kinds: texts(&["logs"]), ..Default::default() }), "kinds[0]");
        assert_eq!(field(TailRequest { profiles: texts(&["a b"]), ..Default::default() }), "profiles[0]");
        let many = TailRequest { endpoints: vec!["x".into(); MAX_FILTER + 1], ..Default::default() };
        assert_eq!(field(many), "endpoints");
    }
}
