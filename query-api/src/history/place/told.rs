//! An object store that says what went wrong in one line.
//!
//! Answers of stores are documents, and some of them repeat what they were asked with, tokens among it. What passes here
//! reaches logs and messages.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// Longest part of an answer that is repeated.
const SAID_MAX: usize = 300;

#[derive(Clone)]
pub(super) struct Told(Arc<dyn ObjectStore>);

impl Told {
    pub(super) fn of(inner: Arc<dyn ObjectStore>) -> Self {
        Self(inner)
    }
}

/// Not what the client holds: credentials are among it.
impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Told {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.0.put_opts(location, payload, opts).await.map_err(told)
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.0.put_multipart_opts(location, opts).await.map_err(told)?;
        Ok(Box::new(ToldUpload(upload)))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let mut got = self.0.get_opts(location, options).await.map_err(told)?;
        got.payload = match got.payload {
            GetResultPayload::Stream(it) => GetResultPayload::Stream(it.map_err(told).boxed()),
            file @ GetResultPayload::File(..) => file,
        };
        Ok(got)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations).map_err(told).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix).map_err(told).boxed()
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list_with_offset(prefix, offset).map_err(told).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await.map_err(told)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await.map_err(told)
    }
}

struct ToldUpload(Box<dyn MultipartUpload>);

impl fmt::Debug for ToldUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("upload")
    }
}

#[async_trait]
impl MultipartUpload for ToldUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.0.put_part(data).map(|it| it.map_err(told)).boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.0.complete().await.map_err(told)
    }

    async fn abort(&mut self) -> Result<()> {
        self.0.abort().await.map_err(told)
    }
}

/// One line of an answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

/// The same error, with one line behind it.
fn told(error: Error) -> Error {
    let said = |source: Box<dyn StdError + Send + Sync>| -> Box<dyn StdError + Send + Sync> {
        Box::new(Said(line_of(&*source)))
    };
    match error {
        Error::Generic { store, source } => Error::Generic { store, source: said(source) },
        Error::NotFound { path, source } => Error::NotFound { path, source: said(source) },
        Error::NotSupported { source } => Error::NotSupported { source: said(source) },
        Error::AlreadyExists { path, source } => Error::AlreadyExists { path, source: said(source) },
        Error::Precondition { path, source } => Error::Precondition { path, source: said(source) },
        Error::NotModified { path, source } => Error::NotModified { path, source: said(source) },
        Error::PermissionDenied { path, source } => Error::PermissionDenied { path, source: said(source) },
        Error::Unauthenticated { path, source } => Error::Unauthenticated { path, source: said(source) },
        other => other,
    }
}

/// What an error and those behind it say, and of a document the code and the message.
fn line_of(error: &dyn StdError) -> String {
    let mut said = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = plain(&error.to_string());
        if !said.contains(&text) {
            said = if said.is_empty() { text } else { format!("{said}: {text}") };
        }
        next = error.source();
    }
    said
}

fn plain(text: &str) -> String {
    let Some(begin) = ["<?xml", "<Error", "<html", "<!DOCTYPE", "{"].iter().filter_map(|it| text.find(it)).min() else {
        return cut(text);
    };
    let (head, document) = text.split_at(begin);
    let head = head.trim_end_matches([' ', ':']);
    let said: Vec<String> = ["Code", "Message"]
        .into_iter()
        .filter_map(|it| element(document, it).or_else(|| member(document, it)))
        .collect();
    if said.is_empty() { cut(head) } else { cut(&format!("{head}: {}", said.join(": "))) }
}

fn element(document: &str, name: &str) -> Option<String> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    Some(rest.split(['<', '\n']).next()?.to_owned())
}

fn member(document: &str, name: &str) -> Option<String> {
    let read: serde_json::Value = serde_json::from_str(document).ok()?;
    let found = read.pointer(&format!("/error/{}", name.to_lowercase()))?;
    Some(found.as_str().map_or_else(|| found.to_string(), |it| it.lines().next().unwrap_or_default().to_owned()))
}

fn cut(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim_end();
    match line.char_indices().nth(SAID_MAX) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn of_a_document_its_code_and_message_are_told() {
        let aws = "Error performing GET http://h/b in 1ms - Server returned non-2xx status code: 400 Bad Request: \
                   <?xml version=\"1.0\"?>\n<Error><Code>InvalidToken</Code><Message>The token is malformed.</Message>\
                   <Token-0>hush</Token-0></Error>";
        let azure = "code: 403 Forbidden: \u{feff}<?xml version=\"1.0\"?><Error><Code>AuthenticationFailed</Code>\
                     <Message>Server failed.\nRequestId:hush</Message></Error>";
        let google = "code: 404 Not Found: {\"error\": {\"code\": 404, \"message\": \"No bucket.\", \"x\": \"hush\"}}";
        for (text, ends) in [
            (aws, "400 Bad Request: InvalidToken: The token is malformed."),
            (azure, "AuthenticationFailed: Server failed."),
            (google, "404 Not Found: 404: No bucket."),
            ("code: 502: <html><body>hush</body></html>", "code: 502"),
            ("connection refused", "connection refused"),
        ] {
            let said = plain(text);
            assert!(said.ends_with(ends) && !said.contains("hush") && !said.contains('\n'), "{said}");
        }
        assert_eq!(plain(&"x".repeat(10_000)).chars().count(), 301);
    }
}
