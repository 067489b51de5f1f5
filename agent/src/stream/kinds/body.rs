//! What bodies of requests have in common: JSON, compressed where that is wanted, and secrets in headers.

use std::{io::Write as _, path::Path};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, header};
use tokio::task::spawn_blocking;

use crate::config::read_key;

/// Headers of a body of JSON.
pub(super) fn json_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers
}

/// The body as it is sent, compressed if `gzip` says so; the header that says it is added.
pub(super) async fn packed(body: Bytes, gzip: bool, headers: &mut HeaderMap) -> Bytes {
    if !gzip {
        return body;
    }
    let plain = body.clone();
    // Not on the thread of all streams: a large body takes a while.
    let packed = spawn_blocking(move || compressed(&plain)).await;
    match packed {
        Ok(Ok(packed)) => {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            packed.into()
        }
        _ => body,
    }
}

fn compressed(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain)?;
    encoder.finish()
}

/// A secret of a file as a header's value, behind `before`.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn secret_header(before: &str, file: &Path) -> Result<HeaderValue, String> {
    let secret = secret(file)?;
    let value = HeaderValue::from_str(&format!("{before}{secret}"));
    let mut value = value.map_err(|_| failed(file, "cannot be put into a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A secret of a file.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn secret(file: &Path) -> Result<String, String> {
    read_key(file).map_err(|what| failed(file, &what))
}

fn failed(file: &Path, what: &str) -> String {
    format!("secret file {} {what}", file.display())
}

/// A text as JSON, quotes included.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Appends a text as JSON, quotes included.
pub(super) fn quote_into(text: &str, out: &mut Vec<u8>) {
    // Into memory: this cannot fail.
    drop(serde_json::to_writer(out, text));
}

/// The first words of what a server says of an error, fit for a person: no control characters, no length without end.
pub(super) fn said(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    let printable = text
        .chars()
        .map(|it| if it.is_control() { ' ' } else { it });
    printable.take(CHARS_MAX).collect()
}
