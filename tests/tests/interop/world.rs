//! The server of all rows, and the devices that it knows.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use data_encoding::HEXLOWER as HEX;
use godwit_proto::v1::{
    Credential, Device,
    credential::{Psk, psk::Secret},
};
use godwit_tests::{Authority, Identity, Node, Setup, dtls_server, pem};

use crate::{
    peer::Process,
    table::{Case, Mode},
};

/// Letters, as some clients take keys as text.
pub(crate) const PSK_KEY: &[u8] = b"0123456789abcdef";

/// Stands in every answer to a GET of /.well-known/core: of the node, and of the server without one.
pub(crate) const MARKS: [&[u8]; 2] = [b"</rd>", b"godwit"];

/// The node serves those who have a pre-shared key; as long as its API can't declare raw keys and certificates, the
/// DTLS crate's own server serves the others.
pub(crate) struct World {
    authority: Authority,
    below: Authority,
    identity: Identity,
    folder: PathBuf,
    pub(crate) node: Node,
    bare: SocketAddr,
    _process: Process,
}

impl World {
    pub(crate) fn start() -> World {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("godwit-interop-{}-{count}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = |name: &str, content: String| {
            fs::write(folder.join(name), content).unwrap();
            folder.join(name).to_str().unwrap().to_owned()
        };

        let authority = Authority::new("godwit interop");
        let below = authority.intermediate("godwit interop, below");
        let identity = authority.server();
        file("authority.pem", pem("CERTIFICATE", authority.certificate()));
        let (chain, key) = (file("chain.pem", identity.chain_pem()), file("key.pem", identity.key_pem()));

        let setup = Setup::default().set(format!("security.identity.cert_file={chain}"));
        let node = setup.set(format!("security.identity.key_file={key}")).start();

        let mut command = Command::new(dtls_server());
        command.args(["--listen", "127.0.0.1:0", "--answer", "coap", "--cert", &chain, "--key", &key]);
        let mut process = Process::start(&mut command).unwrap();
        let line = process.line().unwrap();
        let bare = line.strip_prefix("listening on ").expect("its first line").parse().unwrap();
        World { authority, below, identity, folder, node, bare, _process: process }
    }

    pub(crate) fn server(&self, case: &Case) -> SocketAddr {
        if case.mode == Mode::Psk { self.node.coaps() } else { self.bare }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
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
            Mode::Psk => {
                let secret = Some(Secret::Hex(HEX.encode(PSK_KEY)));
                let psk = Some(Psk { identity: name.clone(), secret });
                let credential = Some(Credential { psk, ..Default::default() });
                let device = Device { endpoint: name, credential, ..Default::default() };
                self.node.admin().create_device(device).unwrap();
                None
            }
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
