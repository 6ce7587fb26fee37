//! Who may talk to the server.
//!
//! Off loopback it is closed by default: a listener is refused unless callers must show a token, or the operator wrote
//! down that they need not. On loopback there are still browsers on the machine: a page from anywhere can send requests
//! to `127.0.0.1`, directly or by a name it controls (DNS rebinding), so the `Host` must be a loopback name, and a request
//! that a page has made is refused unless the page is of the same host and port. Another port of the machine may serve
//! anybody's page. A browser names the page in `Origin`, and where it does not (an image, a link, a `GET` of the same site)
//! it says in `Sec-Fetch-Site` how far away it is. Programs send neither.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::config::{Auth, Error};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a listener asks of its callers.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    token: Option<Arc<str>>,
    loopback: bool,
    /// Of OTLP over HTTP, whose errors have a form of their own.
    is_otlp_http: bool,
}

/// The flag of the listener for OTLP over HTTP.
pub(crate) const OTLP_HTTP: &str = "--otlp-http";

const FOREIGN_ORIGIN: &str = "a page of another host or port asks: only programs, and pages of this server's own address, are \
                              answered; set auth.token to let other pages ask with it";

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
        Ok(Self { token, loopback, is_otlp_http: flag == OTLP_HTTP })
    }

    fn check(&self, path: &str, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        // HTTP/2 carries the name in the request's target, HTTP/1 in a header; a program may send none.
        let named = [uri.authority().map(|it| it.as_str()), text(headers, header::HOST)];
        if self.loopback && named.into_iter().flatten().any(|name| !is_loopback_name(name)) {
            return Err(Refusal::ForeignHost);
        }
        if let Some(token) = &self.token {
            let shown = text(headers, header::AUTHORIZATION).and_then(bearer);
            return match shown {
                Some(shown) if equal(shown.as_bytes(), token.as_bytes()) => Ok(()),
                _ if path == "/healthz" => Ok(()),
                _ => Err(Refusal::Unauthenticated),
            };
        }
        // Where a name may be anybody's, a page under it is nobody's own.
        let own = named.into_iter().flatten().next().filter(|name| is_address(name));
        if text(headers, header::ORIGIN).is_some_and(|it| own.is_none() || it.strip_prefix("http://") != own) {
            return Err(Refusal::ForeignOrigin);
        }
        match text(headers, SEC_FETCH_SITE) {
            // `none`: a person typed the address.
            None | Some("none") => Ok(()),
            Some("same-origin") if own.is_some() => Ok(()),
            Some(_) => Err(Refusal::ForeignOrigin),
        }
    }
}

/// The guard as a layer around a listener's routes.
pub(crate) async fn admit(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match guard.check(request.uri().path(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            let (status, reason, message) = refusal.words();
            let mut response = if guard.is_otlp_http {
                martingale_ingest::otlp_refusal(request.headers(), status, message)
            } else {
                let body = Json(serde_json::json!({ "error": { "reason": reason, "message": message } }));
                (status, body).into_response()
            };
            if status == StatusCode::UNAUTHORIZED {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
            }
            response
        }
    }
}

impl Refusal {
    /// Status, reason, and what to do.
    const fn words(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Unauthenticated => {
                (StatusCode::UNAUTHORIZED, "unauthenticated", "send `Authorization: Bearer` with the server's token")
            }
            Self::ForeignHost => {
                (StatusCode::FORBIDDEN, "foreign_host", "the `Host` is not this machine: use 127.0.0.1 or localhost")
            }
            Self::ForeignOrigin => (StatusCode::FORBIDDEN, "foreign_origin", FOREIGN_ORIGIN),
        }
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
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

fn is_loopback_name(authority: &str) -> bool {
    is_address_that(authority, |ip| ip.is_loopback())
}

/// A name that nobody else can have: an address, or `localhost`.
fn is_address(authority: &str) -> bool {
    is_address_that(authority, |_| true)
}

/// `host`, `host:port`, `[v6]:port`.
fn is_address_that(authority: &str, meets: impl Fn(IpAddr) -> bool) -> bool {
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
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(meets)
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
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
            map.insert(HeaderName::try_from(*name).expect("a name"), value.parse().expect("a value"));
        }
        let uri: Uri = target.parse().expect("a target");
        guard.check(uri.path(), &uri, &map)
    }

    #[test]
    fn on_loopback_pages_of_others_are_refused() {
        let guard = Guard { token: None, loopback: true, is_otlp_http: false };
        for (target, headers, expected) in [
            ("/v1/sql", &[("host", "127.0.0.1:7676")][..], Ok(())),
            ("/v1/sql", &[("host", "localhost")], Ok(())),
            ("/v1/sql", &[("host", "[::1]:80")], Ok(())),
            ("/v1/sql", &[], Ok(())),
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
    fn only_a_page_of_the_same_host_and_port_may_ask() {
        let refused = Err(Refusal::ForeignOrigin);
        let (here, there) = ("127.0.0.1:7676", "10.0.0.1:7676");
        for (loopback, host, headers, expected) in [
            (true, here, &[("origin", "http://127.0.0.1:7676")][..], Ok(())),
            (true, here, &[("origin", "http://127.0.0.1:7676"), ("sec-fetch-site", "same-origin")], Ok(())),
            (true, here, &[("sec-fetch-site", "same-origin")], Ok(())),
            (true, here, &[("sec-fetch-site", "none")], Ok(())),
            (true, "localhost", &[("origin", "http://localhost")], Ok(())),
            (true, "[::1]:80", &[("origin", "http://[::1]:80")], Ok(())),
            // Another port, another name, another scheme: another page.
            (true, here, &[("origin", "http://127.0.0.1:3000")], refused),
            (true, here, &[("origin", "http://127.0.0.1")], refused),
            (true, here, &[("origin", "http://localhost:7676")], refused),
            (true, here, &[("origin", "https://127.0.0.1:7676")], refused),
            (true, here, &[("origin", "http://127.0.0.1:3000"), ("sec-fetch-site", "same-site")], refused),
            // An image or a link says no origin.
            (true, here, &[("sec-fetch-site", "same-site")], refused),
            (true, here, &[("sec-fetch-site", "cross-site")], refused),
            (true, here, &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], refused),
            (true, here, &[("sec-fetch-site", "something-new")], refused),
            (true, here, &[("origin", "http://127.0.0.1:7676"), ("sec-fetch-site", "cross-site")], refused),
            // Off loopback, without a token, any name may lead here.
            (false, there, &[("origin", "http://10.0.0.1:7676")], Ok(())),
            (false, there, &[("origin", "http://10.0.0.2:7676")], refused),
            (false, "evil.example:7676", &[("origin", "http://evil.example:7676")], refused),
            (false, "evil.example:7676", &[("sec-fetch-site", "same-origin")], refused),
            (false, "evil.example:7676", &[], Ok(())),
            (false, "martingale.internal", &[("sec-fetch-site", "none")], Ok(())),
        ] {
            let headers: Vec<_> = [("host", host)].into_iter().chain(headers.iter().copied()).collect();
            assert_eq!(
                check(&Guard { token: None, loopback, is_otlp_http: false }, "/v1/sql", &headers),
                expected,
                "{headers:?}"
            );
        }
        // HTTP/2 has the name in the target; a page whose request has none cannot be its own.
        let guard = Guard { token: None, loopback: true, is_otlp_http: false };
        let origin = &[("origin", "http://127.0.0.1:7676")];
        assert_eq!(check(&guard, "http://127.0.0.1:7676/v1/sql", origin), Ok(()));
        assert_eq!(check(&guard, "/v1/sql", origin), refused);
    }

    #[test]
    fn a_token_is_asked_of_everyone() {
        let guard = Guard { token: Some(TOKEN.into()), loopback: false, is_otlp_http: false };
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
