//! Where the node is, and who asks.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use super::fault::CtlError;

/// How the admin API is reached.
#[derive(Args, Debug)]
pub struct Connection {
    /// Node's admin API, HOST:PORT or a URL; https, or any flag for TLS, turns TLS on
    #[arg(
        long,
        global = true,
        help_heading = "Connection",
        env = "GODWIT_ADDRESS",
        default_value = "127.0.0.1:5690"
    )]
    address: String,
    /// File that holds the bearer token
    #[arg(long, global = true, help_heading = "Connection", env = "GODWIT_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Bearer token; others on this machine can see a flag, so rather use the variable or a file
    #[arg(
        long,
        global = true,
        help_heading = "Connection",
        env = "GODWIT_TOKEN",
        hide_env_values = true,
        conflicts_with = "token_file"
    )]
    token: Option<String>,
    /// Certificate authority of the node, PEM
    #[arg(long, global = true, help_heading = "Connection", env = "GODWIT_TLS_CA", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Client certificate, PEM
    #[arg(
        long,
        global = true,
        help_heading = "Connection",
        env = "GODWIT_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    tls_cert: Option<PathBuf>,
    /// Key of the client certificate, PEM
    #[arg(
        long,
        global = true,
        help_heading = "Connection",
        env = "GODWIT_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    tls_key: Option<PathBuf>,
    /// Name in the node's certificate, if it isn't the host of the address
    #[arg(long, global = true, help_heading = "Connection", env = "GODWIT_TLS_NAME", value_name = "NAME")]
    tls_name: Option<String>,
    /// Longest wait for the connection
    #[arg(long, global = true, help_heading = "Connection", default_value = "5s", value_parser = super::operations::span)]
    connect_timeout: Duration,
}

/// A connected channel that carries the token.
pub(super) type Wire = InterceptedService<Channel, Bearer>;

/// Puts the token into each call.
#[derive(Clone)]
pub(super) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

impl Connection {
    /// Connects.
    pub(super) async fn open(&self) -> Result<Wire, CtlError> {
        let token = self.bearer()?;
        let endpoint = self.endpoint()?;
        let channel = endpoint.connect().await.map_err(|error| CtlError::Unreachable {
            address: self.address.clone(),
            cause: innermost(&error),
        })?;
        Ok(InterceptedService::new(channel, token))
    }

    fn endpoint(&self) -> Result<Endpoint, CtlError> {
        let (scheme, host) = self.address.split_once("://").unwrap_or(("", &self.address));
        let tls = scheme == "https" || self.tls_ca.is_some() || self.tls_cert.is_some();
        if !matches!(scheme, "" | "http" | "https") || (scheme == "http" && tls) {
            return Err(CtlError::Usage(format!("--address {}: not a node's address", self.address)));
        }
        let url = format!("{}://{host}", if tls { "https" } else { "http" });
        let endpoint = Endpoint::from_shared(url)
            .map_err(|error| CtlError::Usage(format!("--address {}: {error}", self.address)))?
            .connect_timeout(self.connect_timeout)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_while_idle(true);
        if !tls {
            return Ok(endpoint);
        }
        let Some(ca) = &self.tls_ca else {
            return Err(CtlError::Usage(
                "TLS needs --tls-ca, the authority of the node's certificate".into(),
            ));
        };
        let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?));
        if let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) {
            config = config.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        if let Some(name) = &self.tls_name {
            config = config.domain_name(name);
        }
        endpoint.tls_config(config).map_err(|error| CtlError::Usage(format!("TLS: {}", innermost(&error))))
    }

    fn bearer(&self) -> Result<Bearer, CtlError> {
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => token.clone(),
            (None, Some(path)) => String::from_utf8_lossy(&read(path)?).into_owned(),
            (None, None) => return Ok(Bearer(None)),
        };
        let value = format!("Bearer {}", token.trim()).parse();
        let mut value: MetadataValue<Ascii> =
            value.map_err(|_| CtlError::Usage("the token has characters that no token has".into()))?;
        value.set_sensitive(true);
        Ok(Bearer(Some(value)))
    }
}

/// Reads a file that the command line names.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, CtlError> {
    fs::read(path).map_err(|error| CtlError::File { path: path.to_owned(), error })
}

/// The cause at the bottom: "Connection refused" says more than "transport error".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
