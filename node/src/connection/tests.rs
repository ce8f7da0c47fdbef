//! The core of a connection against a device that is a peer of its own: no sockets, no endpoint.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use godwit_coap::{Code, Config, Event, FailReason, Peer, Request, Response, Token};
use godwit_lwm2m::registration::Policy;

use super::core::{Connection, Output};
use crate::{
    clock,
    endpoint::link::{Downlink, Uplink},
    identity::DeviceId,
};

struct Pair {
    now: Instant,
    connection: Connection,
    device: Peer,
    tokens: u64,
    outputs: Vec<Output>,
    heard: Vec<Event>,
}

impl Pair {
    /// A device at a connection that nobody has registered over, or that is `linked`.
    fn new(linked: Option<&str>) -> Self {
        let config = Arc::new(Config::default());
        Self {
            now: clock::now(),
            connection: Connection::new(config.clone(), 0x0800, 1).linked(linked.map(DeviceId::of)),
            device: Peer::new(config, 7, 2),
            tokens: 0,
            outputs: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// Lets both speak until neither has anything to say.
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            while let Some(datagram) = self.device.poll_transmit() {
                quiet = false;
                self.connection.handle_datagram(self.now, &datagram);
            }
            while let Some(output) = self.connection.poll(self.now, &Policy::default()) {
                quiet = false;
                match output {
                    Output::Transmit(datagram) => {
                        self.device.handle_datagram(self.now, &datagram);
                    }
                    other => self.outputs.push(other),
                }
            }
            while let Some(event) = self.device.poll_event() {
                self.heard.push(event);
            }
            if quiet {
                return;
            }
        }
    }

    fn ask(&mut self, request: Request) -> Token {
        self.tokens += 1;
        let token = Token::from(self.tokens);
        self.device.request(self.now, token, request, true).unwrap();
        self.settle();
        token
    }

    /// The code that the device's last request was answered with.
    fn answer(&self) -> Option<(Code, String)> {
        self.heard.iter().rev().find_map(|event| match event {
            Event::Response { response, .. } => {
                Some((response.code, String::from_utf8_lossy(&response.payload).into_owned()))
            }
            _ => None,
        })
    }

    fn down(&mut self, downlink: Downlink) {
        self.connection.handle_downlink(self.now, downlink).unwrap();
        self.settle();
    }

    fn uplink(&mut self) -> (DeviceId, Uplink) {
        match self.outputs.pop() {
            Some(Output::Uplink(device, uplink)) => (device, uplink),
            other => panic!("no uplink: {other:?}"),
        }
    }
}

fn register(query: &str) -> Request {
    let mut request = Request::post("rd").content(40, "</1/0>,</3/0>");
    request.uri_query = query.split('&').map(str::to_owned).collect();
    request
}

#[test]
fn a_register_goes_to_the_endpoint_that_its_name_stands_for() {
    let mut pair = Pair::new(None);
    pair.ask(register("ep=a&lt=60"));
    let (device, uplink) = pair.uplink();
    assert_eq!(device, DeviceId::of("a"));
    let Uplink::Register { call, .. } = uplink else { panic!("{uplink:?}") };
    assert_eq!(pair.answer(), None, "the endpoint answers");
    pair.down(Downlink::Link { device, uplink_body: None });
    let response = Response::new(Code::CREATED).location("rd/x");
    pair.down(Downlink::Reply { id: call.id, response });
    assert_eq!(pair.answer().unwrap().0, Code::CREATED);
    assert_eq!(pair.connection.device(), Some(device));
}

#[test]
fn a_bad_register_is_refused_without_an_endpoint() {
    for (query, words) in [
        ("lt=60", "ep is missing"),
        ("ep=a&lt=abc", "lt"),
        ("ep=a&lt=-5", "lt"),
        ("ep=a&lt=", "lt"),
        ("ep=a&b=X", "b"),
    ] {
        let mut pair = Pair::new(None);
        pair.ask(register(query));
        let (code, text) = pair.answer().unwrap();
        assert_eq!(code, Code::BAD_REQUEST, "{query}");
        assert!(text.contains(words), "{query}: {text}");
        assert!(matches!(pair.outputs[..], [Output::Refused(Code::BAD_REQUEST)]));
    }
}

#[test]
fn what_no_resource_takes_is_answered_here() {
    for (request, code) in [
        (Request::get("/rd"), Code::METHOD_NOT_ALLOWED),
        (Request::get("/3/0"), Code::NOT_FOUND),
        (Request::get("/.well-known/core"), Code::CONTENT),
        (Request::post("/dp").content(110, "[]"), Code::FORBIDDEN),
    ] {
        let mut pair = Pair::new(None);
        pair.ask(request.clone());
        assert_eq!(pair.answer().unwrap().0, code, "{request:?}");
    }
}

#[test]
fn an_update_from_an_address_without_a_registration_is_looked_up() {
    let mut pair = Pair::new(None);
    pair.ask(Request::post("/rd/0123456789ab"));
    assert!(matches!(pair.outputs[..], [Output::Foreign(..)]));
    assert_eq!(pair.answer(), None);
}

#[test]
fn a_request_that_could_not_be_handed_up_is_new_when_it_is_repeated() {
    let mut pair = Pair::new(Some("a"));
    pair.ask(Request::delete("/rd/0123456789ab"));
    let (_, uplink) = pair.uplink();
    pair.connection.undelivered(&uplink);
    pair.now += Duration::from_secs(4);
    pair.device.handle_timeout(pair.now);
    pair.settle();
    assert!(matches!(pair.uplink().1, Uplink::Deregister { .. }));
}

#[test]
fn a_request_that_waits_is_not_handed_up_twice() {
    let mut pair = Pair::new(Some("a"));
    pair.ask(Request::delete("/rd/0123456789ab"));
    pair.uplink();
    pair.now += Duration::from_millis(3100);
    pair.device.handle_timeout(pair.now);
    pair.settle();
    assert!(pair.outputs.is_empty(), "{:?}", pair.outputs);
}

#[test]
fn a_request_that_was_acknowledged_is_refused_rather_than_forgotten() {
    let mut pair = Pair::new(Some("a"));
    pair.ask(Request::delete("/rd/0123456789ab"));
    let (_, Uplink::Deregister { call, .. }) = pair.uplink() else { panic!("no deregister") };
    pair.now += Duration::from_secs(2);
    pair.connection.handle_timeout(pair.now);
    pair.settle();
    assert_eq!(pair.answer(), None, "only the acknowledgement has left");
    pair.down(Downlink::Forget { id: call.id });
    assert_eq!(pair.answer().map(|(code, _)| code), Some(Code::SERVICE_UNAVAILABLE));
}

#[test]
fn a_notification_to_nobody_is_reset() {
    let mut pair = Pair::new(None);
    let value = Response::new(Code::CONTENT).content(0, "1").observe(3);
    pair.device.notify(pair.now, Token::from(99), value, true).unwrap();
    pair.settle();
    let reset = |event: &Event| matches!(event, Event::Failed { reason: FailReason::Reset, .. });
    assert!(pair.heard.iter().any(reset), "{:?}", pair.heard);
}

#[test]
fn a_notification_is_acknowledged_when_the_endpoint_says_so() {
    let mut pair = Pair::new(Some("a"));
    let value = Response::new(Code::CONTENT).content(0, "1").observe(3);
    pair.device.notify(pair.now, Token::from(99), value, true).unwrap();
    pair.settle();
    let (_, Uplink::Notification(notification)) = pair.uplink() else { panic!() };
    assert!(pair.heard.is_empty());
    pair.down(Downlink::Acknowledge { message_id: notification.message_id });
    assert!(matches!(pair.heard[..], [Event::Acknowledged { .. }]));
}

#[test]
fn a_request_of_the_endpoint_ends_once_in_its_response() {
    let mut pair = Pair::new(Some("a"));
    let (token, request) = (Token::from(5), Box::new(Request::get("/3/0/0")));
    pair.down(Downlink::Request { token, message_id: 0x1000, request });
    let Some(Event::Request { id, message_id, .. }) = pair.heard.pop() else { panic!() };
    assert_eq!(message_id, 0x1000, "as it is on record");
    pair.device.respond(pair.now, id, Response::new(Code::CONTENT).content(0, "Godwit")).unwrap();
    pair.settle();
    let (_, Uplink::Response { token: answered, response, .. }) = pair.uplink() else { panic!() };
    assert_eq!((answered, &*response.payload), (token, &b"Godwit"[..]));
    assert!(pair.outputs.is_empty());
}

#[test]
fn a_notification_that_answers_its_request_is_acknowledged_when_the_endpoint_says_so() {
    let mut pair = Pair::new(Some("a"));
    let (token, request) = (Token::from(5), Box::new(Request::get("/3/0/9").observe(0)));
    pair.down(Downlink::Request { token, message_id: 0x1000, request });
    pair.heard.clear();
    let value = Response::new(Code::CONTENT).content(0, "95").observe(3);
    pair.device.notify(pair.now, token, value, true).unwrap();
    pair.settle();
    let (_, Uplink::Notification(notification)) = pair.uplink() else { panic!() };
    let (_, Uplink::Response { response, notified: true, .. }) = pair.uplink() else { panic!() };
    assert_eq!(response.payload, notification.response.payload);
    assert!(pair.heard.is_empty());
    pair.down(Downlink::Acknowledge { message_id: notification.message_id });
    assert!(matches!(pair.heard[..], [Event::Acknowledged { .. }]));
}

#[test]
fn a_request_that_is_never_acknowledged_ends_once_in_a_failure() {
    let mut pair = Pair::new(Some("a"));
    let (token, request) = (Token::from(5), Box::new(Request::get("/3/0/0")));
    pair.connection
        .handle_downlink(pair.now, Downlink::Request { token, message_id: 0x1000, request })
        .unwrap();
    let mut sent = 0;
    loop {
        while let Some(output) = pair.connection.poll(pair.now, &Policy::default()) {
            match output {
                Output::Transmit(_) => sent += 1,
                other => pair.outputs.push(other),
            }
        }
        let Some(due) = pair.connection.poll_timeout() else { break };
        pair.now = pair.now.max(due);
        pair.connection.handle_timeout(pair.now);
    }
    assert_eq!(sent, 5, "once, and four times again");
    assert!(matches!(pair.uplink().1, Uplink::Failed { reason: FailReason::Timeout, .. }));
}

#[test]
fn what_an_earlier_device_was_asked_is_not_repeated_to_the_next_one() {
    let mut pair = Pair::new(Some("a"));
    let request = Box::new(Request::get("3/0/0"));
    pair.connection
        .handle_downlink(pair.now, Downlink::Request { token: 5.into(), message_id: 9, request })
        .unwrap();
    let device = DeviceId::of("b");
    pair.connection.handle_downlink(pair.now, Downlink::Link { device, uplink_body: None }).unwrap();
    while pair.connection.poll(pair.now, &Policy::default()).is_some() {}
    assert_eq!(pair.connection.handle_timeout(pair.now + Duration::from_secs(5)), 0);
}
