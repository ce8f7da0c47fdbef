//! The server of all rows, and the devices that it knows.

use std::{
    env, fs,
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use data_encoding::HEXLOWER as HEX;
use godwit_tests::{Authority, Identity, dtls_server, pem};

use crate::{
    peer::Process,
    table::{Case, Mode},
};

/// Letters, as some clients take keys as text.
pub(crate) const PSK_KEY: &[u8] = b"0123456789abcdef";

/// Stands in every answer of the server.
pub(crate) const MARK: &[u8] = b"godwit";

pub(crate) struct World {
    authority: Authority,
    below: Authority,
    identity: Identity,
    folder: PathBuf,
    server: SocketAddr,
    _process: Process,
}

impl World {
    pub(crate) fn start() -> World {
        let authority = Authority::new("godwit interop");
        let below = authority.intermediate("godwit interop, below");
        let identity = authority.server();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("godwit-interop-{}-{count}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("authority.pem"), pem("CERTIFICATE", authority.certificate())).unwrap();
        fs::write(folder.join("chain.pem"), identity.chain_pem()).unwrap();
        fs::write(folder.join("key.pem"), identity.key_pem()).unwrap();
        let mut command = Command::new(dtls_server());
        command.args(["--listen", "127.0.0.1:0", "--answer", "coap"]);
        command.arg("--cert").arg(folder.join("chain.pem")).arg("--key").arg(folder.join("key.pem"));
        for case in Case::all().filter(|case| case.mode == Mode::Psk) {
            command.arg("--psk").arg(format!("{}={}", case.endpoint(), HEX.encode(PSK_KEY)));
        }
        let mut process = Process::start(&mut command).unwrap();
        let line = process.line().unwrap();
        let server = line.strip_prefix("listening on ").expect("its first line").parse().unwrap();
        World { authority, below, identity, folder, server, _process: process }
    }

    pub(crate) fn server(&self) -> SocketAddr {
        self.server
    }

    /// The server's own key and certificate.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(crate) fn authority_file(&self) -> String {
        self.folder.join("authority.pem").to_str().unwrap().into()
    }

    /// Makes the server know a case's device; its key and certificate, if its mode has them.
    pub(crate) fn device(&self, case: &Case) -> Option<Identity> {
        let name = case.endpoint();
        match case.mode {
            Mode::Psk => None,
            Mode::Rpk | Mode::Ca => Some(self.authority.issue(&name)),
            Mode::Intermediate => Some(self.below.issue(&name)),
            Mode::SelfSigned => Some(Identity::self_signed(&name)),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
