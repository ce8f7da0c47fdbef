//! The server of all rows, and the devices that it knows.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use data_encoding::HEXLOWER as HEX;
use godwit_proto::v1::{
    Credential, Device,
    credential::{Psk, RawPublicKey, X509, psk::Secret},
};
use godwit_tests::{Authority, Identity, Node, Setup, pem};

use crate::table::{Case, Mode};

/// Letters, as some clients take keys as text.
pub(crate) const PSK_KEY: &[u8] = b"0123456789abcdef";

/// Stands in every answer to a GET of /.well-known/core.
pub(crate) const MARK: &[u8] = b"</rd>";

/// A node that serves every mode on one port.
pub(crate) struct World {
    authority: Authority,
    below: Authority,
    identity: Identity,
    folder: PathBuf,
    pub(crate) node: Node,
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
        let settings = [
            ("device_ca_file", file("authority.pem", pem("CERTIFICATE", authority.certificate()))),
            ("identity.cert_file", file("chain.pem", identity.chain_pem())),
            ("identity.key_file", file("key.pem", identity.key_pem())),
        ];
        let set = |setup: Setup, (key, value): &(&str, String)| setup.set(format!("security.{key}={value}"));
        let node = settings.iter().fold(Setup::default(), set).start();
        World { authority, below, identity, folder, node }
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

    /// Makes the node know a case's device; its key and certificate, if its mode has them.
    pub(crate) fn device(&self, case: &Case) -> Option<Identity> {
        let name = case.endpoint();
        let own = match case.mode {
            Mode::Psk => None,
            Mode::Rpk | Mode::Ca => Some(self.authority.issue(&name)),
            Mode::Intermediate => Some(self.below.issue(&name)),
            Mode::SelfSigned => Some(Identity::self_signed(&name)),
        };
        let mut credential = Credential::default();
        match (case.mode, &own) {
            (Mode::Rpk, Some(own)) => credential.rpk = Some(RawPublicKey { key: own.spki() }),
            // By its common name.
            (Mode::Ca | Mode::Intermediate, _) => credential.x509 = Some(X509::default()),
            (_, Some(own)) => {
                credential.x509 = Some(X509 { certificate: own.chain()[0].clone(), ..Default::default() });
            }
            (_, None) => {
                let secret = Some(Secret::Hex(HEX.encode(PSK_KEY)));
                credential.psk = Some(Psk { identity: name.clone(), secret });
            }
        }
        let device = Device { endpoint: name, credential: Some(credential), ..Default::default() };
        self.node.admin().create_device(device).unwrap();
        own
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
