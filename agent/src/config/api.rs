//! `[api]`: the HTTP API, which is off without this table.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use super::{
    Certificate, endpoints,
    error::shown,
    gateway,
    raw::{Node, Table},
    zones::name,
};
use crate::api::secret;

/// Where the API is served, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Loopback, unless `tls` is there.
    pub listen: SocketAddr,
    /// The server's certificate; without it the API speaks plain HTTP.
    pub tls: Option<Certificate>,
    /// Requests of one token in a minute.
    pub requests_per_minute: u32,
    /// At least one; names are unique.
    pub tokens: Vec<ApiToken>,
}

/// Somebody who may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// Unique among tokens; events name it.
    pub name: String,
    /// What the token is known by: its hash, or the token itself (`api::secret`).
    pub secret_file: PathBuf,
    /// What may be asked.
    pub scopes: Scopes,
}

/// What a token allows, as a set. `manage` includes `read`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scopes(u16);

impl Scopes {
    /// The System Log.
    pub const LOGS_READ: Self = Self(1);
    /// The mode and the exempt zones.
    pub const THREATS_READ: Self = Self(1 << 1);
    /// The same, and changing them.
    pub const THREATS_MANAGE: Self = Self(1 << 2);
    /// The zones.
    pub const ZONES_READ: Self = Self(1 << 3);
    /// The same, and changing them.
    pub const ZONES_MANAGE: Self = Self(1 << 4);

    /// Okta's words for them.
    pub const NAMED: [(&'static str, Self); 5] = [
        ("okta.logs.read", Self::LOGS_READ),
        ("okta.threatInsights.read", Self::THREATS_READ),
        ("okta.threatInsights.manage", Self::THREATS_MANAGE),
        ("okta.networkZones.read", Self::ZONES_READ),
        ("okta.networkZones.manage", Self::ZONES_MANAGE),
    ];

    /// True if the set allows what one scope does.
    #[must_use]
    pub const fn allow(self, wanted: Self) -> bool {
        let mut all = self.0;
        if all & Self::THREATS_MANAGE.0 != 0 {
            all |= Self::THREATS_READ.0;
        }
        if all & Self::ZONES_MANAGE.0 != 0 {
            all |= Self::ZONES_READ.0;
        }
        all & wanted.0 == wanted.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The words for what is in the set.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        Self::NAMED
            .iter()
            .filter(|(_, one)| self.0 & one.0 == one.0)
            .map(|(name, _)| *name)
            .collect()
    }

    /// The set of one word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::NAMED
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(_, scope)| *scope)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(", "))
    }
}

const API_KEYS: [&str; 4] = ["listen", "tls", "requests_per_minute", "token"];
const TOKEN_KEYS: [&str; 3] = ["name", "secret_file", "scopes"];
/// Every token is compared with each request.
const TOKENS_MAX: usize = 64;
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8443);
/// Okta's own default for this log is 120 and less.
const REQUESTS_PER_MINUTE: u32 = 600;

pub(super) fn api(top: &Table<'_>, base: &Path) -> Option<Api> {
    let table = top.get("api")?.table(&API_KEYS)?;
    let tls = table
        .get("tls")
        .and_then(|node| node.table(&["certificate", "key"]))
        .and_then(|inner| gateway::pair(&inner, base, true));
    let has_tls = table.get("tls").is_some();
    let listen = match table.get("listen") {
        None => LISTEN,
        Some(node) => listen(&node, has_tls).unwrap_or(LISTEN),
    };
    Some(Api {
        listen,
        tls,
        requests_per_minute: table.count("requests_per_minute", 1..=1_000_000, REQUESTS_PER_MINUTE),
        tokens: tokens(&table, base),
    })
}

fn listen(node: &Node<'_>, has_tls: bool) -> Option<SocketAddr> {
    let text = node.string()?;
    let Some(address) = endpoints::socket_address(text) else {
        let suggestion = text.strip_prefix("localhost:").map_or_else(
            || "write 127.0.0.1:8443 or [::1]:8443".to_owned(),
            |port| format!("write 127.0.0.1:{port}"),
        );
        node.error(
            format!("\"{}\" is no address with a port", shown(text)),
            Some(suggestion),
        );
        return None;
    };
    if address.port() == 0 {
        node.error(
            "has no port",
            Some("write a port from 1 to 65535".to_owned()),
        );
        return None;
    }
    if !address.ip().is_loopback() && !has_tls {
        node.error(
            format!(
                "{} is no loopback address, and without TLS everybody on the way could read the tokens",
                address.ip()
            ),
            Some(format!(
                "add [api.tls] with certificate and key, or write 127.0.0.1:{}",
                address.port()
            )),
        );
        return None;
    }
    Some(address)
}

fn tokens(table: &Table<'_>, base: &Path) -> Vec<ApiToken> {
    let tables = table
        .get("token")
        .map(|node| node.tables(&TOKEN_KEYS))
        .unwrap_or_default();
    if tables.is_empty() {
        table.error(
            "names no token: nobody could ask".to_owned(),
            Some("make one with `edgeward token new NAME --scope okta.logs.read`".to_owned()),
        );
    }
    if tables.len() > TOKENS_MAX {
        table.error(format!("names more than {TOKENS_MAX} tokens"), None);
    }
    let mut found: Vec<ApiToken> = Vec::new();
    let mut known: Vec<(secret::Digest, String)> = Vec::new();
    for mut table in tables {
        let name = name(&mut table);
        let file = table.required("secret_file", "\"/etc/edgeward/tokens/siem\"");
        let scopes = scopes(&table);
        if !name.is_empty() && found.iter().any(|known| known.name == name) {
            table.error(
                format!("the name \"{}\" is already taken", shown(&name)),
                Some("give each its own name".to_owned()),
            );
        }
        let secret_file = file.and_then(|node| {
            let path = node.file(base)?;
            match secret::Secret::read(&path) {
                Err(what) => node.file_error(&path, &what),
                Ok(secret) => {
                    let same = known.iter().find(|(digest, _)| *digest == secret.digest);
                    if let Some((_, other)) = same {
                        node.error(
                            format!("is the secret of \"{}\" too", shown(other)),
                            Some("make each token its own secret".to_owned()),
                        );
                    }
                    if secret.is_short {
                        node.file_warning(&path, "holds a token that is easily guessed; `edgeward token new` makes better ones");
                    }
                    known.push((secret.digest, name.clone()));
                }
            }
            Some(path)
        });
        found.push(ApiToken {
            name,
            secret_file: secret_file.unwrap_or_default(),
            scopes,
        });
    }
    found
}

fn scopes(table: &Table<'_>) -> Scopes {
    let Some(node) = table.required("scopes", "[\"okta.logs.read\"]") else {
        return Scopes::default();
    };
    if node.is_empty_array() {
        node.error(
            "allows nothing",
            Some("write at least one scope, as in [\"okta.logs.read\"]".to_owned()),
        );
    }
    node.elements()
        .iter()
        .filter_map(|element| element.word(&Scopes::NAMED))
        .fold(Scopes::default(), Scopes::with)
}

#[cfg(test)]
#[path = "api_tests.rs"]
mod tests;
