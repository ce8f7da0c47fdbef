use proptest::prelude::*;

use super::*;
use crate::path::Path;

fn register(query: &str, payload: &str) -> Request {
    let request = query.split('&').fold(Request::post("rd"), Request::query);
    request.content(40, payload)
}

fn parse(query: &str, payload: &str) -> Result<Registration, Refusal> {
    Registration::parse(&register(query, payload), &Policy::default())
}

fn refusal(query: &str) -> (String, String) {
    let refusal = parse(query, "</3/0>").unwrap_err();
    (refusal.code.to_string(), refusal.diagnostic)
}

#[test]
fn a_register_with_nothing_but_a_name_takes_the_defaults() {
    let registration = parse("ep=a", "</3/0>").unwrap();
    assert_eq!(registration.endpoint.as_deref(), Some("a"));
    assert_eq!(registration.version, LwM2mVersion::V1_0);
    assert_eq!((registration.lifetime, registration.binding), (86_400, Binding::UDP));
    assert!(!registration.queue_mode && registration.root.is_default());
    assert!(registration.sms.is_none() && registration.parameters.is_empty());
    assert_eq!(registration.objects.instances().collect::<Vec<_>>(), [Path::instance(3, 0)]);
}

#[test]
fn a_full_register_of_each_version_is_read() {
    let old = parse("ep=a&lt=60&lwm2m=1.0&b=UQS&sms=%2b123", "</3/0>").unwrap();
    assert!(old.queue_mode && old.binding.has('S') && old.sms.as_deref() == Some("%2b123"));
    let new = parse("b=UT&lwm2m=1.1&Q&ep=a&lt=60&x=1&flag", "</3/0>").unwrap();
    assert!(new.queue_mode && new.binding.has('T') && new.lifetime == 60);
    assert_eq!(new.parameters, [("x".into(), Some("1".into())), ("flag".into(), None)]);
    let newest =
        parse("ep=a&lwm2m=1.2&b=UMH&pid=7", "</lwm2m>;rt=\"oma.lwm2m\";ct=112,</lwm2m/3/0>").unwrap();
    assert_eq!(newest.profile_id.as_deref(), Some("7"));
    assert_eq!(newest.root.to_string(), "/lwm2m/");
    assert!(newest.formats.contains(ContentFormat::SenmlCbor));
}

#[test]
fn a_lifetime_is_a_whole_number_of_seconds() {
    let no_number = "lt is no whole number of seconds";
    for (lt, words) in [
        ("abc", no_number),
        ("", no_number),
        ("-5", no_number),
        ("+5", no_number),
        ("1.5", no_number),
        ("4294967296", "lt is over 4294967295"),
        ("99999999999999999999999", "lt is over 4294967295"),
        ("0", "lt cannot be 0 in LwM2M 1.0"),
    ] {
        assert_eq!(refusal(&format!("ep=a&lt={lt}")), ("4.00".into(), words.into()), "{lt}");
    }
    assert_eq!(refusal("ep=a&lt").1, no_number);
    let cap = Policy::default().lifetime_cap;
    assert_eq!(parse("ep=a&lwm2m=1.1&lt=0", "</3/0>").unwrap().lifetime, cap);
    assert_eq!(parse("ep=a&lt=4294967295", "</3/0>").unwrap().lifetime, cap);
    let short = Policy { lifetime_cap: 60, ..Policy::default() };
    assert_eq!(Registration::parse(&register("ep=a", "</3/0>"), &short).unwrap().lifetime, 60);
}

#[test]
fn every_bad_parameter_is_answered_in_words() {
    for (query, code, words) in [
        ("ep=", "4.00", "ep is empty"),
        ("ep", "4.00", "ep is empty"),
        ("ep=a\u{7}b", "4.00", "ep has control characters"),
        ("ep=a\u{202e}b", "4.00", "ep has control characters"),
        ("ep=a&ep=b", "4.00", "ep comes twice"),
        ("ep=a&lt=1&lt=1", "4.00", "lt comes twice"),
        ("ep=a&Q&Q", "4.00", "Q comes twice"),
        ("ep=a&Q=1", "4.00", "Q takes no value"),
        ("ep=a&x=1&x=2", "4.00", "x comes twice"),
        ("ep=a&sms=", "4.00", "sms is no phone number"),
        ("ep=a&b=UX", "4.00", "b cannot be \"UX\" in LwM2M 1.0"),
        ("ep=a&b=T", "4.00", "b cannot be \"T\" in LwM2M 1.0"),
        ("ep=a&lwm2m=1.1&b=UQ", "4.00", "b cannot be \"UQ\" in LwM2M 1.1"),
        ("ep=a&lwm2m=1.2&b=", "4.00", "b cannot be \"\" in LwM2M 1.2"),
        ("ep=a&lwm2m=2.0", "4.12", "LwM2M \"2.0\" is not spoken here: 1.0, 1.1, 1.2"),
        ("ep=a&lwm2m=", "4.12", "LwM2M \"\" is not spoken here: 1.0, 1.1, 1.2"),
    ] {
        assert_eq!(refusal(query), (code.into(), words.into()), "{query}");
    }
    assert_eq!(refusal(&format!("ep={}", "x".repeat(253))).1, "ep is longer than 252 bytes");
    let many: String = (0..17).map(|i| format!("&x{i}=1")).collect();
    assert_eq!(refusal(&format!("ep=a{many}")).1, "more than 16 parameters of its own");
}

#[test]
fn links_are_needed_and_come_as_link_format() {
    assert_eq!(parse("ep=a", "").unwrap_err(), Refusal::bad_request("links: no payload"));
    assert!(parse("ep=a&lwm2m=1.2&pid=3", "").unwrap_err().diagnostic.contains("pid"));
    let mut request = register("ep=a", "</3/0>");
    request.content_format = Some(0);
    let refused = Registration::parse(&request, &Policy::default()).unwrap_err();
    assert_eq!(refused.code, Code::UNSUPPORTED_CONTENT_FORMAT);
    request.content_format = None;
    assert!(Registration::parse(&request, &Policy::default()).is_ok());
}

fn update(current: &Registration, query: &str, payload: &str) -> Result<Update, Refusal> {
    let mut request = register(query, payload);
    request.uri_query.retain(|q| !q.is_empty());
    Update::parse(&request, current, &Policy::default())
}

#[test]
fn an_update_changes_what_it_names_and_nothing_else() {
    let mut registration = parse("ep=a&lwm2m=1.1&x=1", "</r>;rt=\"oma.lwm2m\";ct=110,</r/3/0>").unwrap();
    let before = registration.clone();
    let nothing = update(&registration, "", "").unwrap();
    assert!(nothing.is_empty() && !registration.apply(nothing));
    let same = update(&registration, "ep=b&lt=86400&lwm2m=1.0", "</r/3/0>").unwrap();
    assert!(!registration.apply(same), "{registration:?}");
    assert_eq!(registration, before);
    let much = update(&registration, "lt=30&b=UT&Q&sms=1&x=2&y", "</r/3/0>,</r/3303/1>").unwrap();
    assert!(registration.apply(much));
    assert_eq!((registration.lifetime, registration.queue_mode), (30, true));
    assert_eq!(registration.objects.to_string(), "</3/0>,</3303/1>");
    assert_eq!(registration.parameters, [("x".into(), Some("2".into())), ("y".into(), None)]);
    assert_eq!((registration.root, registration.formats), (before.root, before.formats));
}

#[test]
fn a_binding_of_1_0_names_queue_mode_each_time() {
    let mut registration = parse("ep=a&b=UQ", "</3/0>").unwrap();
    let lifetime = update(&registration, "lt=30", "").unwrap();
    registration.apply(lifetime);
    assert!(registration.queue_mode);
    let awake = update(&registration, "b=U", "").unwrap();
    assert!(registration.apply(awake) && !registration.queue_mode);
}

#[test]
fn a_bad_update_is_refused_like_a_register() {
    let registration = parse("ep=a", "</3/0>").unwrap();
    for (query, payload) in
        [("lt=0", ""), ("lt=x", ""), ("b=T", ""), ("", "<3"), ("lt=1&lt=1", ""), ("", "</text>")]
    {
        assert_eq!(
            update(&registration, query, payload).unwrap_err().code,
            Code::BAD_REQUEST,
            "{query} {payload}"
        );
    }
}

proptest! {
    #[test]
    fn any_register_is_read_or_refused_by_class_4(
        query in proptest::collection::vec("(ep|lt|b|lwm2m|Q|sms|pid|[a-z]{2})=?[ -~é\u{0}]{0,12}", 0..6),
        payload in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut request = Request::post("rd").content(40, payload);
        request.uri_query = query;
        match Registration::parse(&request, &Policy::default()) {
            Ok(registration) => {
                let update = Update::parse(&request, &registration, &Policy::default()).unwrap();
                prop_assert!(!registration.clone().apply(update));
            }
            Err(refusal) => prop_assert_eq!(refusal.code.class(), 4),
        }
    }

    #[test]
    fn any_links_of_objects_are_read_and_written_alike(
        links in proptest::collection::vec("</[0-9]{1,3}(/[0-9]{1,2})?>(;ver=1.[0-3])?", 1..20)
    ) {
        if let Ok(registration) = parse("ep=a&lwm2m=1.1", &links.join(",")) {
            let written = registration.objects.to_string();
            prop_assert_eq!(parse("ep=a&lwm2m=1.1", &written).unwrap().objects, registration.objects);
        }
    }
}
