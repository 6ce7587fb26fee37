//! Who may talk to the server.
//!
//! Off loopback it is closed by default: a listener is refused unless callers must show a token, or the operator wrote
//! down that they need not. On loopback there are still browsers on the machine: a page from anywhere can send requests
//! to `127.0.0.1`, directly or by a name it controls (DNS rebinding), so the `Host` must be a loopback name and a
//! request with a foreign `Origin` is refused.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::config::{Auth, Error};

/// What a listener asks of its callers.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    token: Option<Arc<str>>,
    loopback: bool,
}

/// Why a request is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Unauthenticated,
    ForeignHost,
    ForeignOrigin,
}

impl Guard {
    /// # Errors
    /// When the address can be reached from elsewhere and nothing says who may.
    pub(crate) fn for_listener(address: SocketAddr, flag: &str, auth: &Auth) -> Result<Self, Error> {
        let token: Option<Arc<str>> = auth.secret()?.map(Into::into);
        let loopback = address.ip().is_loopback();
        if !loopback && token.is_none() && !auth.allow_unauthenticated {
            return Err(Error::Invalid(format!(
                "{address} ({flag}) can be reached from other machines and anyone could halt agents and read what they \
                 did: set auth.token or auth.token_file, listen on 127.0.0.1, or set auth.allow_unauthenticated = true"
            )));
        }
        Ok(Self { token, loopback })
    }

    fn check(&self, path: &str, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.loopback {
            // HTTP/2 carries the name in the request's target, HTTP/1 in a header; a program may send none.
            let named = [uri.authority().map(|it| it.as_str()), text(headers, header::HOST)];
            if named.into_iter().flatten().any(|name| !is_loopback_name(name)) {
                return Err(Refusal::ForeignHost);
            }
        }
        if let Some(token) = &self.token {
            let shown = text(headers, header::AUTHORIZATION).and_then(bearer);
            return match shown {
                Some(shown) if equal(shown.as_bytes(), token.as_bytes()) => Ok(()),
                _ if path == "/healthz" => Ok(()),
                _ => Err(Refusal::Unauthenticated),
            };
        }
        match headers.get(header::ORIGIN) {
            Some(origin) if !origin.to_str().is_ok_and(is_own_origin) => Err(Refusal::ForeignOrigin),
            _ => Ok(()),
        }
    }
}

/// The guard as a layer around a listener's routes.
pub(crate) async fn admit(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match guard.check(request.uri().path(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, reason, message) = match self {
            Self::Unauthenticated => {
                (StatusCode::UNAUTHORIZED, "unauthenticated", "send `Authorization: Bearer` with the server's token")
            }
            Self::ForeignHost => {
                (StatusCode::FORBIDDEN, "foreign_host", "the `Host` is not this machine: use 127.0.0.1 or localhost")
            }
            Self::ForeignOrigin => (StatusCode::FORBIDDEN, "foreign_origin", "pages of other origins are not answered"),
        };
        let body = Json(serde_json::json!({ "error": { "reason": reason, "message": message } }));
        let mut response = (status, body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        response
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// In a time that does not depend on where the two differ.
fn equal(a: &[u8], b: &[u8]) -> bool {
    let differs = a.iter().zip(b).fold(0_u8, |seen, (a, b)| std::hint::black_box(seen | (a ^ b)));
    a.len() == b.len() && differs == 0
}

/// `host`, `host:port`, `[v6]:port`.
fn is_loopback_name(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) if port.is_empty() || is_port(port) => host,
            _ => return false,
        },
        None => match authority.split_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            Some(_) => return false,
            None => authority,
        },
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_own_origin(origin: &str) -> bool {
    origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")).is_some_and(is_loopback_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn auth(token: &str, allow_unauthenticated: bool) -> Auth {
        Auth { token: token.into(), allow_unauthenticated, ..Auth::default() }
    }

    #[test]
    fn off_loopback_it_is_closed_by_default() {
        for (address, auth, good) in [
            ("127.0.0.1:7676", auth("", false), true),
            ("[::1]:7676", auth("", false), true),
            ("0.0.0.0:7676", auth("", false), false),
            ("10.0.0.1:0", auth("", false), false),
            ("[::]:7676", auth("", false), false),
            ("0.0.0.0:7676", auth(TOKEN, false), true),
            ("0.0.0.0:7676", auth("", true), true),
            ("127.0.0.1:7676", auth("short", false), false),
            ("0.0.0.0:7676", auth("with a space in it", false), false),
        ] {
            let guard = Guard::for_listener(address.parse().expect(address), "--http", &auth);
            assert_eq!(guard.is_ok(), good, "{address}");
        }
        let refused = Guard::for_listener("0.0.0.0:1".parse().expect("valid"), "--http", &auth("", false));
        let said = refused.expect_err("refused").to_string();
        assert!(said.contains("0.0.0.0:1") && said.contains("--http") && said.contains("auth.token"), "{said}");
    }

    fn check(guard: &Guard, target: &str, headers: &[(&str, &str)]) -> Result<(), Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(header::HeaderName::try_from(*name).expect("a name"), value.parse().expect("a value"));
        }
        let uri: Uri = target.parse().expect("a target");
        guard.check(uri.path(), &uri, &map)
    }

    #[test]
    fn on_loopback_pages_of_others_are_refused() {
        let guard = Guard { token: None, loopback: true };
        for (target, headers, expected) in [
            ("/v1/sql", &[("host", "127.0.0.1:7676")][..], Ok(())),
            ("/v1/sql", &[("host", "localhost")], Ok(())),
            ("/v1/sql", &[("host", "[::1]:80")], Ok(())),
            ("/v1/sql", &[], Ok(())),
            ("/v1/sql", &[("host", "127.0.0.1:7676"), ("origin", "http://localhost:3000")], Ok(())),
            ("/v1/sql", &[("host", "evil.example:7676")], Err(Refusal::ForeignHost)),
            ("/v1/sql", &[("host", "127.0.0.1.evil.example")], Err(Refusal::ForeignHost)),
            ("/v1/sql", &[("host", "localhost:80@evil.example")], Err(Refusal::ForeignHost)),
            ("/v1/sql", &[("host", "[::1]evil")], Err(Refusal::ForeignHost)),
            ("http://evil.example/v1/sql", &[], Err(Refusal::ForeignHost)),
            ("http://127.0.0.1:4317/v1/sql", &[], Ok(())),
            ("/v1/sql", &[("host", "localhost"), ("origin", "https://evil.example")], Err(Refusal::ForeignOrigin)),
            ("/v1/sql", &[("host", "localhost"), ("origin", "null")], Err(Refusal::ForeignOrigin)),
            ("/healthz", &[("host", "evil.example")], Err(Refusal::ForeignHost)),
        ] {
            assert_eq!(check(&guard, target, headers), expected, "{target} {headers:?}");
        }
    }

    #[test]
    fn a_token_is_asked_of_everyone() {
        let guard = Guard { token: Some(TOKEN.into()), loopback: false };
        for (target, value, expected) in [
            ("/v1/sql", Some("Bearer 0123456789abcdef"), Ok(())),
            ("/v1/sql", Some("bearer 0123456789abcdef"), Ok(())),
            ("/v1/sql", Some("Bearer 0123456789abcdeF"), Err(Refusal::Unauthenticated)),
            ("/v1/sql", Some("Bearer 0123456789abcde"), Err(Refusal::Unauthenticated)),
            ("/v1/sql", Some("Bearer 0123456789abcdef0"), Err(Refusal::Unauthenticated)),
            ("/v1/sql", Some("Bearer"), Err(Refusal::Unauthenticated)),
            ("/v1/sql", Some("Basic 0123456789abcdef"), Err(Refusal::Unauthenticated)),
            ("/metrics", None, Err(Refusal::Unauthenticated)),
            ("/healthz", None, Ok(())),
            ("/healthz/x", None, Err(Refusal::Unauthenticated)),
        ] {
            let headers: Vec<_> = value.map(|value| ("authorization", value)).into_iter().collect();
            assert_eq!(check(&guard, target, &headers), expected, "{target} {value:?}");
        }
    }
}
