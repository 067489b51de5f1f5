//! Streams to real receivers that are killed, stalled and made to refuse in the middle: afterwards every event of the log
//! is accounted for.

pub(crate) mod rsyslog;
mod syslog;
mod transports;
mod webhook;
pub(crate) mod world;

use lab::{Need, TestFn, needs_nothing};

pub(crate) fn tests() -> Vec<(&'static str, TestFn, Need)> {
    vec![
        ("streams_to_rsyslog", syslog::tcp, rsyslog::needed),
        (
            "streams_to_rsyslog_by_mutual_tls",
            syslog::tls,
            rsyslog::needed,
        ),
        (
            "streams_to_rsyslog_by_udp",
            transports::udp,
            rsyslog::needed,
        ),
        (
            "streams_to_rsyslog_by_unix_datagrams",
            transports::unix_datagram,
            rsyslog::needed,
        ),
        (
            "streams_to_rsyslog_by_a_unix_socket",
            transports::unix,
            rsyslog::needed,
        ),
        ("streams_survive_kill_9", syslog::killed, needs_nothing),
        (
            "streams_to_a_signed_webhook",
            webhook::signed,
            webhook::needed,
        ),
    ]
}
