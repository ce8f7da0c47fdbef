//! The keys as they are now. Changed files are read again; sessions and handshakes under way don't notice.
//!
//! ```text
//! look ─ as they were ─► nothing          look ─ changed ─► look once more, as changed the same way ─► load
//! load ─ nothing worse than before ─► in use        load ─ a new fault, a mode less ─► the old stay, said once
//! ```
//! Two looks, because a key and its certificate are seldom replaced in one instant.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use godwit_dtls::signature::SigningKey;
use godwit_dtls::suite::CipherSuite;
use ring::rand::SystemRandom;
use thiserror::Error;

use super::announce;
use super::fault::Fault;
use super::load::{Material, ServerKey, load};
use super::modes::{Loss, Offer, offer};
use super::trust::Trust;
use crate::config::{self, Config, Ems, Mode};
use crate::metrics;
use crate::metrics::labels::Reload;

/// Time between two looks.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Keys that serve, and what they allow.
#[derive(Clone, Debug)]
pub struct Security {
    /// The modes on offer.
    pub offer: Offer,
    /// The server's own key.
    pub own: Option<ServerKey>,
    /// Whom devices' certificates may come from.
    pub trust: Trust,
    /// What did not load.
    pub faults: Vec<Fault>,
}

/// A mode that `security.modes` lists can't be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}", lines(.faults, .lost))]
pub struct Unavailable {
    /// What did not load.
    pub faults: Vec<Fault>,
    /// The modes that are missing.
    pub lost: Vec<Loss>,
}

impl Security {
    /// Loads what the configuration names.
    ///
    /// # Errors
    /// When a mode that `security.modes` lists can't be had, or something that it needs does not load.
    pub fn load(config: &Config) -> Result<Self, Unavailable> {
        let Material { own, trust, faults } = load(&config.security);
        let offer = offer(config, own.as_ref());
        let lost: Vec<_> = offer.lost.iter().filter(|loss| loss.demanded).copied().collect();
        let modes = &config.security.modes;
        let needs_keys = modes.demand(Mode::Rpk) || modes.demand(Mode::X509);
        if !lost.is_empty() || (needs_keys && !faults.is_empty()) {
            return Err(Unavailable { faults, lost });
        }
        Ok(Self { offer, own, trust, faults })
    }

    /// What the DTLS engine goes by.
    #[must_use]
    pub fn engine(&self, config: &Config) -> godwit_dtls::Config {
        let identity = self.own.as_ref().map(|own| {
            let chain = own.chain.as_ref().map(|chain| chain.certificates.clone()).unwrap_or_default();
            let key = SigningKey::from_pkcs8(own.pair.pkcs8().expose(), &SystemRandom::new());
            let key = key.expect("invariant: the key was checked when it was loaded");
            let identity = godwit_dtls::ServerIdentity::new(key, chain);
            Arc::new(identity.expect("invariant: the chain was checked when it was loaded"))
        });
        godwit_dtls::Config {
            modes: godwit_dtls::Modes {
                psk: self.offer.has(Mode::Psk),
                raw_public_key: self.offer.has(Mode::Rpk),
                x509: self.offer.has(Mode::X509),
            },
            // In the engine's order, which puts AEAD before CBC.
            suites: CipherSuite::ALL
                .into_iter()
                .filter(|suite| config.dtls.suites.contains(&config::Suite(*suite)))
                .collect(),
            ems: match config.dtls.ems {
                Ems::Prefer => godwit_dtls::Ems::Prefer,
                Ems::Require => godwit_dtls::Ems::Require,
            },
            cid: match config.dtls.cid_length {
                0 => godwit_dtls::CidPolicy::Off,
                _ => godwit_dtls::CidPolicy::Offer,
            },
            first_retransmission: config.dtls.first_retransmission,
            identity,
            ..godwit_dtls::Config::default()
        }
    }
}

fn lines(faults: &[Fault], lost: &[Loss]) -> String {
    let faults = faults.iter().map(ToString::to_string);
    faults.chain(lost.iter().map(ToString::to_string)).collect::<Vec<_>>().join("\n")
}

/// The keys as they are now.
#[derive(Debug)]
pub struct Keys {
    config: Arc<Config>,
    metrics: metrics::Keys,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    current: Arc<Security>,
    /// The files as they were when they were last loaded, or failed to.
    loaded: Vec<Option<Stamp>>,
    /// The files as the last look found them, where that was different.
    changed: Option<Vec<Option<Stamp>>>,
}

/// What of a file changes when somebody replaces or rewrites it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Keys {
    /// Loads the keys for the first time, and logs what is wrong with them and which modes remain.
    ///
    /// # Errors
    /// See [`Security::load`].
    pub fn open(config: Arc<Config>) -> Result<Self, Unavailable> {
        // Taken before the files are read: a change in between is then seen as one.
        let loaded = stamps(&config);
        let current = Arc::new(Security::load(&config)?);
        let keys = Self {
            config,
            metrics: metrics::Keys::default(),
            state: Mutex::new(State { current: current.clone(), loaded, changed: None }),
        };
        for fault in &current.faults {
            tracing::error!("{fault}; the modes that remain are {}", current.offer);
        }
        keys.measure(&current);
        Ok(keys)
    }

    /// The keys now.
    #[must_use]
    pub fn now(&self) -> Arc<Security> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).current.clone()
    }

    /// Looks at the files, and reads them again where they have changed: the new keys, where they are to be used from now on.
    /// Blocks for as long as a key store takes to open.
    pub fn look(&self) -> Option<Arc<Security>> {
        let found = stamps(&self.config);
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if found == state.loaded {
                state.changed = None;
                return None;
            }
            if state.changed.as_ref() != Some(&found) {
                state.changed = Some(found);
                return None;
            }
            state.loaded = found;
            state.changed = None;
        }
        let old = self.now();
        let new = Security::load(&self.config).and_then(|new| old.accepts(new));
        match new {
            Ok(new) => {
                let new = Arc::new(new);
                self.state.lock().unwrap_or_else(PoisonError::into_inner).current = new.clone();
                self.metrics.reloads[Reload::Ok].increment(1);
                self.measure(&new);
                tracing::info!(modes = %new.offer, "keys and certificates were read again");
                announce::own_key(&new);
                Some(new)
            }
            Err(worse) => {
                self.metrics.reloads[Reload::Failed].increment(1);
                tracing::error!("changed keys or certificates can't be used, the old ones stay: {worse}");
                None
            }
        }
    }

    /// Looks once a second until it is dropped; `changed` gets the new keys each time.
    pub async fn watch(self: Arc<Self>, changed: impl Fn(&Security)) {
        if files(&self.config).is_empty() {
            return;
        }
        let mut tick = tokio::time::interval(LOOK_AGAIN);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let keys = self.clone();
            if let Ok(Some(new)) = tokio::task::spawn_blocking(move || keys.look()).await {
                changed(&new);
            }
        }
    }

    fn measure(&self, security: &Security) {
        let chain = security.own.as_ref().and_then(|own| own.chain.as_ref());
        #[expect(clippy::cast_precision_loss, reason = "seconds are far below 2^53")]
        self.metrics.certificate_expiry.set(chain.map_or(0.0, |chain| chain.validity.1 as f64));
    }
}

impl Security {
    /// New keys in place of these, unless something that was good has become bad.
    fn accepts(&self, new: Self) -> Result<Self, Unavailable> {
        let faults: Vec<_> =
            new.faults.iter().filter(|fault| !self.faults.contains(fault)).cloned().collect();
        let lost =
            new.offer.lost.iter().filter(|loss| self.offer.has(loss.mode)).copied().collect::<Vec<_>>();
        if faults.is_empty() && lost.is_empty() { Ok(new) } else { Err(Unavailable { faults, lost }) }
    }
}

/// The files that are watched.
fn files(config: &Config) -> Vec<&PathBuf> {
    let own = &config.security.identity;
    [
        &own.cert_file,
        &own.key_file,
        &own.keystore_file,
        &own.keystore_password_file,
        &config.security.device_ca_file,
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn stamps(config: &Config) -> Vec<Option<Stamp>> {
    files(config).into_iter().map(|path| fs::metadata(path).ok().map(|found| Stamp::of(&found))).collect()
}

impl Stamp {
    fn of(found: &fs::Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            length: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
        }
    }
}
