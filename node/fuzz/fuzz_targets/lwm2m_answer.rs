//! Answers to operations, notifications and Sends: one byte each for operation, code and format, then the body.
#![no_main]

use std::sync::LazyLock;

use godwit_coap::{Code, Request, Response};
use godwit_lwm2m::format::{ContentFormat, Limits};
use godwit_lwm2m::model::{ModelRegistry, ModelSet, ObjectVersion};
use godwit_lwm2m::operation::{Answer, Context, Operation, read_notification, read_send};
use godwit_lwm2m::path::Path;
use godwit_lwm2m::registration::{ObjectList, RootPath};
use libfuzzer_sys::fuzz_target;

const FORMATS: [u16; 12] = [0, 40, 42, 60, 110, 112, 320, 322, 11542, 11543, 11544, 7];

static MODELS: LazyLock<ModelSet> = LazyLock::new(|| {
    ModelSet::new(&ModelRegistry::builtin(), [1, 3, 3303].map(|id| (id, ObjectVersion::new(1, 1))))
});

fuzz_target!(|data: &[u8]| {
    let [operation, code, format, payload @ ..] = data else { return };
    let path = Path::object(3303);
    let operation = match operation % 6 {
        0 => Operation::Read { path, format: None },
        1 => Operation::Discover { path, depth: None },
        2 => Operation::Create { object: 3303, instance: None, values: Vec::new(), format: None },
        3 => Operation::ReadComposite { paths: vec![path], format: None },
        4 => Operation::Read { path: Path::resource(3303, 0, 5700), format: None },
        _ => Operation::Observe { path, attributes: Default::default(), format: None },
    };
    let format = FORMATS[usize::from(*format) % FORMATS.len()];
    let mut response = Response::new(Code(*code)).content(format, payload).observe(1);
    response.location_path = String::from_utf8_lossy(payload).split('/').map(str::to_owned).collect();
    let (root, limits) = (RootPath::default(), Limits::default());
    let context =
        Context { root: &root, models: &MODELS, format: ContentFormat::Tlv, now: 1.7e9, limits: &limits };
    let answer = operation.response(&response, &context);
    assert_eq!(matches!(answer, Ok(Answer::Refused { .. })), !response.code.is_success());
    let _ = read_notification(path, &response, &context);
    let request = Request::post("dp").content(format, payload);
    let objects = ObjectList::new([(3303, ObjectVersion::V1_0, false, [0])]);
    if let Err(refusal) = read_send(&request, &objects, &MODELS, 1.7e9, &limits) {
        assert_eq!(refusal.code.class(), 4);
    }
});
