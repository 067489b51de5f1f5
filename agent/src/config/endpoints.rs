//! `[[endpoint]]`: where an existing proxy asks for a decision.

use std::{net::SocketAddr, path::PathBuf};

use super::{
    Endpoint, Listen, PeerSource, Profile, Service,
    error::{nearest, shown},
    places,
    raw::{Node, Table},
    sign_ins,
    zones::{Typed, name},
};

pub(super) const ENDPOINT_KEYS: [&str; 8] = [
    "name",
    "listen",
    "listen_mode",
    "profile",
    "service",
    "peer",
    "resolved",
    "user_header",
];

/// Of a Unix socket: its owner and group may connect.
const MODE: u32 = 0o660;

pub(super) fn endpoints<'a>(
    top: &Table<'a>,
    services: &[Typed<'_, Service>],
) -> Vec<Typed<'a, Endpoint>> {
    let tables = top
        .get("endpoint")
        .map(|node| node.tables(&ENDPOINT_KEYS))
        .unwrap_or_default();
    tables
        .into_iter()
        .map(|mut table| Typed {
            value: endpoint(&mut table, services),
            table,
            networks: Vec::new(),
            ports: Vec::new(),
        })
        .collect()
}

fn endpoint(table: &mut Table<'_>, services: &[Typed<'_, Service>]) -> Endpoint {
    let name = name(table);
    let known: Vec<&str> = Profile::NAMED.iter().map(|(word, _)| *word).collect();
    let profile = table
        .required("profile", &format!("one of {}", known.join(", ")))
        .and_then(|node| node.word(&Profile::NAMED));
    let peer = table
        .get("peer")
        .and_then(|node| peer(&node, profile))
        .or(profile.map(Profile::peer));
    Endpoint {
        name,
        listen: listen(table).unwrap_or_else(|| Listen::Unix(PathBuf::new(), MODE)),
        profile: profile.unwrap_or(Profile::AuthRequest),
        service: endpoint_service(table, services, profile).unwrap_or_default(),
        peer: peer.unwrap_or(PeerSource::LastHop),
        resolved: table.flag("resolved", false),
        user_header: table
            .get("user_header")
            .and_then(|node| sign_ins::header_name(&node)),
    }
}

/// From where something may be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// From this host alone, and what is at stake otherwise.
    Loopback(&'static str),
    /// From wherever the address is.
    Anywhere,
}

/// Where something listens: a Unix socket or a loopback address.
pub(super) fn listen(table: &Table<'_>) -> Option<Listen> {
    let reach = Reach::Loopback("whoever reaches it could ask, and read the answers");
    listen_within(table, "\"unix:/run/edgeward/auth-request.sock\"", reach)
}

/// Where something listens: a Unix socket or an address, the latter of a loopback unless it may be reached from
/// anywhere. `example` is for those who forgot it.
pub(super) fn listen_within(table: &Table<'_>, example: &str, reach: Reach) -> Option<Listen> {
    let mode_node = table.get("listen_mode");
    let mode = mode_node.as_ref().and_then(mode);
    let node = table.required("listen", example)?;
    let text = node.string()?;
    if let Some(path) = text.strip_prefix("unix:") {
        let path = places::socket_path(&node, path)?;
        return Some(Listen::Unix(path, mode.unwrap_or(MODE)));
    }
    if let Some(node) = mode_node {
        node.error(
            "is for Unix sockets; a loopback address has no file mode",
            Some("remove it, or listen on unix:/run/edgeward/…".to_owned()),
        );
    }
    let Some(address) = socket_address(text) else {
        let near = text.strip_prefix("localhost:").map_or_else(
            || {
                "write unix:/run/edgeward/auth-request.sock, 127.0.0.1:9401 or [::1]:9401"
                    .to_owned()
            },
            |port| format!("write 127.0.0.1:{port}"),
        );
        node.error(
            format!(
                "\"{}\" is neither a Unix socket nor an address",
                shown(text)
            ),
            Some(near),
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
    if let Reach::Loopback(stake) = reach
        && !address.ip().is_loopback()
    {
        node.error(
            format!("{} is no loopback address: {stake}", address.ip()),
            Some(format!(
                "write 127.0.0.1:{}, or a Unix socket",
                address.port()
            )),
        );
        return None;
    }
    Some(Listen::Tcp(address))
}

/// An address and a port; v4-mapped IPv6 is IPv4.
pub(super) fn socket_address(text: &str) -> Option<SocketAddr> {
    let address: SocketAddr = text.parse().ok()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// The mode of a Unix socket: `"0660"`.
fn mode(node: &Node<'_>) -> Option<u32> {
    let text = node.string()?;
    let octal =
        (3..=4).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| octal && *mode <= 0o777);
    match mode {
        None => node.error(
            format!("\"{}\" is no file mode", shown(text)),
            Some("write it in octal, as in \"0660\"".to_owned()),
        ),
        Some(mode) if mode & 0o200 == 0 => node.error(
            format!("\"{text}\" lets not even the owner connect"),
            Some("write \"0600\", \"0660\" or \"0666\"".to_owned()),
        ),
        Some(_) => {}
    }
    mode
}

fn peer(node: &Node<'_>, profile: Option<Profile>) -> Option<PeerSource> {
    let text = node.string()?;
    if let Some(header) = text.strip_prefix("header:") {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if header.is_empty() || header.len() > HEADER_NAME_BYTES_MAX || !header.bytes().all(token) {
            node.error(
                format!("\"{}\" is no name of a header", shown(header)),
                Some("write \"header:x-edgeward-peer\"".to_owned()),
            );
            return None;
        }
        return Some(PeerSource::Header(header.to_ascii_lowercase()));
    }
    let words = [
        ("last-hop", PeerSource::LastHop),
        ("protocol", PeerSource::Protocol),
    ];
    let Some((_, source)) = words.into_iter().find(|(word, _)| *word == text) else {
        let suggestion = match nearest(text, &["last-hop", "protocol"]) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "write \"header:NAME\", \"last-hop\" or \"protocol\"".to_owned(),
        };
        node.error(
            format!("\"{}\" is not known here", shown(text)),
            Some(suggestion),
        );
        return None;
    };
    let carries = matches!(profile, Some(Profile::ExtAuthzGrpc | Profile::Spoe) | None);
    if source == PeerSource::Protocol && !carries {
        node.error(
            "a request over HTTP carries no address of the proxy's peer by itself",
            Some("let the proxy set a header: peer = \"header:x-edgeward-peer\"".to_owned()),
        );
    }
    Some(source)
}

/// Longest name of a header, in bytes.
const HEADER_NAME_BYTES_MAX: usize = 64;

/// Applications name the service of each signal where the endpoint names none.
fn endpoint_service(
    table: &Table<'_>,
    services: &[Typed<'_, Service>],
    profile: Option<Profile>,
) -> Option<String> {
    let may_be_absent = profile == Some(Profile::Signals) && services.len() != 1;
    if may_be_absent && table.get("service").is_none() {
        return None;
    }
    named_service(table, services)
}

/// The service whose rules hold: the one that is named, or the only one.
pub(super) fn named_service(table: &Table<'_>, services: &[Typed<'_, Service>]) -> Option<String> {
    let known: Vec<&str> = services
        .iter()
        .map(|typed| typed.value.name.as_str())
        .collect();
    let Some(node) = table.get("service") else {
        match known.as_slice() {
            [only] => return Some((*only).to_owned()),
            [] => table.error(
                "there is no service whose rules could hold".to_owned(),
                Some("add a [[service]]".to_owned()),
            ),
            several => table.error(
                "`service` is missing, and there are several".to_owned(),
                Some(format!("name one of {}", listed(several))),
            ),
        }
        return None;
    };
    let text = node.string()?;
    if known.contains(&text) {
        return Some(text.to_owned());
    }
    let suggestion = match nearest(text, &known) {
        Some(near) => format!("did you mean \"{}\"?", shown(near)),
        None if known.is_empty() => "add a [[service]]".to_owned(),
        None => format!("name one of {}", listed(&known)),
    };
    node.error(
        format!("there is no service \"{}\"", shown(text)),
        Some(suggestion),
    );
    None
}

/// The first of some names.
fn listed(names: &[&str]) -> String {
    const SHOWN_MAX: usize = 8;
    let mut out: Vec<String> = names
        .iter()
        .take(SHOWN_MAX)
        .map(|name| format!("\"{}\"", shown(name)))
        .collect();
    if names.len() > SHOWN_MAX {
        out.push("…".to_owned());
    }
    out.join(", ")
}
