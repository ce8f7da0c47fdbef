//! In front of every service: who calls, may they, and the audit line.

use std::{
    convert::Infallible,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tonic::{
    Code, Status,
    body::Body,
    codegen::{Service, http},
    transport::{
        CertificateDer,
        server::{TcpConnectInfo, TlsConnectInfo},
    },
};
use tower_layer::Layer;

use super::{Caller, Gate};
use crate::{
    admin::{audit, error::AdminError},
    callers::{Method, method},
    clock, metrics,
};

/// Puts [`Access`] in front of a service.
#[derive(Clone)]
pub(in crate::admin) struct AccessLayer {
    gate: Arc<Gate>,
}

impl AccessLayer {
    pub(in crate::admin) fn new(gate: Gate) -> Self {
        Self { gate: Arc::new(gate) }
    }
}

impl<S> Layer<S> for AccessLayer {
    type Service = Access<S>;

    fn layer(&self, inner: S) -> Access<S> {
        Access { gate: self.gate.clone(), inner }
    }
}

/// A service behind the gate.
#[derive(Clone)]
pub(in crate::admin) struct Access<S> {
    gate: Arc<Gate>,
    inner: S,
}

impl<S> Access<S> {
    /// The caller, and whether it may call. The caller is told apart first, so that an audit line can name it.
    fn admit(
        &self,
        request: &http::Request<Body>,
        method: Option<&Method>,
    ) -> (Result<Caller, AdminError>, Option<AdminError>) {
        let certificates =
            request.extensions().get::<TlsConnectInfo<TcpConnectInfo>>().and_then(TlsConnectInfo::peer_certs);
        let certificate = certificates.as_deref().and_then(|chain| chain.first()).map(CertificateDer::as_ref);
        let caller = self.gate.caller(request.headers(), certificate, clock::now());
        let name = caller.as_ref().map_or("nobody", |caller| &*caller.name).to_owned();
        let refusal = match (method, &caller) {
            (None, _) => Some(AdminError::Denied { caller: name, needs: "there is no such method" }),
            (Some(Method { role: None, .. }), _) => None,
            (Some(_), Err(error)) => Some(error.clone()),
            (Some(Method { role: Some(needed), .. }), Ok(caller)) if caller.role < *needed => {
                Some(AdminError::Denied { caller: name, needs: needed.name() })
            }
            _ => None,
        };
        (caller, refusal)
    }
}

impl<S> Service<http::Request<Body>> for Access<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let method = method(request.uri().path());
        let (caller, refusal) = self.admit(&request, method);
        let resource = audit::Resource::default();
        request.extensions_mut().insert(resource.clone());

        // The clone may not be ready; the one that was polled is.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            let response = match refusal {
                Some(error) => Status::from(error).into_http(),
                None => inner.call(request).await?,
            };
            // A call that succeeds has its status in trailers that are still to come.
            let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
            let path = method.map_or("unknown", |method| &method.path[1..]);
            metrics::admin_call(path, audit::code_name(code));
            if method.is_some_and(|method| method.audited) {
                audit::line(caller.ok().as_ref(), path, resource.name(), code);
            }
            Ok(response)
        })
    }
}
