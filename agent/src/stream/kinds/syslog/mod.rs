//! Syslog: RFC 5424 messages over TCP, TLS, UDP and Unix sockets.
//!
//! No receiver of syslog acknowledges anything. So what was written to a connection counts as delivered only once the
//! receiver's host has acknowledged it and the connection has lasted for a while longer; after a break the rest is sent
//! again.

mod connection;
mod datagram;
mod message;
mod tail;

pub(super) use self::message::Message;
use self::{connection::Connection, datagram::Datagrams};
use super::super::sink::Sink;
use crate::config::stream::{Syslog, Transport};

/// A receiver of syslog.
///
/// # Errors
/// What is wrong with the files that TLS needs.
pub(super) fn open(settings: &Syslog) -> Result<Box<dyn Sink>, String> {
    Ok(match settings.transport {
        Transport::Tcp(_) | Transport::Tls(..) | Transport::Unix(_) => {
            Box::new(Connection::new(settings)?)
        }
        Transport::Udp(_) | Transport::UnixDatagram(_) => Box::new(Datagrams::new(settings)),
    })
}
