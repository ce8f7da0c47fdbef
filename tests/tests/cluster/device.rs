//! A scripted device that repeats its requests as a CoAP client does.

use std::time::Duration;

use coap_lite::MessageClass;
use godwit_tests::{Cluster, Dtls, Message, Raw, Setup};

const LINKS: &str = "</1/0>,</3/0>,</3303/0>";
pub(crate) const KEY: &[u8] = b"0123456789abcdef";
/// First retransmission, then twice as long each time (RFC 7252 §4.2, shortened).
const ACK_TIMEOUT: Duration = Duration::from_millis(700);
const ATTEMPTS: u32 = 7;

/// How a device speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    NoSec,
    Psk,
    PskWithCid,
}

impl Speaks {
    pub(crate) const ALL: [Speaks; 3] = [Speaks::NoSec, Speaks::Psk, Speaks::PskWithCid];
}

/// A cluster that takes any device without DTLS.
pub(crate) fn cluster(count: usize) -> Option<Cluster> {
    Cluster::start(count, &Setup::default())
}

/// A registered device.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) raw: Raw,
    pub(crate) name: String,
    pub(crate) id: String,
    /// How often it had to say something again.
    pub(crate) repeated: u32,
}

impl Device {
    /// Registers through the balancers, at whichever node they choose.
    pub(crate) fn register(cluster: &Cluster, name: &str, speaks: Speaks) -> Device {
        Device::register_as(cluster, name, speaks, "lwm2m=1.1")
    }

    /// The same with a query.
    pub(crate) fn register_as(cluster: &Cluster, name: &str, speaks: Speaks, query: &str) -> Device {
        let mut raw = match speaks {
            Speaks::NoSec => Raw::new(cluster.plain.address()),
            Speaks::Psk | Speaks::PskWithCid => {
                cluster.nodes[0].admin().ensure_psk(name, KEY);
                let dtls = Dtls::psk(name, KEY);
                let dtls = if speaks == Speaks::Psk { dtls.without_cid() } else { dtls };
                Raw::secured(cluster.secure.address(), dtls)
            }
        };
        let id = raw.register(&format!("ep={name}&{query}"), LINKS);
        Device { raw, name: name.into(), id, repeated: 0 }
    }

    /// Sends a request until it is answered; the code.
    #[track_caller]
    pub(crate) fn call(&mut self, message: Message) -> String {
        let message = self.raw.numbered(message);
        self.insist(&message)
    }

    /// The same, under the id and token that the message has.
    #[track_caller]
    pub(crate) fn insist(&mut self, message: &Message) -> String {
        let token = message.0.get_token().to_vec();
        let answers = |message: &Message| {
            matches!(message.0.header.code, MessageClass::Response(_)) && message.0.get_token() == token
        };
        for attempt in 0..ATTEMPTS {
            self.repeated += u32::from(attempt > 0);
            self.raw.send(message);
            if let Some(answer) = self.raw.find(ACK_TIMEOUT * (1 << attempt.min(4)), answers) {
                return answer.code();
            }
        }
        panic!("{}: no answer to {}", self.name, message.target());
    }

    /// An update that changes nothing.
    #[track_caller]
    pub(crate) fn update(&mut self) {
        let target = format!("/rd/{}", self.id);
        assert_eq!(self.call(Message::request("POST", &target)), "2.04", "{}", self.name);
    }

    /// An update that is written before it is answered.
    #[track_caller]
    pub(crate) fn change(&mut self, lifetime: u32) {
        let target = format!("/rd/{}?lt={lifetime}", self.id);
        assert_eq!(self.call(Message::request("POST", &target)), "2.04", "{}", self.name);
    }

    /// Takes a request of a node's and answers it, once.
    #[track_caller]
    pub(crate) fn answer(&mut self, target: &str, payload: &str) {
        let request = self.raw.next_request(target);
        self.raw.send(&request.answer("2.05").format(0).payload(payload));
    }
}
