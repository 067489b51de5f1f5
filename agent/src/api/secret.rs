//! The file that a token is known by, and new tokens.
//!
//! The file holds the token's SHA-256, so that reading it lets nobody in: `sha256:` with 64 hexadecimal digits, then
//! lines `created:` and `expires:` if it ends. A file with the token itself on its first line is taken as well.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use ring::{digest, rand::SecureRandom as _};

use crate::{config::read_small, moment};

/// SHA-256.
pub(crate) type Digest = [u8; 32];

/// What a file says of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Secret {
    /// Of the token's bytes.
    pub(crate) digest: Digest,
    /// When it was made, milliseconds since the Unix epoch, if the file says so.
    pub(crate) created_ms: Option<u64>,
    /// From when on it is not taken any more.
    pub(crate) expires_ms: Option<u64>,
    /// The file holds the token itself, and it is short.
    pub(crate) is_short: bool,
    /// The file holds the token itself.
    pub(crate) is_clear: bool,
}

/// Longest file, bytes.
const FILE_BYTES_MAX: usize = 4_096;
/// Shorter tokens are told to be weak.
const TOKEN_BYTES_MIN: usize = 20;
/// Random bytes of a token.
const TOKEN_RANDOM_BYTES: usize = 24;
const HASHED: &str = "sha256:";

impl Secret {
    /// Reads a file, which nobody but its owner and group may read.
    ///
    /// # Errors
    /// A sentence without the file's name and without anything of what it holds.
    pub(crate) fn read(file: &Path) -> Result<Self, String> {
        let bytes = read_small(file, FILE_BYTES_MAX)?;
        let mode = fs::metadata(file).map_or(0, |metadata| metadata.permissions().mode());
        if mode & 0o007 != 0 {
            return Err(format!(
                "may be read or written by everybody (mode {:03o}); chmod o= it",
                mode & 0o777
            ));
        }
        let text = String::from_utf8(bytes).map_err(|_| "holds no text".to_owned())?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim);
        let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let first = lines
            .next()
            .ok_or("is empty; `edgeward token new` makes a token and its file")?;
        let (digest, is_clear) = match first.strip_prefix(HASHED) {
            Some(hex) => (
                unhex(hex).ok_or("holds no SHA-256 behind `sha256:`")?,
                false,
            ),
            None if first.bytes().all(|byte| byte.is_ascii_graphic()) => (hash(first), true),
            None => return Err("holds no token: a line of printable characters".to_owned()),
        };
        let mut secret = Self {
            digest,
            created_ms: None,
            expires_ms: None,
            is_short: is_clear && first.len() < TOKEN_BYTES_MIN,
            is_clear,
        };
        for line in lines {
            let Some((key, value)) = line.split_once(':') else {
                return Err("holds a line that is neither `created:` nor `expires:`".to_owned());
            };
            let at = moment::moment(value)
                .ok_or_else(|| "holds a date that cannot be read".to_owned())?;
            match key {
                "created" => secret.created_ms = Some(at),
                "expires" => secret.expires_ms = Some(at),
                _ => {
                    return Err("holds a line that is neither `created:` nor `expires:`".to_owned());
                }
            }
        }
        Ok(secret)
    }

    /// The text of a file for a token of which nothing else is kept.
    pub(crate) fn file_text(
        name: &str,
        token: &str,
        created_ms: u64,
        expires_ms: Option<u64>,
    ) -> String {
        let hex = hex(&hash(token));
        let created = moment::utc(created_ms);
        let mut text = format!(
            "# API token \"{name}\". The hash lets nobody in.\n{HASHED}{hex}\ncreated: {created}\n"
        );
        if let Some(at) = expires_ms {
            text.push_str(&format!("expires: {}\n", moment::utc(at)));
        }
        text
    }
}

/// A token that nobody can guess.
///
/// # Errors
/// There are no random numbers.
pub(crate) fn new_token() -> Result<String, String> {
    let mut bytes = [0; TOKEN_RANDOM_BYTES];
    random(&mut bytes)?;
    Ok(format!("ew_{}", hex(&bytes)))
}

/// Fills bytes that nobody can guess.
///
/// # Errors
/// There are no random numbers.
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), String> {
    ring::rand::SystemRandom::new()
        .fill(bytes)
        .map_err(|_| "there are no random numbers".to_owned())
}

/// The SHA-256 of a text.
pub(crate) fn hash(text: &str) -> Digest {
    let mut out = [0; 32];
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    for (to, from) in out.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    out
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Digest> {
    let digits: Vec<u8> = text
        .trim()
        .chars()
        .map(|digit| u8::try_from(digit.to_digit(16)?).ok())
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(high << 4 | low),
            _ => None,
        })
        .collect::<Option<_>>()?;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_is_known_by_its_file_alone() {
        let token = new_token().unwrap();
        assert_eq!(token.len(), 3 + 2 * TOKEN_RANDOM_BYTES);
        assert_ne!(token, new_token().unwrap());
        let text = Secret::file_text("siem", &token, 1_700_000_000_000, Some(1_800_000_000_000));
        assert!(!text.contains(token.get(3..).unwrap()), "{text}");
        let secret = Secret::parse(&text).unwrap();
        assert_eq!(secret.digest, hash(&token));
        assert_eq!(secret.created_ms, Some(1_700_000_000_000));
        assert_eq!(secret.expires_ms, Some(1_800_000_000_000));
        assert!(!secret.is_clear && !secret.is_short);
    }

    #[test]
    fn a_token_itself_is_taken_and_told_to_be_short() {
        let secret = Secret::parse("s3cret\n").unwrap();
        assert_eq!(secret.digest, hash("s3cret"));
        assert!(secret.is_clear && secret.is_short);
        let secret = Secret::parse("a-token-that-is-long-enough\n").unwrap();
        assert!(secret.is_clear && !secret.is_short);
    }

    #[test]
    fn what_is_no_secret_is_refused_without_a_word_of_it() {
        let half = "ab".repeat(16);
        let cases = [
            "",
            "# only this\n",
            "two words\n",
            "sha256:\n",
            "sha256:zz\n",
            "tok\nmore\n",
            "tok\nexpires: soon\n",
            "tok\nowner: 2026-01-02\n",
            &format!("sha256:{half}\n"),
            &format!("sha256:{half}{half}0\n"),
        ];
        for text in cases {
            let what = Secret::parse(text).expect_err(text);
            assert!(!what.contains(&half) && !what.contains("tok\n"), "{what}");
        }
    }

    #[test]
    fn a_file_that_everybody_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        fs::write(&file, "a-token-that-is-long-enough").unwrap();
        for (mode, taken) in [(0o600, true), (0o640, true), (0o644, false), (0o602, false)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(Secret::read(&file).is_ok(), taken, "{mode:o}");
        }
    }
}
