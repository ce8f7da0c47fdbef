//! Scandium, through a Leshan client that registers and updates.

use std::path::Path;

use godwit_tests::{Client, Leshan, Security};

use crate::{
    peer::{Peer, Result, Start},
    table::{ECDSA_CBC, ECDSA_CCM_8, Mode, PSK_CBC, PSK_CCM_8},
    world::PSK_KEY,
};

struct Scandium {
    client: Client,
    /// A start registers by itself.
    registered: bool,
}

pub(crate) fn start(start: &Start) -> Option<Result<Box<dyn Peer>>> {
    let leshan = Leshan::shared()?;
    let server = start.world.identity();
    let security = match (start.case.mode, start.identity) {
        (Mode::Rpk, Some(own)) => Security::rpk(own, &server.spki()),
        (Mode::Ca, Some(own)) => Security::x509_of(own, start.world.authority()),
        (_, Some(own)) => Security::x509(own, &server.chain()[0]),
        (_, None) => Security::psk(&start.case.endpoint(), PSK_KEY),
    };
    let suite = match start.case.suite {
        PSK_CCM_8 => "TLS_PSK_WITH_AES_128_CCM_8",
        PSK_CBC => "TLS_PSK_WITH_AES_128_CBC_SHA256",
        ECDSA_CCM_8 => "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8",
        ECDSA_CBC => "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
        _ => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    };
    // Scandium offers ECDHE_PSK first unless told otherwise; the server has to pass it by.
    let suites = if start.case.suite == PSK_CCM_8 {
        format!("TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256,{suite}")
    } else {
        suite.into()
    };
    let security = security
        .with(format!("suites={suites}"))
        .with(format!("cid={}", if start.case.cid { 6 } else { -1 }))
        .with(format!("keylog={}", Path::display(&start.key_log())));
    let uri = format!("coaps://{}", start.server);
    let client = leshan.start_at(&uri, &start.case.endpoint(), &security.options());
    Some(Ok(Box::new(Scandium { client, registered: false })))
}

impl Peer for Scandium {
    fn connect(&mut self) -> Result<()> {
        if self.registered {
            self.client.command("resume", &[]);
            self.client.command("update", &[]);
            self.client.await_handshake(true)?;
            return self.client.await_event("updated");
        }
        self.registered = true;
        self.client.await_handshake(false)?;
        self.client.await_event("registered")
    }

    fn exchange(&mut self) -> Result<()> {
        self.client.command("update", &[]);
        self.client.await_event("updated")
    }
}

/// Events as results, so that a case fails and the others go on.
trait Await {
    fn await_handshake(&mut self, resumed: bool) -> Result<()>;
    fn await_event(&mut self, event: &str) -> Result<()>;
}

impl Await for Client {
    fn await_handshake(&mut self, resumed: bool) -> Result<()> {
        let handshake = self.try_next("handshake", |line| line["event"] == "handshake")?;
        if handshake["resumed"] == resumed { Ok(()) } else { Err(format!("{handshake}")) }
    }

    fn await_event(&mut self, event: &str) -> Result<()> {
        self.try_next(event, |line| line["event"] == event).map(drop)
    }
}
