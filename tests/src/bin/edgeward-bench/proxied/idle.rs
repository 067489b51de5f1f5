//! Memory that idle connections take: many are opened, each makes one request and stays.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, ensure};
use lab::{Host, Result};

/// Opens `count` keep-alive connections from `host`, one request on each; they live as long as the result.
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
    Ok(streams)
}

/// Resident memory of a process and its children, bytes.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let mut total = own(pid)?;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(child) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if parent(child) == Some(pid) {
            // It may have ended meanwhile.
            total += own(child).unwrap_or(0);
        }
    }
    Ok(total)
}

fn own(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kilobytes * 1024)
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}

/// Connections from one address.
pub(crate) const CONNECTIONS_A_SOURCE: usize = 4_000;
/// Longest a connection or an answer may take: only a fault does.
const ANSWER_MAX: Duration = Duration::from_secs(10);
