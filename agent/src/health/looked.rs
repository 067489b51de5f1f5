//! What lies in files: their modes, and certificates at their end.

use std::{fs, os::unix::fs::MetadataExt as _, path::PathBuf};

use super::Watched;
use crate::{
    config::{self, tls},
    policy::posture::{Certificate, Token},
};

/// What is wrong with certificates and keys.
pub(super) fn certificates(pairs: &[config::Certificate]) -> Vec<Certificate> {
    let mut found = Vec::new();
    for pair in pairs {
        for doubt in tls::doubts(pair) {
            let file = match doubt.part {
                tls::Part::Certificate => &pair.certificate,
                tls::Part::Key => &pair.key,
            };
            found.push(Certificate {
                file: file.display().to_string(),
                expired: doubt.what.contains("has expired"),
                what: doubt.what,
            });
        }
    }
    found
}

/// Tokens with the age of their files, which are written once.
pub(super) fn tokens(tokens: &[(String, PathBuf, bool)], now_ms: u64) -> Vec<Token> {
    let found = tokens.iter().map(|(name, file, everything)| {
        let made = fs::metadata(file).map_or(0, |metadata| metadata.mtime());
        let made_ms = made.unsigned_abs().saturating_mul(1_000);
        Token {
            name: name.clone(),
            age_ms: if made_ms == 0 {
                0
            } else {
                now_ms.saturating_sub(made_ms)
            },
            everything: *everything,
        }
    });
    found.collect()
}

/// Files that others may do more with than they should, each with what mends it. One that is not there is nobody's.
pub(super) fn files(watched: &[Watched]) -> Vec<(String, String)> {
    let found = watched.iter().filter_map(|one| {
        let mode = fs::symlink_metadata(&one.path).ok()?.mode() & 0o7777;
        let path = one.path.display();
        (mode & one.forbidden != 0).then(|| {
            (
                format!("{path} has mode {mode:04o}"),
                format!("chmod {:04o} {path}", mode & !one.forbidden),
            )
        })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_that_is_too_open_is_named_with_its_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "x").unwrap();
        let watch = |mode, forbidden| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let path = path.clone();
            files(&[Watched { path, forbidden }])
        };
        assert_eq!(watch(0o600, 0o077), []);
        assert_eq!(watch(0o644, 0o022), []);
        let found = watch(0o646, 0o022);
        assert!(found[0].0.ends_with("secret has mode 0646"), "{found:?}");
        assert!(found[0].1.starts_with("chmod 0644 "), "{found:?}");
        let path = dir.path().join("none");
        assert_eq!(
            files(&[Watched {
                path,
                forbidden: 0o777
            }]),
            []
        );
    }
}
