//! The resources of the LwM2M server, by path.

use godwit_coap::{Code, Method, Request, Response};
use godwit_lwm2m::format::ContentFormat;

use crate::identity::RegistrationId;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resource {
    /// `POST /rd`.
    Register,
    /// `POST /rd/<id>`.
    Update(RegistrationId),
    /// `DELETE /rd/<id>`.
    Deregister(RegistrationId),
    /// `POST /dp` (Send).
    Send,
    /// GET /.well-known/core (RFC 6690).
    Discover,
}

/// The table: first segment, resource type for discovery, methods at the path itself.
const TABLE: [(&str, &str, Method); 2] =
    [("rd", "core.rd", Method::Post), ("dp", "oma.lwm2m.dp", Method::Post)];

/// Finds the resource that a request is for, or the answer that refuses it.
pub(super) fn route(request: &Request) -> Result<Resource, Response> {
    let path: Vec<&str> = request.uri_path.iter().map(String::as_str).collect();
    match (path.as_slice(), request.method) {
        (["rd"], Method::Post) => Ok(Resource::Register),
        (["dp"], Method::Post) => Ok(Resource::Send),
        (["rd", id], method) => {
            let id = RegistrationId::parse(id)
                .ok_or_else(|| Response::diagnostic(Code::NOT_FOUND, "no such registration"))?;
            match method {
                Method::Post => Ok(Resource::Update(id)),
                Method::Delete => Ok(Resource::Deregister(id)),
                method => Err(not_allowed(method, "POST to update, DELETE to de-register")),
            }
        }
        ([".well-known", "core"], Method::Get) => Ok(Resource::Discover),
        ([".well-known", "core"], method) => Err(not_allowed(method, "GET")),
        ([first], method) if TABLE.iter().any(|(name, ..)| name == first) => Err(not_allowed(method, "POST")),
        (["bs"], _) => Err(Response::diagnostic(Code::NOT_FOUND, "this is no bootstrap server")),
        _ => Err(Response::diagnostic(Code::NOT_FOUND, "no such resource")),
    }
}

fn not_allowed(method: Method, instead: &str) -> Response {
    Response::diagnostic(Code::METHOD_NOT_ALLOWED, format!("{method:?} is not allowed here, only {instead}"))
}

/// Answers GET /.well-known/core: all resources, or those that fit the query's `href` or `rt` (RFC 6690 §4.1).
pub(super) fn discover(request: &Request) -> Response {
    if request.accept.is_some_and(|format| format != ContentFormat::CoreLink.number()) {
        return Response::diagnostic(Code::NOT_ACCEPTABLE, "links are given in format 40 only");
    }
    let fits = |filter: &str, value: &str| match filter.strip_suffix('*') {
        Some(prefix) => value.starts_with(prefix),
        None => value == filter,
    };
    let links: Vec<String> = TABLE
        .iter()
        .filter(|(name, rt, _)| {
            let href = request.query_value("href").is_none_or(|filter| fits(filter, &format!("/{name}")));
            href && request.query_value("rt").is_none_or(|filter| fits(filter, rt))
        })
        .map(|(name, rt, _)| format!("</{name}>;rt=\"{rt}\""))
        .collect();
    Response::new(Code::CONTENT).content(ContentFormat::CoreLink.number(), links.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789ab";

    fn code(request: &Request) -> Code {
        route(request).unwrap_err().code
    }

    #[test]
    fn each_resource_has_its_path_and_method() {
        let id = RegistrationId::parse(ID).unwrap();
        assert_eq!(route(&Request::post("/rd")), Ok(Resource::Register));
        assert_eq!(route(&Request::post("/rd").segment(ID)), Ok(Resource::Update(id)));
        assert_eq!(route(&Request::delete("/rd").segment(ID)), Ok(Resource::Deregister(id)));
        assert_eq!(route(&Request::post("/dp")), Ok(Resource::Send));
        assert_eq!(route(&Request::get("/.well-known/core")), Ok(Resource::Discover));
    }

    #[test]
    fn a_wrong_method_is_4_05_and_an_unknown_path_4_04() {
        for request in [
            Request::get("/rd"),
            Request::put("/rd"),
            Request::delete("/dp"),
            Request::get("/rd").segment(ID),
            Request::post("/.well-known/core"),
        ] {
            assert_eq!(code(&request), Code::METHOD_NOT_ALLOWED, "{request:?}");
        }
        for request in [
            Request::get("/"),
            Request::get("/3/0"),
            Request::post("/bs"),
            Request::delete("/rd").segment("short"),
            Request::post("/rd/a/b"),
            Request::get("/.well-known"),
        ] {
            assert_eq!(code(&request), Code::NOT_FOUND, "{request:?}");
        }
    }

    #[test]
    fn discovery_lists_what_the_query_asks_for() {
        let links = |request: Request| String::from_utf8(discover(&request).payload).unwrap();
        let core = || Request::get("/.well-known/core");
        assert_eq!(links(core()), r#"</rd>;rt="core.rd",</dp>;rt="oma.lwm2m.dp""#);
        assert_eq!(links(core().query("rt=core.*")), r#"</rd>;rt="core.rd""#);
        assert_eq!(links(core().query("href=/dp")), r#"</dp>;rt="oma.lwm2m.dp""#);
        assert_eq!(links(core().query("rt=core.rd").query("href=/dp")), "");
        assert_eq!(discover(&core().accept(0)).code, Code::NOT_ACCEPTABLE);
    }
}
