//! `kind = "webhook"`.

use std::path::{Path, PathBuf};

use super::{
    super::{
        raw::Table,
        stream::{StreamKind, Webhook},
    },
    remote,
};
use crate::stream::webhook_secret;

pub(super) const KEYS: &[&str] = &["url", "secret_files"];

/// Secrets that a request is signed with at a time.
const SECRETS_MAX: usize = 4;

pub(super) fn read(table: &Table<'_>, base: &Path) -> Option<StreamKind> {
    let remote = remote::remote(table, base);
    let secret_files = secret_files(table, base);
    Some(StreamKind::Webhook(Webhook {
        remote: remote?,
        secret_files,
    }))
}

fn secret_files(table: &Table<'_>, base: &Path) -> Vec<PathBuf> {
    let Some(node) = table.required("secret_files", "[\"webhook.secret\"]") else {
        return Vec::new();
    };
    let elements = node.elements();
    if elements.is_empty() || elements.len() > SECRETS_MAX {
        node.error(
            format!(
                "names {} files; 1 to {SECRETS_MAX} are possible",
                elements.len()
            ),
            Some("name the secret's file, and a second one while it changes".to_owned()),
        );
    }
    elements
        .iter()
        .filter_map(|node| {
            remote::secret_file(node, base, |secret| webhook_secret(secret).map(|_| ()))
        })
        .collect()
}
