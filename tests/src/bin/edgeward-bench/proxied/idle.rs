//! Memory that idle connections take: many are opened, each makes one request and stays.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context, ensure};
use lab::{Host, Result};

/// Opens `count` keep-alive connections from `host`, one request on each; they live as long as the result, and all
/// have been quiet for a while.
///
/// `first` is the first source address; each has no more connections than it has ports to spare.
pub(crate) fn open(
    host: &Host,
    first: Ipv4Addr,
    address: SocketAddr,
    count: usize,
) -> Result<Vec<TcpStream>> {
    let mut streams = Vec::with_capacity(count);
    for index in 0..count {
        let further = u32::try_from(index / CONNECTIONS_A_SOURCE)?;
        let source = Ipv4Addr::from(u32::from(first) + further).into();
        let mut stream = host
            .connect_from(source, address.ip(), address.port(), ANSWER_MAX)
            .with_context(|| format!("connection {index} of {count}"))?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.write_all(
            b"GET /login HTTP/1.1\r\nHost: login.example.org\r\nX-Forwarded-For: 198.51.100.10\r\n\r\n",
        )?;
        let mut answer = [0; 4_096];
        let read = stream.read(&mut answer)?;
        let begun = answer.get(..read).unwrap_or_default();
        ensure!(
            begun.starts_with(b"HTTP/1.1 200"),
            "connection {index}: {}",
            String::from_utf8_lossy(begun)
        );
        streams.push(stream);
    }
    thread::sleep(QUIET);
    Ok(streams)
}

/// Connections from one address.
pub(crate) const CONNECTIONS_A_SOURCE: usize = 4_000;
/// Longest a connection or an answer may take: only a fault does.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long the last connection is quiet before anything is measured.
pub(crate) const QUIET: Duration = Duration::from_secs(3);
