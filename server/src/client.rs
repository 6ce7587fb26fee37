//! Talks to a server over HTTP, and says what went wrong in words.

pub(crate) mod sse;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, Response, Url};
use serde_json::Value;

use crate::cli::Server;
use crate::output::{myself, plain, plain_lines};

/// Largest answer that is taken into memory.
const ANSWER_BYTES_MAX: usize = 1 << 30;
/// Longest text of a server that an error repeats.
const MESSAGE_CHARS_MAX: usize = 2_000;

/// A server and how to address it.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    authorization: Option<HeaderValue>,
}

impl Client {
    /// # Errors
    /// When the address or the token cannot be used.
    pub(crate) fn new(server: &Server) -> Result<Self> {
        let authorization = server.token.as_deref().map(bearer).transpose()?;
        let base = base_of(&server.server)?;
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("martingale/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .tcp_nodelay(true)
            .redirect(Policy::none());
        if base.scheme() == "http" {
            // Nothing is encrypted and no redirect can change that, so the system's certificates need not be there: on a
            // bare machine they are not, and setting up the client would fail.
            http = http.tls_danger_accept_invalid_certs(true);
        }
        let http = http.build().context("the HTTP client cannot be set up")?;
        Ok(Self { http, base, authorization })
    }

    /// Where the server is, for people.
    pub(crate) fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// The socket behind the address.
    ///
    /// # Errors
    /// When the name cannot be resolved, or the connection would be encrypted.
    pub(crate) async fn address(&self) -> Result<SocketAddr> {
        let (host, port) = (self.base.host_str().unwrap_or_default(), self.base.port_or_known_default().unwrap_or(80));
        if self.base.scheme() != "http" {
            bail!("{} is not measured: give an http:// address", self.base());
        }
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let mut found =
            tokio::net::lookup_host((host, port)).await.with_context(|| format!("{host} has no address"))?;
        found.next().with_context(|| format!("{host} has no address"))
    }

    /// A request to a path of unescaped `segments`, with the parameters that are set.
    pub(crate) fn request(&self, method: Method, segments: &[&str], query: &[(&str, Option<&str>)]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        for (name, value) in query {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        let request = self.http.request(method, url);
        match &self.authorization {
            Some(token) => request.header(AUTHORIZATION, token.clone()),
            None => request,
        }
    }

    /// # Errors
    /// When there is no answer, or one that is not 2xx: with the server's own message.
    pub(crate) async fn get(&self, segments: &[&str], query: &[(&str, Option<&str>)]) -> Result<Value> {
        read_json(self.send(self.request(Method::GET, segments, query)).await?).await
    }

    /// # Errors
    /// As [`Self::get`].
    pub(crate) async fn post(&self, segments: &[&str], body: &Value) -> Result<Value> {
        read_json(self.send(self.request(Method::POST, segments, &[]).json(body)).await?).await
    }

    /// # Errors
    /// As [`Self::get`].
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let answer = self.send_any(request).await?;
        if answer.status().is_success() { Ok(answer) } else { Err(refusal(answer).await) }
    }

    /// The answer whatever its status.
    ///
    /// # Errors
    /// When there is no answer.
    pub(crate) async fn send_any(&self, request: RequestBuilder) -> Result<Response> {
        request.send().await.map_err(|error| self.unreachable(error))
    }

    fn unreachable(&self, error: reqwest::Error) -> anyhow::Error {
        let base = self.base();
        if error.is_connect() {
            let remedy = format!("start one with `{} up --data ./data`, or name another with --server", myself());
            return anyhow::Error::new(error.without_url()).context(format!("no server at {base}: {remedy}"));
        }
        anyhow::Error::new(error.without_url()).context(format!("no answer from {base}"))
    }
}

/// The error of an answer that is not 2xx, in the server's words.
pub(crate) async fn refusal(answer: Response) -> anyhow::Error {
    let status = answer.status();
    let body = answer.text().await.unwrap_or_default();
    let message = message_of(&body);
    let message = plain_lines(&message, MESSAGE_CHARS_MAX);
    if message.is_empty() { anyhow!("the server answered {status}") } else { anyhow!("{message} ({status})") }
}

/// The sentence in an error's body: `{"error": "…"}`, `{"error": {"message": "…"}}`, `{"message": "…"}` or the text.
fn message_of(body: &str) -> String {
    let json: Option<Value> = serde_json::from_str(body).ok();
    let found = json.as_ref().and_then(|json| {
        [&json["error"]["message"], &json["message"], &json["error"], &json["reason"]]
            .into_iter()
            .find_map(Value::as_str)
    });
    found.unwrap_or(body).trim().to_owned()
}

async fn read_json(mut answer: Response) -> Result<Value> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.context("the answer broke off")? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            bail!("the answer is larger than {ANSWER_BYTES_MAX} bytes: ask for less, e.g. with LIMIT");
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).context("the answer is no JSON: is this a martingale server?")
}

fn bearer(token: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| anyhow!("the token holds characters that a header cannot carry"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// `host:port` is taken as well as a whole URL.
fn base_of(server: &str) -> Result<Url> {
    let wrong = || anyhow!("`{}` is no server address: give one as http://127.0.0.1:7676", plain(server, 200));
    let host_and_port = |text: &str| text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let text = match server.contains("://") {
        true => server.to_owned(),
        false if host_and_port(server) => format!("http://{server}"),
        false => return Err(wrong()),
    };
    let url = Url::parse(&text).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(wrong());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::{Client, Method, base_of, message_of};
    use crate::cli::Server;

    #[test]
    fn addresses_are_taken_as_people_write_them() {
        for (text, url) in [
            ("http://127.0.0.1:7676", Some("http://127.0.0.1:7676/")),
            ("127.0.0.1:7676", Some("http://127.0.0.1:7676/")),
            ("localhost:1", Some("http://localhost:1/")),
            ("https://m.example/base/", Some("https://m.example/base/")),
            ("nonsense", None),
            ("ftp://x", None),
            ("http://", None),
            ("", None),
        ] {
            assert_eq!(base_of(text).ok().as_ref().map(|it| it.as_str()), url, "{text}");
        }
        assert!(base_of("nonsense").expect_err("refused").to_string().contains("nonsense"));
    }

    #[test]
    fn identities_cannot_leave_their_place_in_a_path() {
        let server = Server { server: "http://h:1/base".into(), token: Some("t".into()) };
        let client = Client::new(&server).expect("valid");
        let query = [("agent", Some("a&b")), ("limit", None)];
        let request = client.request(Method::GET, &["v1", "sessions", "../../a?b#c"], &query).build().expect("builds");
        assert_eq!(request.url().as_str(), "http://h:1/base/v1/sessions/..%2F..%2Fa%3Fb%23c?agent=a%26b");
        assert_eq!(request.headers()["authorization"], "Bearer t");
    }

    #[test]
    fn the_servers_words_are_found() {
        for (body, message) in [
            (r#"{"error":"no table `x`"}"#, "no table `x`"),
            (r#"{"error":{"message":"too long"}}"#, "too long"),
            (r#"{"message":"m","status":400}"#, "m"),
            ("plain text\n", "plain text"),
            ("", ""),
        ] {
            assert_eq!(message_of(body), message);
        }
    }
}
