//! One look at a feed: what every sort of source gives, and what it needs.

use std::{path::PathBuf, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use super::{
    cache::Mark,
    client::{Ask, Client, Failure},
    parse::{Report, Terms, Unfit},
};
use crate::{
    base64,
    config::{
        Feed,
        feed::{Auth, FeedKey},
        read_key,
    },
    policy::feed::{Draft, FeedTable},
};

/// What a round has to go by.
pub(super) struct Round<'a> {
    pub(super) feed: &'a Feed,
    /// What is in force.
    pub(super) table: &'a Arc<FeedTable>,
    /// Where the source had got to when that was read.
    pub(super) mark: &'a Mark,
    /// Where a body may lie while it is read.
    pub(super) scratch: PathBuf,
    pub(super) now_ms: u64,
    /// The operator wants all of it, changed or not.
    pub(super) forced: bool,
}

/// What a round brings.
pub(super) enum Brought {
    /// Nothing new; the source is well.
    Unchanged {
        /// When it was heard of; now, unless it is a file of the past.
        heard_ms: u64,
    },
    /// All that the feed says from now on.
    Read(Box<Harvested>),
}

pub(super) struct Harvested {
    pub(super) draft: Draft,
    pub(super) report: Report,
    pub(super) mark: Mark,
    pub(super) heard_ms: u64,
    /// It came as a whole: an empty or a much changed one is in doubt.
    pub(super) whole: bool,
}

/// Why a round brings nothing.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The source could not be had.
    Failed(Failure),
    /// It was had and cannot be right.
    Refused(String),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Unfit> for Trouble {
    fn from(unfit: Unfit) -> Self {
        Self::Refused(unfit.to_string())
    }
}

impl Round<'_> {
    pub(super) fn terms(&self) -> Terms {
        Terms {
            score: self.feed.score,
            score_min: self.feed.score_min,
            now_ms: self.now_ms,
        }
    }

    pub(super) fn draft(&self) -> Draft {
        Draft::new(self.feed.entries_max, &self.feed.reason)
    }

    pub(super) fn client(&self, uri: &Uri) -> Result<Client, Failure> {
        Client::new(uri, self.feed.ca_file.as_deref(), self.feed.timeout)
    }

    pub(super) fn ask(&self, uri: Uri, headers: HeaderMap) -> Result<Ask, Failure> {
        let key = self.feed.key.as_ref().map(proof).transpose()?;
        Ok(Ask { uri, headers, key })
    }
}

/// The header that proves who asks, from the file as it is now.
fn proof(key: &FeedKey) -> Result<(HeaderName, HeaderValue), Failure> {
    let failed = |what: &str| Failure::new(format!("key_file {} {what}", key.file.display()));
    let secret = read_key(&key.file).map_err(|what| failed(&what))?;
    let (name, text) = match &key.auth {
        Auth::Basic => (
            header::AUTHORIZATION,
            format!("Basic {}", base64::encode(secret.as_bytes())),
        ),
        Auth::Bearer => (header::AUTHORIZATION, format!("Bearer {secret}")),
        Auth::Ssws => (header::AUTHORIZATION, format!("SSWS {secret}")),
        Auth::Header(name) => {
            let name = HeaderName::try_from(name.as_str())
                .map_err(|_| failed("goes into a header that cannot be"))?;
            (name, secret)
        }
    };
    let mut value =
        HeaderValue::try_from(text).map_err(|_| failed("holds what no header can carry"))?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// A value of a query, every byte that could mean something escaped.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A URL with another path behind its own, and a query.
pub(super) fn below(base: &Uri, path: &str, query: &str) -> Result<Uri, Failure> {
    let scheme = base.scheme_str().unwrap_or("https");
    let authority = base.authority().map_or("", |authority| authority.as_str());
    let root = base.path().trim_end_matches('/');
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{scheme}://{authority}{root}{path}{mark}{query}")
        .parse()
        .map_err(|_| Failure::new("has a URL that cannot be asked for"))
}

/// Runs what reads and sorts where nobody waits for it.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Failure::new("could not be read: the thread that reads it is gone"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_for_their_place() {
        assert_eq!(escaped("a b&c=é/"), "a%20b%26c%3D%C3%A9%2F");
        let base: Uri = "https://host:8443/api/".parse().unwrap();
        let uri = below(&base, "/v1/x", "a=b").unwrap();
        assert_eq!(uri.to_string(), "https://host:8443/api/v1/x?a=b");
    }
}
