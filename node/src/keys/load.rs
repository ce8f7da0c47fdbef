//! Reads what `[security]` names, all of it, and says everything that is wrong.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::certificate::{self, Chain};
use super::fault::{Fault, Problem};
use super::keystore;
use super::private::{KeyPair, Point, Private};
use super::trust::Trust;
use crate::config::{self, Secret};

const KEY: &str = "security.identity.key";
const KEY_FILE: &str = "security.identity.key_file";
const CERT_FILE: &str = "security.identity.cert_file";
const KEYSTORE_FILE: &str = "security.identity.keystore_file";
const PASSWORD_FILE: &str = "security.identity.keystore_password_file";
const PUBLIC_X: &str = "security.identity.public_x";
const CA_FILE: &str = "security.device_ca_file";

/// Larger files hold something else.
const MAX_FILE: u64 = 1 << 20;

/// What the settings gave.
#[derive(Clone, Debug, Default)]
pub struct Material {
    /// The server's own key, if there is one and it loads.
    pub own: Option<ServerKey>,
    /// Whom devices' certificates may come from.
    pub trust: Trust,
    /// Everything that did not load.
    pub faults: Vec<Fault>,
}

/// The server's own key pair, with its certificates where there are any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerKey {
    /// The pair, by itself good for raw public keys.
    pub pair: KeyPair,
    /// Its chain, good for X.509.
    pub chain: Option<Chain>,
}

/// Loads everything. What fails is left out and named in [`Material::faults`].
#[must_use]
pub fn load(settings: &config::Security) -> Material {
    let mut faults = Vec::new();
    let own = own(&settings.identity, &mut faults);
    let anchors = settings.device_ca_file.as_deref().map(|path| {
        file(CA_FILE, path).and_then(|content| {
            let found = certificate::certificates(content.expose());
            let trust = found.and_then(|found| Trust::new(&found, settings.ignore_expiry));
            trust.map_err(|problem| Fault { setting: CA_FILE, file: Some(path.to_owned()), problem })
        })
    });
    let trust = match anchors {
        None => None,
        Some(Ok(trust)) => Some(trust),
        Some(Err(fault)) => {
            faults.push(fault);
            None
        }
    };
    Material { own, trust: trust.unwrap_or_else(|| Trust::nobody(settings.ignore_expiry)), faults }
}

fn own(settings: &config::Identity, faults: &mut Vec<Fault>) -> Option<ServerKey> {
    let coordinates = coordinates(settings);
    if let Some(path) = &settings.keystore_file {
        let opened = from_keystore(settings, path, coordinates);
        return opened.map_err(|fault| faults.push(fault)).ok();
    }
    let (setting, path, content) = match (&settings.key, &settings.key_file) {
        (Some(text), _) => (KEY, None, Ok(Secret::new(text.expose().clone().into_bytes()))),
        (None, Some(path)) => (KEY_FILE, Some(path.clone()), file(KEY_FILE, path)),
        (None, None) => return None,
    };
    // Both files are read, so that both can be found wanting.
    let chain = settings.cert_file.as_deref().map(from_file).transpose();
    let chain = chain.map_err(|fault| faults.push(fault)).ok().flatten();
    let fault = |problem| Fault { setting, file: path.clone(), problem };
    let private = content.and_then(|content| Private::read(content.expose()).map_err(fault));
    let pair = private.and_then(|private| pair(private, coordinates, chain.as_ref(), fault));
    let pair = pair.map_err(|fault| faults.push(fault)).ok()?;
    let chain = chain.filter(|chain| {
        let fits = chain.point == *pair.point();
        if !fits {
            let file = settings.cert_file.clone();
            faults.push(Fault { setting: CERT_FILE, file, problem: Problem::OtherKey });
        }
        fits
    });
    Some(ServerKey { pair, chain })
}

/// The pair of a private key whose public half stands in it, in the coordinates, or in the certificate.
fn pair(
    private: Private,
    coordinates: Option<Point>,
    chain: Option<&Chain>,
    fault: impl Fn(Problem) -> Fault,
) -> Result<KeyPair, Fault> {
    let elsewhere = coordinates.or(chain.map(|chain| chain.point));
    let pair = private.complete(elsewhere).map_err(|problem| match problem {
        // The half that does not fit is the one that stands elsewhere.
        Problem::Halves if coordinates.is_none() && chain.is_some() => fault(Problem::OtherKey),
        problem => fault(problem),
    })?;
    match coordinates {
        Some(point) if point != *pair.point() => {
            Err(Fault { setting: PUBLIC_X, file: None, problem: Problem::Halves })
        }
        _ => Ok(pair),
    }
}

fn from_keystore(
    settings: &config::Identity,
    path: &Path,
    coordinates: Option<Point>,
) -> Result<ServerKey, Fault> {
    let fault = |problem| Fault { setting: KEYSTORE_FILE, file: Some(path.to_owned()), problem };
    let content = file(KEYSTORE_FILE, path)?;
    let password = password(settings)?;
    let alias = settings.keystore_alias.as_deref();
    let entry = keystore::open(content.expose(), password.expose(), alias).map_err(fault)?;
    let chain = Chain::of(entry.certificates).map_err(fault)?;
    let pair = pair(entry.private, coordinates, Some(&chain), fault)?;
    if chain.point != *pair.point() {
        return Err(fault(Problem::OtherKey));
    }
    Ok(ServerKey { pair, chain: Some(chain) })
}

fn password(settings: &config::Identity) -> Result<Secret<String>, Fault> {
    if let Some(password) = &settings.keystore_password {
        return Ok(password.clone());
    }
    let Some(path) = &settings.keystore_password_file else { return Ok(Secret::new(String::new())) };
    let content = file(PASSWORD_FILE, path)?;
    let text = String::from_utf8_lossy(content.expose());
    Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn from_file(path: &Path) -> Result<Chain, Fault> {
    let content = file(CERT_FILE, path)?;
    let chain = certificate::certificates(content.expose()).and_then(Chain::of);
    chain.map_err(|problem| Fault { setting: CERT_FILE, file: Some(path.to_owned()), problem })
}

fn file(setting: &'static str, path: &Path) -> Result<Secret<Vec<u8>>, Fault> {
    let fault = |problem| Fault { setting, file: Some(PathBuf::from(path)), problem };
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut content));
    read.map_err(|error| fault(Problem::Unreadable(error.kind())))?;
    if content.len() as u64 > MAX_FILE { Err(fault(Problem::TooLarge)) } else { Ok(Secret::new(content)) }
}

/// The point of `public_x` and `public_y`; their shape was checked when the configuration was loaded.
fn coordinates(settings: &config::Identity) -> Option<Point> {
    let (x, y) = (settings.public_x.as_ref()?, settings.public_y.as_ref()?);
    let digits = format!("04{x}{y}");
    data_encoding::HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()?.try_into().ok()
}
