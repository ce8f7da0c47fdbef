//! Operations: what goes out, and what is made of the answers.

#![allow(clippy::unwrap_used)]

use godwit_coap::{Code, Method, Request, Response};
use godwit_lwm2m::attributes::{AttributeChange, AttributeError, Attributes, Contradiction};
use godwit_lwm2m::entry::{Content, Entry};
use godwit_lwm2m::format::{ContentFormat, DecodeContext, Limits, NoTypes, decode, decode_paths, encode};
use godwit_lwm2m::model::{LwM2mVersion, ModelRegistry, ModelSet, ObjectVersion};
use godwit_lwm2m::operation::*;
use godwit_lwm2m::path::Path;
use godwit_lwm2m::registration::{FormatSet, ObjectList, RootPath};
use godwit_lwm2m::value::Value;
use proptest::prelude::*;

const LIMITS: Limits = Limits { bytes: 65536, entries: 8192, depth: 16 };
const NOW: f64 = 1_700_000_000.0;

struct Client {
    root: RootPath,
    models: ModelSet,
}

impl Client {
    fn new() -> Self {
        let version = ObjectVersion::new(1, 1);
        let models = ModelSet::new(&ModelRegistry::builtin(), [1, 3, 3303, 3342].map(|id| (id, version)));
        Self { root: RootPath::default(), models }
    }

    fn context(&self, format: ContentFormat) -> Context<'_> {
        Context { root: &self.root, models: &self.models, format, now: NOW, limits: &LIMITS }
    }

    fn request(&self, operation: &Operation, format: ContentFormat) -> Result<Request, OperationError> {
        operation.request(&self.context(format))
    }

    fn response(&self, operation: &Operation, response: &Response) -> Result<Answer, ResponseError> {
        operation.response(response, &self.context(ContentFormat::Tlv))
    }
}

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

fn entry(at: &str, value: Value) -> Entry {
    Entry::new(path(at), value)
}

fn read(at: &str) -> Operation {
    Operation::Read { path: path(at), format: None }
}

fn line(request: &Request) -> String {
    let mut line = format!("{:?} /{}", request.method, request.uri_path.join("/"));
    for (name, value) in [
        ("?", (!request.uri_query.is_empty()).then(|| request.uri_query.join("&"))),
        (" accept=", request.accept.map(|n| n.to_string())),
        (" observe=", request.observe.map(|n| n.to_string())),
        (" format=", request.content_format.map(|n| n.to_string())),
    ] {
        if let Some(value) = value {
            line.push_str(name);
            line.push_str(&value);
        }
    }
    line
}

fn body(request: &Request, base: &str) -> Content {
    let format = ContentFormat::from_number(request.content_format.unwrap()).unwrap();
    let context = DecodeContext { base: path(base), types: &Client::new().models, now: NOW, limits: &LIMITS };
    decode(format, &context, &request.payload).unwrap()
}

#[test]
fn each_operation_becomes_its_request() {
    let client = Client::new();
    let attributes = Attributes { pmin: Some(10), gt: Some(1.5), ..Attributes::default() };
    let unset = AttributeChange::parse(["pmax=60", "st"]).unwrap();
    let value = path("/3303/0/5700");
    let temperature = vec![entry("/3303/0/5750", Value::String("roof".into()))];
    let both = vec![path("/3/0/9"), path("/3303/0")];
    let tlv = ContentFormat::Tlv;
    let senml = ContentFormat::SenmlCbor;
    for (operation, format, expected) in [
        (read("/3"), tlv, "Get /3 accept=11542"),
        (read("/3/0/6/1"), senml, "Get /3/0/6/1 accept=112"),
        (Operation::Discover { path: path("/3"), depth: None }, tlv, "Get /3 accept=40"),
        (Operation::Discover { path: path("/3/0"), depth: Some(3) }, tlv, "Get /3/0?depth=3 accept=40"),
        (
            Operation::WriteAttributes { path: value, attributes: attributes.into() },
            tlv,
            "Put /3303/0/5700?pmin=10&gt=1.5",
        ),
        (Operation::WriteAttributes { path: value, attributes: unset }, tlv, "Put /3303/0/5700?pmax=60&st"),
        (Operation::Execute { path: path("/3/0/4"), arguments: Arguments::default() }, tlv, "Post /3/0/4"),
        (
            Operation::Execute { path: path("/3/0/4"), arguments: "5,1='a'".parse().unwrap() },
            tlv,
            "Post /3/0/4 format=0",
        ),
        (
            Operation::Write {
                path: path("/3303/0/5750"),
                values: temperature.clone(),
                mode: WriteMode::Replace,
                format: None,
            },
            ContentFormat::Text,
            "Put /3303/0/5750 format=0",
        ),
        (
            Operation::Write {
                path: path("/3303/0"),
                values: temperature.clone(),
                mode: WriteMode::Update,
                format: None,
            },
            senml,
            "Post /3303/0 format=112",
        ),
        (
            Operation::Create { object: 3303, instance: Some(0), values: temperature.clone(), format: None },
            ContentFormat::SenmlJson,
            "Post /3303 format=110",
        ),
        (Operation::Delete { path: path("/3303/0") }, tlv, "Delete /3303/0"),
        (
            Operation::ReadComposite { paths: both.clone(), format: None },
            senml,
            "Fetch / accept=112 format=112",
        ),
        (
            Operation::WriteComposite { values: temperature, removed: vec![], format: None },
            senml,
            "IPatch / format=112",
        ),
        (
            Operation::Observe { path: value, attributes: Attributes::default(), format: None },
            senml,
            "Get /3303/0/5700 accept=112 observe=0",
        ),
        (
            Operation::Observe { path: value, attributes, format: None },
            senml,
            "Get /3303/0/5700?pmin=10&gt=1.5 accept=112 observe=0",
        ),
        (
            Operation::ObserveComposite {
                paths: both.clone(),
                attributes: Attributes::default(),
                format: None,
            },
            senml,
            "Fetch / accept=112 observe=0 format=112",
        ),
        (
            Operation::CancelObservation { path: value, format: None },
            senml,
            "Get /3303/0/5700 accept=112 observe=1",
        ),
        (
            Operation::CancelObservationComposite { paths: both, format: None },
            senml,
            "Fetch / accept=112 observe=1 format=112",
        ),
    ] {
        assert_eq!(
            client.request(&operation, format).map(|r| line(&r)),
            Ok(expected.into()),
            "{operation:?}"
        );
    }
}

#[test]
fn every_request_goes_under_the_clients_root() {
    let client = Client { root: RootPath::parse("/a%20b/lwm2m").unwrap(), ..Client::new() };
    let request = client.request(&read("/3/0/9"), ContentFormat::Tlv).unwrap();
    assert_eq!(request.uri_path, ["a b", "lwm2m", "3", "0", "9"]);
    let composite = Operation::ReadComposite { paths: vec![path("/3/0/9")], format: None };
    let request = client.request(&composite, ContentFormat::SenmlJson).unwrap();
    assert_eq!(request.uri_path, ["a b", "lwm2m"]);
    let paths = decode_paths(ContentFormat::SenmlJson, &request.payload, &LIMITS).unwrap();
    assert_eq!(paths, [path("/3/0/9")], "names in the body have no root");
}

#[test]
fn values_arrive_as_they_were_given() {
    let client = Client::new();
    let values = vec![
        entry("/3303/0/5750", Value::String("roof".into())),
        entry("/3303/0/5518", Value::Time(1_600_000_000)),
    ];
    for format in
        [ContentFormat::Tlv, ContentFormat::SenmlJson, ContentFormat::SenmlCbor, ContentFormat::Lwm2mCbor]
    {
        let create =
            Operation::Create { object: 3303, instance: Some(0), values: values.clone(), format: None };
        let request = client.request(&create, format).unwrap();
        let mut found = body(&request, "/3303").entries;
        found.sort_by_key(|entry| std::cmp::Reverse(entry.path));
        assert_eq!(found, values, "{format:?}");
    }
}

#[test]
fn an_instance_without_an_id_or_without_values_goes_out_in_tlv() {
    let client = Client::new();
    let operation = |instance, values| Operation::Create { object: 3303, instance, values, format: None };
    let value = |at| vec![entry(at, Value::String("roof".into()))];
    let preference =
        FormatPreference::new(LwM2mVersion::V1_1, [ContentFormat::SenmlCbor].into_iter().collect(), None);
    let request = |operation: &Operation| {
        client.request(operation, preference.pick(operation.format(), operation.format_use())).unwrap()
    };
    let unnamed = request(&operation(None, value("/3303/0/5750")));
    assert_eq!(
        (line(&unnamed).as_str(), unnamed.payload.as_slice()),
        ("Post /3303 format=11542", &b"\xe4\x16\x76roof"[..])
    );
    assert_eq!(request(&operation(None, value("/3303/7/5750"))), unnamed, "any instance id stands for none");
    assert_eq!(request(&operation(None, vec![])).payload, b"");
    assert_eq!(request(&operation(Some(3), vec![])).payload, b"\x00\x03");
    assert_eq!(line(&request(&operation(Some(3), value("/3303/3/5750")))), "Post /3303 format=112");
    let senml = client.request(&operation(None, vec![]), ContentFormat::SenmlCbor);
    assert_eq!(senml, Err(OperationError::Format { operation: "Create", format: ContentFormat::SenmlCbor }));
}

#[test]
fn what_no_client_could_do_is_refused_by_name_of_the_path() {
    let client = Client::new();
    let refused =
        |operation: Operation| client.request(&operation, ContentFormat::Tlv).unwrap_err().to_string();
    let write = |at: &str, to: &str, mode| Operation::Write {
        path: path(at),
        values: vec![entry(to, Value::String("x".into()))],
        mode,
        format: None,
    };
    let attributes = |at: &str, query: &str| Operation::WriteAttributes {
        path: path(at),
        attributes: AttributeChange::parse(query.split('&').filter(|q| !q.is_empty())).unwrap(),
    };
    let execute = |at: &str| Operation::Execute { path: path(at), arguments: Arguments::default() };
    for (operation, words) in [
        (
            read("/"),
            "Read does not go to /: a path of an object, instance, resource or resource instance is needed",
        ),
        (read("/3/65535"), "/3/65535 has the reserved id 65535"),
        (read("/3/0/4"), "/3/0/4 (Reboot) is not readable by a server"),
        (read("/3/0/9/0"), "/3/0/9/0 (Battery Level) has a single value and no instances"),
        (
            Operation::Discover { path: path("/3/0/6/1"), depth: None },
            "Discover does not go to /3/0/6/1: a path of an object, instance or resource is needed",
        ),
        (Operation::Discover { path: path("/3"), depth: Some(4) }, "depth 4 is more than 3"),
        (
            write("/3", "/3/0/9", WriteMode::Replace),
            "Write does not go to /3: a path of an instance, resource or resource instance is needed",
        ),
        (write("/3/0/9", "/3/0/9", WriteMode::Replace), "/3/0/9 (Battery Level) is not writable by a server"),
        (write("/3/0", "/3/0/9", WriteMode::Update), "/3/0/9 (Battery Level) is not writable by a server"),
        (
            write("/3/0/6/1", "/3/0/6/1", WriteMode::Update),
            "Write does not go to /3/0/6/1: a path of an instance or resource is needed",
        ),
        (write("/3/0/15", "/3/0/14", WriteMode::Replace), "/3/0/14 is outside of /3/0/15"),
        (execute("/3/0/9"), "/3/0/9 (Battery Level) is not executable by a server"),
        (execute("/3/0"), "Execute does not go to /3/0: a path of a resource is needed"),
        (attributes("/3303/0/5700", ""), "Write-Attributes needs at least one path or value"),
        (attributes("/3303/0", "gt=1"), "gt cannot be set at /3303/0"),
        (
            attributes("/3303/0/5700", "edge=1"),
            "edge makes no sense for /3303/0/5700: its values are not booleans",
        ),
        (
            attributes("/3342/0/5500", "st=1"),
            "st makes no sense for /3342/0/5500: its values are not numbers",
        ),
        (
            Operation::Create {
                object: 3303,
                instance: Some(1),
                values: vec![entry("/3303/0/5700", Value::Float(1.0))],
                format: None,
            },
            "/3303/0/5700 is not in the new instance",
        ),
        (
            Operation::Create { object: 3303, instance: Some(65535), values: vec![], format: None },
            "/3303/65535 has the reserved id 65535",
        ),
        (
            Operation::Delete { path: path("/3/0/9") },
            "Delete does not go to /3/0/9: a path of an instance or resource instance is needed",
        ),
        (
            Operation::ReadComposite { paths: vec![], format: None },
            "Read-Composite needs at least one path or value",
        ),
        (
            Operation::ReadComposite { paths: vec![path("/3/0/9")], format: None },
            "Tlv cannot be used for Read-Composite",
        ),
        (
            Operation::WriteComposite {
                values: vec![entry("/1/0/1", Value::Integer(1))],
                removed: vec![path("/3/0")],
                format: None,
            },
            "Write-Composite does not go to /3/0: a path of a resource or resource instance is needed",
        ),
    ] {
        assert_eq!(refused(operation.clone()), words, "{operation:?}");
    }
    assert_eq!(
        client.request(&attributes("/3303/0/5700", "lt=2&gt=1"), ContentFormat::Tlv),
        Err(OperationError::Attributes(AttributeError::Contradiction(Contradiction::Thresholds)))
    );
}

#[test]
fn a_value_of_the_wrong_type_is_refused_by_name_of_the_path() {
    let client = Client::new();
    let write = Operation::Write {
        path: path("/1/0/1"),
        values: vec![entry("/1/0/1", Value::String("long".into()))],
        mode: WriteMode::Replace,
        format: None,
    };
    let error = client.request(&write, ContentFormat::Tlv).unwrap_err();
    assert!(matches!(&error, OperationError::Encode(e) if e.path() == Some(path("/1/0/1"))), "{error}");
}

#[test]
fn what_no_model_knows_may_be_anything() {
    let client = Client::new();
    let write = Operation::Write {
        path: path("/40000/0/1"),
        values: vec![entry("/40000/0/1", Value::Opaque(vec![1]))],
        mode: WriteMode::Replace,
        format: None,
    };
    for operation in [read("/3/0/999"), read("/40000/0/1/2"), write] {
        assert!(client.request(&operation, ContentFormat::Tlv).is_ok(), "{operation:?}");
    }
}

#[test]
fn values_of_an_answer_are_typed_by_the_model() {
    let client = Client::new();
    let text = Response::new(Code::CONTENT).content(0, "21.5");
    let expected = vec![entry("/3303/0/5700", Value::Float(21.5))];
    assert_eq!(client.response(&read("/3303/0/5700"), &text), Ok(Answer::Values(expected.clone().into())));
    let senml = Response::new(Code::CONTENT).content(110, r#"[{"n":"/3303/0/5700","v":21.5}]"#);
    let composite = Operation::ReadComposite { paths: vec![path("/3303")], format: None };
    assert_eq!(client.response(&composite, &senml), Ok(Answer::Values(expected.into())));
}

#[test]
fn an_answer_without_a_format_is_read_in_the_one_that_was_asked_for() {
    let client = Client::new();
    let mut response = Response::new(Code::CONTENT).payload(*b"\xc1\x09\x50");
    assert_eq!(
        client.response(&read("/3/0"), &response),
        Ok(Answer::Values(vec![entry("/3/0/9", Value::Integer(80))].into()))
    );
    response.content_format = Some(50);
    assert_eq!(client.response(&read("/3/0"), &response), Err(ResponseError::ContentFormat(50)));
    response.content_format = Some(110);
    assert!(matches!(client.response(&read("/3/0"), &response), Err(ResponseError::Decode(_))));
}

#[test]
fn an_observation_is_established_by_an_observe_number_alone() {
    let client = Client::new();
    let observe =
        Operation::Observe { path: path("/3303/0/5700"), attributes: Attributes::default(), format: None };
    let content = Content::from(vec![entry("/3303/0/5700", Value::Float(1.0))]);
    let response = Response::new(Code::CONTENT).content(0, "1");
    assert_eq!(client.response(&observe, &response), Ok(Answer::Values(content.clone())));
    let established = Answer::Observing { content, sequence: 7 };
    let response = response.observe(7);
    assert_eq!(client.response(&observe, &response), Ok(established.clone()));
    let context = client.context(ContentFormat::Text);
    assert_eq!(read_notification(path("/3303/0/5700"), &response, &context), Ok(established));
    let gone = Response::diagnostic(Code::NOT_FOUND, "gone");
    let refused = Answer::Refused { code: Code::NOT_FOUND, diagnostic: "gone".into() };
    assert_eq!(read_notification(path("/3303/0/5700"), &gone, &context), Ok(refused));
    let odd = Response::new(Code::CHANGED);
    assert!(matches!(
        read_notification(path("/3303/0/5700"), &odd, &context),
        Err(ResponseError::UnexpectedCode { code: Code::CHANGED, .. })
    ));
}

#[test]
fn a_clients_error_is_passed_through_with_its_words() {
    let client = Client::new();
    for (code, words) in
        [(Code::METHOD_NOT_ALLOWED, "no"), (Code::INTERNAL_SERVER_ERROR, ""), (Code(0x9d), "?")]
    {
        let response = Response::diagnostic(code, words);
        let refused = Answer::Refused { code, diagnostic: words.into() };
        assert!(!refused.refuses_format());
        assert_eq!(client.response(&read("/3"), &response), Ok(refused));
    }
}

#[test]
fn a_client_that_cannot_do_a_format_is_asked_in_the_next() {
    let client = Client::new();
    let operation = read("/3303/0/5700");
    let mut preference = FormatPreference::new(LwM2mVersion::V1_1, FormatSet::default(), None);
    let mut asked = Vec::new();
    let mut format = Some(preference.pick(operation.format(), operation.format_use()));
    while let Some(now) = format {
        asked.push(client.request(&operation, now).unwrap().accept.unwrap());
        let code =
            if now == ContentFormat::Tlv { Code::NOT_ACCEPTABLE } else { Code::UNSUPPORTED_CONTENT_FORMAT };
        let answer = client.response(&operation, &Response::new(code)).unwrap();
        assert!(answer.refuses_format());
        format = preference.next(now, operation.format(), operation.format_use());
    }
    assert_eq!(asked, [11542, 112, 110, 11543]);
}

#[test]
fn a_code_that_belongs_to_another_operation_is_an_error() {
    let client = Client::new();
    let delete = Operation::Delete { path: path("/3303/0") };
    let execute = Operation::Execute { path: path("/3/0/4"), arguments: Arguments::default() };
    assert_eq!(client.response(&delete, &Response::new(Code::DELETED)), Ok(Answer::Deleted));
    assert_eq!(client.response(&execute, &Response::new(Code::CHANGED)), Ok(Answer::Changed));
    for (operation, code) in [
        (delete, Code::CHANGED),
        (execute, Code::CONTENT),
        (read("/3"), Code::CHANGED),
        (read("/3"), Code::VALID),
    ] {
        let error = ResponseError::UnexpectedCode { operation: operation.name(), code };
        assert_eq!(client.response(&operation, &Response::new(code)), Err(error));
    }
}

#[test]
fn a_discover_answer_is_a_list_of_paths_and_attributes() {
    let client = Client { root: RootPath::parse("/lwm2m").unwrap(), ..Client::new() };
    let discover = Operation::Discover { path: path("/3/0"), depth: None };
    let links = |payload: &str| match client
        .response(&discover, &Response::new(Code::CONTENT).content(40, payload))
    {
        Ok(Answer::Links(links)) => links,
        other => panic!("{other:?}"),
    };
    let found = links("</lwm2m/3/0>;pmin=10,</lwm2m/3/0/6>;dim=2,</3/0/9>;gt=50;lt=4.2e+21,</x>,</lwm2m>;a");
    assert_eq!(found.iter().map(|l| l.path.to_string()).collect::<Vec<_>>(), ["/3/0", "/3/0/6", "/3/0/9"]);
    assert_eq!(found[0].attributes().unwrap().notification.pmin, Some(10));
    assert_eq!(found[1].attributes().unwrap().dim, Some(2));
    assert_eq!(found[2].attributes().unwrap().notification.lt, Some(4.2e21));
    assert!(links("</3/0>;pmin=x")[0].attributes().is_err());
    let broken = Response::new(Code::CONTENT).content(40, "</3");
    assert!(matches!(client.response(&discover, &broken), Err(ResponseError::Links(_))));
    let text = Response::new(Code::CONTENT).content(0, "</3>");
    assert_eq!(client.response(&discover, &text), Err(ResponseError::ContentFormat(0)));
}

#[test]
fn the_location_of_a_create_is_its_instance() {
    let client = Client { root: RootPath::parse("/lwm2m").unwrap(), ..Client::new() };
    let create = |instance| Operation::Create { object: 3303, instance, values: vec![], format: None };
    let created = |instance, location| {
        client.response(&create(instance), &Response::new(Code::CREATED).location(location))
    };
    let at = |text| Ok(Answer::Created(Some(path(text))));
    assert_eq!(created(None, "/3303/4"), at("/3303/4"));
    assert_eq!(created(None, "/lwm2m/3303/4"), at("/3303/4"));
    assert_eq!(created(Some(4), ""), at("/3303/4"));
    assert_eq!(created(None, ""), Ok(Answer::Created(None)));
    for wrong in ["/3303", "/3304/4", "/3303/4/1", "/lwm2m", "/x/3303/4", "/3303/5"] {
        assert_eq!(created(Some(4), wrong), Err(ResponseError::Location(wrong[1..].into())), "{wrong}");
    }
}

#[test]
fn a_send_keeps_the_time_of_each_value() {
    let models = Client::new().models;
    let objects = ObjectList::new([(3303, ObjectVersion::V1_0, false, [0])]);
    let send = |format, payload: &[u8]| {
        let request = Request::post("dp").content(format, payload);
        read_send(&request, &objects, &models, NOW, &LIMITS).map_err(|refusal| refusal.code)
    };
    let history = br#"[{"bn":"/3303/0/5700","bt":1600000000,"v":20.5},{"t":-10,"v":21.5},{"bn":"/3303/1/5700","bt":-5,"v":1}]"#;
    let at = path("/3303/0/5700");
    let expected = vec![
        Entry::at(at, 1_600_000_000.0, Value::Float(20.5)),
        Entry::at(at, 1_599_999_990.0, Value::Float(21.5)),
        Entry::at(path("/3303/1/5700"), NOW - 5.0, Value::Float(1.0)),
    ];
    assert_eq!(send(110, history), Ok(expected.into()));
    let plain = vec![entry("/3303/0/5700", Value::Float(2.0))];
    for format in [ContentFormat::SenmlCbor, ContentFormat::Lwm2mCbor] {
        let payload = encode(format, Path::ROOT, &plain, &NoTypes).unwrap();
        assert_eq!(send(format.number(), &payload), Ok(plain.clone().into()), "{format:?}");
    }
    assert_eq!(send(110, br#"[{"n":"/3/0/9","v":1}]"#), Err(Code::NOT_FOUND));
    assert_eq!(send(110, b"[]"), Err(Code::BAD_REQUEST));
    assert_eq!(send(110, b"[{"), Err(Code::BAD_REQUEST));
    assert_eq!(send(110, br#"[{"n":"/3303/0/5700","vs":"x"}]"#), Err(Code::BAD_REQUEST));
    assert_eq!(send(11542, b""), Err(Code::UNSUPPORTED_CONTENT_FORMAT));
    assert_eq!(send(110, &vec![b' '; LIMITS.bytes + 1]), Err(Code::REQUEST_ENTITY_TOO_LARGE));
    let unnamed = Request { content_format: None, ..Request::post("dp").content(110, history.as_slice()) };
    let refusal = read_send(&unnamed, &objects, &models, NOW, &LIMITS).unwrap_err();
    assert_eq!(refusal.code, Code::UNSUPPORTED_CONTENT_FORMAT);
}

#[test]
fn methods_are_those_of_the_transport_binding() {
    let client = Client::new();
    let composite = Operation::ReadComposite { paths: vec![path("/3")], format: None };
    let request = client.request(&composite, ContentFormat::SenmlCbor).unwrap();
    assert_eq!((request.method, request.uri_path.len()), (Method::Fetch, 0));
}

#[test]
fn what_is_observed_can_be_cancelled_whatever_the_models_say() {
    let client = Client::new();
    let reboot = path("/3/0/4");
    let cancel = Operation::CancelObservation { path: reboot, format: None };
    assert!(client.request(&cancel, ContentFormat::Tlv).is_ok());
    let observe = Operation::Observe { path: reboot, attributes: Attributes::default(), format: None };
    assert!(client.request(&observe, ContentFormat::Tlv).is_err());
}

proptest! {
    #[test]
    fn any_answer_is_read_or_refused(
        code in any::<u8>(),
        format in proptest::option::of(prop_oneof![
            Just(0u16), Just(40), Just(42), Just(60), Just(110), Just(112), Just(11542), Just(11543), Just(11544), any::<u16>()
        ]),
        location in proptest::collection::vec("[0-9a-z/]{0,6}", 0..4),
        payload in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let client = Client::new();
        let response = Response {
            content_format: format,
            location_path: location,
            ..Response::new(Code(code)).payload(payload)
        };
        let operations = [
            read("/3303"),
            Operation::Discover { path: path("/3"), depth: None },
            Operation::Create { object: 3303, instance: None, values: vec![], format: None },
            Operation::ReadComposite { paths: vec![path("/3")], format: None },
        ];
        for operation in operations {
            let answer = client.response(&operation, &response);
            let refused = matches!(answer, Ok(Answer::Refused { .. }));
            prop_assert_eq!(refused, !response.code.is_success());
        }
    }
}
