//! What passed on the way, before an outside judge: Wireshark's dissectors.

use std::{path::Path, process::Command};

use data_encoding::HEXLOWER as HEX;
use godwit_tests::{Datagram, skip, write_pcap};

use crate::{peer::Result, world::PSK_KEY};

const FROM_SERVER: &str = "udp.srcport == 5684";

/// What one peer's cases left.
#[derive(Default)]
pub(crate) struct Recorded {
    pub(crate) datagrams: Vec<Datagram>,
    pub(crate) key_log: String,
}

impl Recorded {
    /// With the keys given, tshark warns of nothing in the server's datagrams, and finds CoAP in them.
    pub(crate) fn judge(&self, folder: &Path) -> Result<()> {
        let (capture, keys) = (folder.join("capture.pcap"), folder.join("keys"));
        write_pcap(&capture, &self.datagrams).map_err(|error| error.to_string())?;
        std::fs::write(&keys, &self.key_log).map_err(|error| error.to_string())?;
        let capture = capture.to_str().unwrap();
        let run = |arguments: &[&str]| {
            let mut command = Command::new("tshark");
            command.args(["-n", "-r", capture]).args(arguments);
            command.args(["-o", &format!("dtls.psk:{}", HEX.encode(PSK_KEY))]);
            command.args(["-o", &format!("tls.keylog_file:{}", keys.display())]);
            let output = command.output().ok()?;
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let Some(warnings) = run(&["-q", "-z", &format!("expert,warn,{FROM_SERVER}")]) else {
            skip("tshark");
            return Ok(());
        };
        if warnings.contains("Errors (") || warnings.contains("Warns (") {
            let frames = run(&["-Y", &format!("_ws.expert && {FROM_SERVER}")]).unwrap_or_default();
            return Err(format!("tshark warns: {warnings}\n{frames}"));
        }
        let coap = run(&["-Y", &format!("coap && {FROM_SERVER}")]).unwrap_or_default();
        // Every peer has a case with a pre-shared key, or logs its keys.
        if coap.is_empty() { Err("tshark finds no CoAP".into()) } else { Ok(()) }
    }
}
