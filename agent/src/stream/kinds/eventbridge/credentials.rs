//! Who signs: a profile of a file, or the environment.

use std::{collections::BTreeMap, env, fs, os::unix::fs::PermissionsExt as _, path::Path};

use crate::config::receivers::AwsCredentials;

/// Longest file of credentials, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1_024;

/// A key, its secret, and the token of a session.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(super) key: String,
    pub(super) secret: String,
    pub(super) token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

impl Credentials {
    /// As they are now: those of a session change every few hours.
    ///
    /// # Errors
    /// What is missing.
    pub(super) fn read(settings: &AwsCredentials) -> Result<Self, String> {
        match settings {
            AwsCredentials::File { file, profile: of } => profile(file, of)
                .map_err(|what| format!("credentials file {} {what}", file.display())),
            AwsCredentials::Environment => {
                let named = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
                let required = |name: &str| {
                    named(name).ok_or_else(|| {
                        format!("has no {name} in the agent's environment, and no credentials_file")
                    })
                };
                Ok(Self {
                    key: required("AWS_ACCESS_KEY_ID")?,
                    secret: required("AWS_SECRET_ACCESS_KEY")?,
                    token: named("AWS_SESSION_TOKEN"),
                })
            }
        }
    }
}

/// A profile of a file in the form of `~/.aws/credentials`, which nobody else may read.
///
/// # Errors
/// A sentence to be put behind the file's name.
pub(crate) fn profile(file: &Path, name: &str) -> Result<Credentials, String> {
    let metadata = fs::metadata(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist".to_owned(),
        _ => format!("cannot be read: {error}"),
    })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!(
            "may be read or written by others (mode {mode:03o}); chmod 600 it"
        ));
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(format!("is longer than {FILE_BYTES_MAX} bytes"));
    }
    let text = fs::read_to_string(file).map_err(|error| format!("cannot be read: {error}"))?;
    section(&text, name)
}

fn section(text: &str, name: &str) -> Result<Credentials, String> {
    let mut current = "";
    let mut is_there = false;
    let mut values = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            current = section.trim();
            is_there |= current == name;
        } else if let Some((key, value)) = line.split_once('=')
            && current == name
            && !line.starts_with(['#', ';'])
        {
            values.insert(key.trim().to_lowercase(), value.trim().to_owned());
        }
    }
    if !is_there {
        return Err(format!("has no profile [{name}]"));
    }
    let mut take = |key: &str| values.remove(key).filter(|value| !value.is_empty());
    let missing = |key: &str| format!("has no {key} in its profile [{name}]");
    Ok(Credentials {
        key: take("aws_access_key_id").ok_or_else(|| missing("aws_access_key_id"))?,
        secret: take("aws_secret_access_key").ok_or_else(|| missing("aws_secret_access_key"))?,
        token: take("aws_session_token"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_found_among_others_and_what_is_missing_is_named() {
        let text = "[default]\naws_access_key_id = A\naws_secret_access_key=s=1\n# [x]\n\n[siem]\nAWS_ACCESS_KEY_ID=B\naws_secret_access_key = t\naws_session_token = u\n[half]\naws_access_key_id = C\n";
        let found = section(text, "default").unwrap();
        assert_eq!(
            (found.key.as_str(), found.secret.as_str(), found.token),
            ("A", "s=1", None)
        );
        assert_eq!(section(text, "siem").unwrap().token.as_deref(), Some("u"));
        assert!(
            section(text, "half")
                .unwrap_err()
                .contains("aws_secret_access_key")
        );
        assert!(section(text, "x").unwrap_err().contains("no profile [x]"));
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("credentials");
        fs::write(
            &file,
            "[default]\naws_access_key_id=A\naws_secret_access_key=s\n",
        )
        .unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(profile(&file, "default").unwrap_err().contains("chmod 600"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let found = profile(&file, "default").unwrap();
        assert_eq!(format!("{found:?}"), "Credentials");
    }
}
