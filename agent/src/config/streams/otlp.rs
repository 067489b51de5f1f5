//! `kind = "otlp"`.

use std::path::Path;

use http::HeaderName;

use super::{
    super::{
        raw::Table,
        receivers::{Otlp, OtlpEncoding, SecretHeader},
        stream::StreamKind,
    },
    remote,
};

pub(super) const KEYS: &[&str] = &["url", "encoding", "gzip", "header", "header_file"];

/// Where collectors take logs (OTLP/HTTP).
const LOGS: &str = "/v1/logs";

pub(super) fn read(table: &Table<'_>, base: &Path) -> Option<StreamKind> {
    let remote = remote::remote(table, base).and_then(|remote| {
        if remote.uri.path() == "/" && remote.uri.query().is_none() {
            remote::with_path(None, remote, LOGS)
        } else {
            Some(remote)
        }
    });
    let encodings = [
        ("protobuf", OtlpEncoding::Protobuf),
        ("json", OtlpEncoding::Json),
    ];
    let kind = Otlp {
        encoding: table.choice("encoding", &encodings),
        gzip: table.flag("gzip", false),
        secret: secret(table, base),
        remote: remote?,
    };
    Some(StreamKind::Otlp(kind))
}

/// `header` names a header, `header_file` the file with its value.
fn secret(table: &Table<'_>, base: &Path) -> Option<SecretHeader> {
    let name = table.get("header").and_then(|node| {
        let name = node.string()?.parse::<HeaderName>();
        if name.is_err() {
            node.error(
                "is no name of a header",
                Some("write \"authorization\"".to_owned()),
            );
        }
        name.ok()
    });
    let Some(node) = table.get("header_file") else {
        if let Some(alone) = table.get("header") {
            alone.error(
                "stands alone; its value comes from a file",
                Some("add header_file".to_owned()),
            );
        }
        return None;
    };
    let file = remote::secret_file(&node, base, |_| Ok(()))?;
    Some(SecretHeader {
        name: name.unwrap_or(http::header::AUTHORIZATION),
        file,
    })
}
