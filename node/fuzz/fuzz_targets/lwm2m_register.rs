//! Register and Update: query parameters, one a line, then an empty line and the links.
#![no_main]

use godwit_coap::Request;
use godwit_lwm2m::registration::{Policy, Registration, Update};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let split = data.windows(2).position(|pair| pair == b"\n\n").unwrap_or(data.len());
    let (query, payload) = data.split_at(split);
    let mut request = Request::post("rd").content(40, payload.get(2..).unwrap_or_default());
    request.uri_query = String::from_utf8_lossy(query).lines().map(str::to_owned).collect();
    let policy = Policy::default();
    match Registration::parse(&request, &policy) {
        Ok(mut registration) => {
            // Said again, it changes nothing.
            let update = Update::parse(&request, &registration, &policy).expect("the same request");
            assert!(!registration.apply(update));
            let links = registration.objects.to_string();
            let again = Request { payload: links.into_bytes(), ..Request::post("rd") };
            let mut again = Request { uri_query: request.uri_query, ..again };
            again.content_format = None;
            let objects = Registration::parse(&again, &policy).expect("links of our own").objects;
            assert_eq!(objects, registration.objects);
        }
        Err(refusal) => assert_eq!(refusal.code.class(), 4),
    }
});
