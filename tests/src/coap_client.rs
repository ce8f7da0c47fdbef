//! `coap-client` of libcoap.

use std::process::Command;

use crate::skip;

/// Runs libcoap's client with these arguments; what it printed, both streams. `None`, with a word, where it is missing.
pub fn coap_client(arguments: &[&str]) -> Option<String> {
    for name in ["coap-client-notls", "coap-client"] {
        if let Ok(output) = Command::new(name).args(arguments).output() {
            let text = [output.stdout, output.stderr].concat();
            return Some(String::from_utf8_lossy(&text).into_owned());
        }
    }
    skip("coap-client");
    None
}

/// The same of the client that speaks DTLS by OpenSSL.
pub fn coap_client_openssl(arguments: &[&str]) -> Option<String> {
    match Command::new("coap-client-openssl").args(arguments).output() {
        Ok(output) => Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()),
        Err(_) => {
            skip("coap-client-openssl");
            None
        }
    }
}
