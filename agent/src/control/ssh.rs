//! Where the operator's own SSH session comes from, so that `block` does not cut it off.
//!
//! sshd leaves `SSH_CONNECTION` in the session's environment. sudo drops it, so the ancestors of the
//! process are asked too. Both sides do this: the client sees its own ancestors even where the agent, its
//! capabilities dropped, may not read another process's environment. Nothing else of it is kept.

use std::{env, fs, io::Read, net::IpAddr};

use crate::policy::prefix::canonical_address;

/// The SSH peers of this process, from its own environment and its ancestors'.
#[must_use]
pub fn own_peers() -> Vec<IpAddr> {
    let mut peers = Vec::new();
    for name in VARIABLES {
        if let Some(peer) = env::var(name).ok().as_deref().and_then(address) {
            add(&mut peers, peer);
        }
    }
    if let Ok(pid) = i32::try_from(std::process::id()) {
        for peer in peers_of(pid) {
            add(&mut peers, peer);
        }
    }
    peers
}

/// The SSH peers of a process and its ancestors, as far as this process may read their environments.
#[must_use]
pub fn peers_of(pid: i32) -> Vec<IpAddr> {
    let mut peers = Vec::new();
    let mut current = pid;
    for _ in 0..ANCESTORS_MAX {
        if current <= 1 {
            break;
        }
        for peer in environment(current)
            .split(|&byte| byte == 0)
            .filter_map(variable)
        {
            add(&mut peers, peer);
        }
        let Some(parent) = parent(current) else {
            break;
        };
        current = parent;
    }
    peers
}

fn add(peers: &mut Vec<IpAddr>, peer: IpAddr) {
    if !peers.contains(&peer) {
        peers.push(peer);
    }
}

fn environment(pid: i32) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(file) = fs::File::open(format!("/proc/{pid}/environ")) {
        // What was read before an error still counts.
        drop(file.take(ENVIRONMENT_BYTES_MAX).read_to_end(&mut bytes));
    }
    bytes
}

fn variable(entry: &[u8]) -> Option<IpAddr> {
    let (name, value) = std::str::from_utf8(entry).ok()?.split_once('=')?;
    VARIABLES.contains(&name).then_some(())?;
    address(value)
}

/// `client-address client-port …`; a link-local address may carry `%interface`.
fn address(value: &str) -> Option<IpAddr> {
    let first = value.split_ascii_whitespace().next()?;
    let bare = first.split_once('%').map_or(first, |(bare, _)| bare);
    bare.parse().ok().map(canonical_address)
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name is in brackets and may hold brackets and spaces itself: count from the last one.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

const VARIABLES: [&str; 2] = ["SSH_CONNECTION", "SSH_CLIENT"];
/// Shell, sudo (twice with a terminal of its own), multiplexer, login shell, sshd: with room to spare.
const ANCESTORS_MAX: usize = 32;
const ENVIRONMENT_BYTES_MAX: u64 = 256 << 10;

#[cfg(test)]
mod tests {

    use std::{
        io::{BufRead, BufReader},
        net::IpAddr,
        process::{Command, Stdio},
    };

    use super::{address, peers_of};

    #[test]
    fn addresses_as_sshd_writes_them() {
        let cases = [
            ("192.0.2.7 50022 192.0.2.1 22", Some("192.0.2.7")),
            ("::ffff:192.0.2.7 50022 22", Some("192.0.2.7")),
            ("fe80::1%eth0 50022 fe80::2%eth0 22", Some("fe80::1")),
            ("UNKNOWN 65535 UNKNOWN 65535", None),
            ("", None),
        ];
        for (value, expected) in cases {
            let expected: Option<IpAddr> = expected.map(|text| text.parse().unwrap());
            assert_eq!(address(value), expected, "{value}");
        }
    }

    #[test]
    fn an_ancestor_knows_what_the_process_was_not_told() {
        // The outer shell has the variable; the inner one, as after sudo, has an empty environment.
        let mut child = Command::new("/bin/sh")
            .args(["-c", "env -i /bin/sh -c 'echo $$; read line'; :"])
            .env("SSH_CONNECTION", "2001:db8::5 50022 2001:db8::1 22")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let peers = peers_of(line.trim().parse().unwrap());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(peers.contains(&"2001:db8::5".parse().unwrap()), "{peers:?}");
        assert_eq!(peers_of(i32::MAX), Vec::<IpAddr>::new());
    }
}
