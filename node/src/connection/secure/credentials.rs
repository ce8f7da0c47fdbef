//! Whose a credential is: answers to what a handshake asks of the store.
//!
//! ```text
//!  PSK identity ─► pointer ─► document ─► secret, unsealed                    (unknown: no key, ends like a wrong one)
//!  raw key ──────► pointer ─► document with that key
//!  chain ────────► pointer of the leaf ─► document with that certificate
//!           └────► authorities ─► CN or SAN ─► document, if its credential lets any such certificate in
//!  session id ───► pointer ─► record ─► session of a credential that still holds
//! ```
//! The store may take its time: only the handshake that asks waits. A store that fails looks like an unknown credential to
//! the device, and is counted apart.

use godwit_dtls::{PeerCredential, Psk, Secret, StoredSession, Unacceptable};

use super::{settings::Settings, stored, subject::Subject};
use crate::{
    identity::{DeviceId, SessionId},
    keys::Names,
    metrics::dtls::Resumption,
    store::{
        Pointer, StateStore, StoreError,
        value::{self, Credential, credential::Mode},
    },
};

/// A look-up that ended without an answer of the store.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::connection) struct Failed(StoreError);

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        tracing::debug!(%error, "a credential could not be looked up");
        Self(error)
    }
}

/// The key of a PSK identity. While a secret is being rotated the new one is offered first, then the one that it replaces:
/// the client's Finished shows which it has.
pub(in crate::connection) async fn psk(
    store: &dyn StateStore,
    settings: &Settings,
    identity: Vec<u8>,
) -> Result<Vec<Psk>, Failed> {
    let Some(document) = resolve(store, Pointer::PskIdentity(identity.clone())).await? else {
        return Ok(Vec::new());
    };
    let Some(credential) = &document.credential else { return Ok(Vec::new()) };
    if credential.psk_identity != identity {
        return Ok(Vec::new());
    }
    let device = DeviceId::of(&document.endpoint);
    let rotating = !credential.previous_secret.is_empty();
    let secrets = [(&credential.secret, rotating), (&credential.previous_secret, false)];
    let given = secrets.into_iter().filter(|(sealed, _)| !sealed.is_empty());
    Ok(given
        .filter_map(|(sealed, rotated)| {
            let subject = Subject::of(&document, Mode::Psk, rotated)?;
            match settings.sealer.open(device, sealed) {
                Ok(secret) => Some(Psk { key: Secret::new(secret), subject: subject.encode() }),
                Err(error) => {
                    tracing::error!(%device, %error, "the secret of a device can't be unsealed");
                    None
                }
            }
        })
        .collect())
}

/// Whose a key or a chain is.
pub(in crate::connection) async fn peer(
    store: &dyn StateStore,
    settings: &Settings,
    credential: PeerCredential,
    unix: u64,
) -> Result<Result<Subject, Unacceptable>, Failed> {
    match credential {
        PeerCredential::RawPublicKey(spki) => raw_key(store, &spki).await,
        PeerCredential::Chain(chain) => certificate(store, settings, &chain, unix).await,
    }
}

async fn raw_key(store: &dyn StateStore, spki: &[u8]) -> Result<Result<Subject, Unacceptable>, Failed> {
    let document = resolve(store, Pointer::public_key(spki)).await?;
    Ok(match document.filter(|document| has(document, |credential| credential.public_key == spki)) {
        Some(document) => Subject::of(&document, Mode::Rpk, false).ok_or(Unacceptable::Denied),
        None => Err(Unacceptable::Unknown),
    })
}

async fn certificate(
    store: &dyn StateStore,
    settings: &Settings,
    chain: &[Vec<u8>],
    unix: u64,
) -> Result<Result<Subject, Unacceptable>, Failed> {
    let Some(leaf) = chain.first() else { return Ok(Err(Unacceptable::Bad)) };
    let trust = settings.offer().trust;
    let stored = resolve(store, Pointer::certificate(leaf)).await?;
    if let Some(document) =
        stored.filter(|document| has(document, |credential| credential.certificate == *leaf))
    {
        let subject = Subject::of(&document, Mode::X509, false).ok_or(Unacceptable::Denied);
        return Ok(trust.check_stored(leaf, unix).and(subject));
    }
    let names = match trust.verify(chain, unix) {
        Ok(names) => names,
        Err(reason) => return Ok(Err(reason)),
    };
    let mut outcome = Err(Unacceptable::Unknown);
    for document in named(store, &names).await? {
        if has(&document, |credential| takes(credential, &names)) {
            match Subject::of(&document, Mode::X509, false) {
                Some(subject) => return Ok(Ok(subject)),
                None => outcome = Err(Unacceptable::Denied),
            }
        }
    }
    Ok(outcome)
}

/// The devices that the names of a certificate may mean: endpoint names, or the common name of a credential.
async fn named(store: &dyn StateStore, names: &Names) -> Result<Vec<value::Device>, Failed> {
    let mut documents = Vec::new();
    if let Some(common_name) = &names.common_name {
        let found = resolve(store, Pointer::CommonName(common_name.clone())).await?;
        documents.extend(found.filter(|document| has(document, |own| own.common_name == *common_name)));
    }
    for name in names.common_name.iter().chain(&names.alternative).take(MAX_NAMES) {
        let record = store.load(DeviceId::of(name)).await?;
        let document = record.and_then(|record| record.document);
        // A credential that asks for another common name is not met by the endpoint's.
        documents.extend(document.filter(|document| {
            document.endpoint == *name && has(document, |credential| credential.common_name.is_empty())
        }));
    }
    Ok(documents)
}

/// Names of a certificate that are looked up.
const MAX_NAMES: usize = 8;

/// Whether a credential lets in whoever has a trusted certificate with its name.
fn takes(credential: &Credential, names: &Names) -> bool {
    credential.certificate.is_empty() && (credential.issuer.is_empty() || credential.issuer == names.issuer)
}

fn has(document: &value::Device, test: impl FnOnce(&Credential) -> bool) -> bool {
    document.credential.as_ref().is_some_and(test)
}

/// The session of an id, or why it is not to be resumed.
pub(in crate::connection) async fn session(
    store: &dyn StateStore,
    settings: &Settings,
    id: SessionId,
) -> Result<Result<Box<StoredSession>, Resumption>, Failed> {
    let unknown = Ok(Err(Resumption::Unknown));
    let Some(device) = store.resolve(Pointer::Session(id)).await? else { return unknown };
    let Some(record) = store.load(device).await? else { return unknown };
    let session = record.sessions.iter().find(|session| session.id == id && !session.provisional);
    let Some(session) = session else { return unknown };
    let Some(document) = &record.document else { return Ok(Err(Resumption::Credential)) };
    let still = Subject::of(document, session.mode, false);
    if still.is_none_or(|subject| subject.credential != session.credential_version) {
        return Ok(Err(Resumption::Credential));
    }
    Ok(stored::open(&settings.sealer, device, session, true).map(Box::new).ok_or(Resumption::Unknown))
}

async fn resolve(store: &dyn StateStore, pointer: Pointer) -> Result<Option<value::Device>, Failed> {
    let Some(device) = store.resolve(pointer).await? else { return Ok(None) };
    Ok(store.load(device).await?.and_then(|record| record.document))
}
