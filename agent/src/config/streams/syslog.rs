//! `kind = "syslog"`.

use std::{path::Path, time::Duration};

use super::{
    super::{
        error::shown,
        raw::{Node, Table},
        stream::{ClientTls, Framing, Place, StreamKind, Syslog, Transport},
    },
    remote,
};

pub(super) const KEYS: &[&str] = &[
    "transport",
    "address",
    "framing",
    "facility",
    "app_name",
    "hostname",
    "structured_data",
    "message_bytes_max",
    "settle",
];

/// Longest `APP-NAME` and name of an element of structured data, in bytes (RFC 5424, section 6).
const APP_NAME_BYTES_MAX: usize = 48;
const SD_NAME_BYTES_MAX: usize = 32;
const HOSTNAME_BYTES_MAX: usize = 255;
/// Longest path of a Unix socket, in bytes (unix(7)).
const SOCKET_BYTES_MAX: usize = 107;
/// The most that a UDP datagram carries, in bytes.
const UDP_BYTES_MAX: usize = 65_507;
/// The most that a message may be, in bytes.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Tcp,
    Tls,
    Udp,
    Unix,
    UnixDatagram,
}

const WORDS: [(&str, Word); 5] = [
    ("tcp", Word::Tcp),
    ("tls", Word::Tls),
    ("udp", Word::Udp),
    ("unix", Word::Unix),
    ("unix-datagram", Word::UnixDatagram),
];
const FRAMINGS: [(&str, Framing); 2] = [
    ("octet-counting", Framing::OctetCounting),
    ("newline", Framing::Newline),
];
/// RFC 5424, table 1, in order, by the names of syslog(3).
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];
/// `authpriv`: it is about who may come in, and not for everybody's eyes.
const FACILITY: u8 = 10;

pub(super) fn read(table: &Table<'_>, base: &Path) -> Option<StreamKind> {
    let word = table
        .required("transport", "one of tcp, tls, udp, unix, unix-datagram")
        .and_then(|node| node.word(&WORDS));
    let tls = match word {
        Some(word) => remote::client_tls(table, base, word == Word::Tls),
        None => ClientTls::default(),
    };
    let transport = transport(table, word, tls);
    let is_datagram = matches!(word, Some(Word::Udp | Word::UnixDatagram));
    if let Some(node) = table.get("framing").filter(|_| is_datagram) {
        node.error(
            "has no effect: a datagram is a message",
            Some("remove it".to_owned()),
        );
    }
    if let Some(node) = table.get("settle").filter(|_| word == Some(Word::Udp)) {
        node.error(
            "has no effect: nobody acknowledges UDP",
            Some("remove it".to_owned()),
        );
    }
    let (most, default) = match word {
        Some(Word::Udp) => (UDP_BYTES_MAX, UDP_BYTES_MAX),
        _ => (MESSAGE_BYTES_MAX, 65_536),
    };
    let facilities: Vec<(&str, u8)> = FACILITIES.iter().copied().zip(0..).collect();
    let word = |key: &str, bytes_max: usize| graphic(&table.get(key)?, bytes_max);
    Some(StreamKind::Syslog(Syslog {
        framing: table.choice("framing", &FRAMINGS),
        facility: table
            .get("facility")
            .and_then(|node| node.word(&facilities))
            .unwrap_or(FACILITY),
        app_name: word("app_name", APP_NAME_BYTES_MAX).unwrap_or_else(|| "edgeward".to_owned()),
        hostname: word("hostname", HOSTNAME_BYTES_MAX),
        structured_data: table.get("structured_data").and_then(|node| sd_name(&node)),
        message_bytes_max: table.count("message_bytes_max", 1_024..=most, default),
        settle: table.time(
            "settle",
            Duration::ZERO..=Duration::from_secs(60),
            Duration::from_secs(2),
        ),
        transport: transport?,
    }))
}

fn transport(table: &Table<'_>, word: Option<Word>, tls: ClientTls) -> Option<Transport> {
    let node = table.required("address", "\"siem.example:6514\" or \"/dev/log\"")?;
    let text = node.string()?;
    match word? {
        Word::Unix => socket(&node, text).map(|text| Transport::Unix(text.into())),
        Word::UnixDatagram => socket(&node, text).map(|text| Transport::UnixDatagram(text.into())),
        network => {
            let place = place(&node, text)?;
            if network != Word::Tls && !remote::is_local(&place.host) {
                node.warning(
                    "events are sent in clear",
                    Some("write transport = \"tls\" where the receiver can".to_owned()),
                );
            }
            Some(match network {
                Word::Tls => Transport::Tls(place, tls),
                Word::Udp => Transport::Udp(place),
                _ => Transport::Tcp(place),
            })
        }
    }
}

fn socket<'a>(node: &Node<'_>, text: &'a str) -> Option<&'a str> {
    if text.starts_with('/') && text.len() <= SOCKET_BYTES_MAX && !text.contains('\0') {
        return Some(text);
    }
    node.error(
        format!(
            "\"{}\" is no absolute path of at most {SOCKET_BYTES_MAX} bytes",
            shown(text)
        ),
        Some("write \"/dev/log\", for one".to_owned()),
    );
    None
}

fn place(node: &Node<'_>, text: &str) -> Option<Place> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| {
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').filter(|host| host.contains(':'))?,
            None => host,
        };
        let is_host = rustls_pki_types::ServerName::try_from(host).is_ok();
        is_host.then(|| Place {
            host: host.to_owned(),
            port,
        })
    });
    if parts.is_none() {
        node.error(
            format!("\"{}\" is no host with a port", shown(text)),
            Some(
                "write \"siem.example:6514\", \"192.0.2.1:514\" or \"[2001:db8::1]:514\""
                    .to_owned(),
            ),
        );
    }
    parts
}

/// Printable ASCII without spaces.
fn graphic(node: &Node<'_>, bytes_max: usize) -> Option<String> {
    let text = node.string()?;
    if !text.is_empty()
        && text.len() <= bytes_max
        && text.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Some(text.to_owned());
    }
    node.error(
        format!(
            "\"{}\" is not 1 to {bytes_max} characters of ASCII without spaces",
            shown(text)
        ),
        None,
    );
    None
}

/// `SD-ID` (RFC 5424, section 6.3.2): a name of one's own has an enterprise number behind it.
fn sd_name(node: &Node<'_>) -> Option<String> {
    let text = graphic(node, SD_NAME_BYTES_MAX)?;
    let is_name = text.split_once('@').is_some_and(|(name, number)| {
        let is_number =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        !name.is_empty() && number.split('.').all(is_number)
    });
    if is_name && !text.contains(['=', ']', '"']) {
        return Some(text);
    }
    node.error(
        format!("\"{}\" is no name of structured data", shown(&text)),
        Some("write \"edgeward@NUMBER\" with your private enterprise number".to_owned()),
    );
    None
}
