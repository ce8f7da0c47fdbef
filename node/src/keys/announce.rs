//! What whoever provisions devices must know: URIs, modes, and the public half of the server's key.

use std::fmt::Write;
use std::net::SocketAddr;

use data_encoding::HEXLOWER;

use super::watch::Security;
use crate::clock;
use crate::config::{Config, Mode};

/// The same for people, by lines: what the node would offer with this configuration.
#[must_use]
pub fn describe(config: &Config, security: &Security) -> String {
    let mut out = String::new();
    for (scheme, addresses, modes) in [
        ("coap", &config.server.listen, Mode::NoSec.name().to_owned()),
        ("coaps", &config.server.listen_dtls, security.offer.dtls()),
    ] {
        let on = match scheme {
            "coap" => security.offer.has(Mode::NoSec),
            _ => security.offer.has_dtls(),
        };
        for address in addresses.iter().filter(|_| on) {
            let _ = writeln!(out, "{scheme}://{address}  {modes}");
        }
    }
    for loss in &security.offer.lost {
        let _ = writeln!(out, "{loss}");
    }
    for (name, value) in public(security) {
        let _ = writeln!(out, "{name} = {value}");
    }
    if let Some(warning) = warning(security) {
        let _ = writeln!(out, "warning: {warning}");
    }
    out
}

/// Logs an address that the node listens on.
pub fn listening(address: SocketAddr, secure: bool, security: &Security) {
    let (scheme, modes) =
        if secure { ("coaps", security.offer.dtls()) } else { ("coap", Mode::NoSec.name().to_owned()) };
    tracing::info!(uri = %format_args!("{scheme}://{address}"), modes, "listening");
    if !secure && !address.ip().is_loopback() {
        tracing::warn!(%address, "NoSec on an address that is not loopback: anyone who reaches it can pose as any device");
    }
}

/// Logs the public half of the server's key and its certificate.
pub fn own_key(security: &Security) {
    for (name, value) in public(security) {
        tracing::info!("the server's {name} = {value}");
    }
    if let Some(warning) = warning(security) {
        tracing::warn!("{warning}");
    }
}

/// What devices are provisioned with, in hexadecimal digits.
fn public(security: &Security) -> Vec<(&'static str, String)> {
    let Some(own) = &security.own else { return Vec::new() };
    let (x, y) = own.pair.point()[1..].split_at(32);
    let mut public = Vec::new();
    if let Some(chain) = &own.chain {
        public.push(("subject", chain.subject.clone()));
        public.push(("certificate", HEXLOWER.encode(&chain.certificates[0])));
    }
    public.push(("public_key", HEXLOWER.encode(&own.pair.spki())));
    public.push(("public_x", HEXLOWER.encode(x)));
    public.push(("public_y", HEXLOWER.encode(y)));
    public
}

/// A certificate out of its time serves nevertheless: most devices have no clock to tell.
fn warning(security: &Security) -> Option<String> {
    let chain = security.own.as_ref()?.chain.as_ref()?;
    let now = i64::try_from(clock::unix_ms() / 1000).unwrap_or(i64::MAX);
    let (from, until) = chain.validity;
    let days = |seconds: i64| seconds / 86_400;
    if now > until {
        Some(format!("the server's own certificate expired {} days ago", days(now - until)))
    } else if now < from {
        Some(format!("the server's own certificate becomes valid in {} days", days(from - now)))
    } else {
        None
    }
}
