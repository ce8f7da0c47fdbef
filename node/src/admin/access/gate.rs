//! From a request to its caller.

use std::{sync::Arc, time::Instant};

use tonic::codegen::http::{HeaderMap, header::AUTHORIZATION};

use super::certificate;
use crate::{
    admin::error::{AdminError, NO_TOKEN},
    callers::{Role, Tokens},
};

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name in the tokens file or in the certificate; "local" where everybody is let in.
    pub name: Arc<str>,
    /// What they may do.
    pub role: Role,
}

/// How callers show who they are.
#[derive(Debug)]
pub enum Gate {
    /// Loopback without tokens or certificates: every caller is admin.
    Open,
    /// By bearer token, or by client certificate.
    Closed {
        /// The tokens file. Without one, only certificates count.
        tokens: Option<Tokens>,
        /// The role of a certificate whose names the tokens file does not know.
        certificate_role: Role,
    },
}

impl Gate {
    /// Tells who calls. A token, if there is one, counts before a certificate (DER; checked against the client CA
    /// when the connection was made).
    pub(super) fn caller(
        &self,
        headers: &HeaderMap,
        certificate: Option<&[u8]>,
        now: Instant,
    ) -> Result<Caller, AdminError> {
        let Self::Closed { tokens, certificate_role } = self else {
            return Ok(Caller { name: "local".into(), role: Role::Admin });
        };
        let table = tokens.as_ref().map(|tokens| tokens.table(now));
        if let Some(header) = headers.get(AUTHORIZATION) {
            let token = header.to_str().ok().and_then(bearer);
            let known = token.zip(table).and_then(|(token, table)| table.by_token(token));
            let (name, role) = known.ok_or(AdminError::Unauthenticated(
                "the bearer token in \"authorization\" is not in the tokens file",
            ))?;
            return Ok(Caller { name, role });
        }
        let names = certificate.map(certificate::names).unwrap_or_default();
        let mapped = names.iter().find_map(|name| Some((name, table.as_ref()?.role(name)?)));
        match (mapped, names.first()) {
            (Some((name, role)), _) => Ok(Caller { name: name.as_str().into(), role }),
            (None, Some(name)) => Ok(Caller { name: name.as_str().into(), role: *certificate_role }),
            (None, None) if certificate.is_some() => {
                Err(AdminError::Unauthenticated("the client certificate holds no name"))
            }
            (None, None) => Err(AdminError::Unauthenticated(NO_TOKEN)),
        }
    }
}

/// The token of "Bearer …"; the scheme in any case (RFC 7235 §2.1).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::clock;

    fn gate(lines: &str) -> Gate {
        static COUNTER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("godwit-gate-{}-{number}", std::process::id()));
        std::fs::write(&path, lines).unwrap();
        let tokens = Tokens::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        Gate::Closed { tokens: Some(tokens), certificate_role: Role::Read }
    }

    fn certificate(name: &str) -> Vec<u8> {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn with_token(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
    }

    #[test]
    fn an_open_gate_makes_everybody_admin() {
        let caller = Gate::Open.caller(&HeaderMap::new(), None, clock::now()).unwrap();
        assert_eq!((&*caller.name, caller.role), ("local", Role::Admin));
    }

    #[test]
    fn a_certificate_has_the_role_of_its_name_or_else_the_default() {
        let gate = gate("ops.example operate -\n");
        let caller = |name| gate.caller(&HeaderMap::new(), Some(&certificate(name)), clock::now()).unwrap();
        assert_eq!(caller("ops.example").role, Role::Operate);
        assert_eq!(caller("other.example").role, Role::Read);
    }

    #[test]
    fn a_wrong_token_is_not_saved_by_a_certificate() {
        let gate = gate("ops.example operate -\n");
        let certificate = certificate("ops.example");
        for header in ["Bearer wrong", "Basic b3BzOm9wcw==", "Bearer"] {
            let caller = gate.caller(&with_token(header), Some(&certificate), clock::now());
            assert!(matches!(caller, Err(AdminError::Unauthenticated(_))), "{header}");
        }
    }

    #[test]
    fn the_scheme_of_a_token_may_be_written_in_any_case() {
        let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let gate = gate(&format!("ops admin {hash}\n"));
        let caller = gate.caller(&with_token("bearer test"), None, clock::now()).unwrap();
        assert_eq!((&*caller.name, caller.role), ("ops", Role::Admin));
    }
}
