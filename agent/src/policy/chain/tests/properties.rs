//! What must hold for any header at all, beside a second walk that reads from the left.

use super::*;
use crate::policy::random::Random;

/// Pieces of headers, many of them wrong.
fn piece(random: &mut Random, header: Header) -> String {
    let address = random.pick(&[
        "10.0.0.1",
        "10.0.0.2",
        "10.9.0.1",
        "::ffff:10.0.0.3",
        "2001:db8:1::5",
        "192.0.2.1",
        "192.0.2.2",
        "203.0.113.5",
        "2001:db8:2::1",
        "::ffff:198.51.100.1",
        "172.16.0.1",
        "172.31.255.255",
        "::1",
        "0.0.0.0",
        "::",
        "unknown",
        "_x",
        "010.0.0.1",
        "10.0.0.256",
        "junk",
        "",
        "fe80::1%eth0",
        "10.0.0.1:",
    ]);
    let spelled = match random.below(8) {
        0 if address.contains(':') => format!("[{address}]"),
        1 if address.contains(':') => format!("[{address}]:443"),
        2 if !address.contains(':') => format!("{address}:8080"),
        3 => format!("\"{address}\""),
        4 => format!(" \t{address} "),
        5 => format!("\"{address}"),
        6 => format!("{address}\\\""),
        _ => address.to_owned(),
    };
    if header != Forwarded {
        return spelled;
    }
    match random.below(8) {
        0 => format!("for={spelled};proto=https"),
        1 => format!("by=10.0.0.1; FOR=\"{address}\""),
        2 => format!("for=\"[{address}]:443\";host=\"a,b\""),
        3 => format!("for={address};x=\""),
        4 => format!("proto=http;for={address};for={address}"),
        _ => format!("for=\"{address}\""),
    }
}

fn header_lines(random: &mut Random, header: Header) -> Vec<String> {
    (0..random.below(4))
        .map(|_| {
            let pieces: Vec<String> = (0..random.below(6))
                .map(|_| piece(random, header))
                .collect();
            pieces.join(random.pick(&[",", ", ", " ,", ",,"]))
        })
        .collect()
}

fn walked(peer: IpAddr, header: Header, lines: &[String], limits: ChainLimits) -> Chain {
    let lines = lines.iter().map(|line| line.as_bytes());
    walk(peer, Forwarding::Lines(header, lines), limits, &Zones)
}

const PEERS: [&str; 5] = [
    "10.0.0.9",
    "::ffff:10.0.0.9",
    "172.16.0.9",
    "203.0.113.9",
    "2001:db8:1::9",
];

#[test]
fn what_holds_for_any_header() {
    let mut random = Random::new(301);
    let mut reasons = std::collections::BTreeMap::<String, u32>::new();
    for _ in 0..20_000 {
        let (_, header) = random.pick(&Header::NAMED);
        let peer: IpAddr = random.pick(&PEERS).parse().unwrap();
        let lines = header_lines(&mut random, header);
        let limits = ChainLimits {
            hops_max: random.pick(&[1, 2, 16]),
            bytes_max: random.pick(&[20, 60, 8_192]),
        };
        let chain = walked(peer, header, &lines, limits);
        let context = format!("{peer} {header} {lines:?} {limits:?}: {}", told(&chain));
        *reasons.entry(format!("{:?}", chain.reason)).or_default() += 1;

        let peer = canonical_address(peer);
        assert_eq!(chain.addresses.iter().next_back(), Some(peer), "{context}");
        assert!(
            chain.addresses.iter().any(|hop| hop == chain.client),
            "{context}"
        );
        for hop in chain.addresses.iter() {
            assert_eq!(hop, canonical_address(hop), "{context}");
            assert!(!hop.is_unspecified(), "{context}");
        }
        assert!(chain.addresses.len() <= limits.hops_max + 1, "{context}");
        let trusted = Zones.role(chain.client) == Role::TrustedProxy;
        let may_be_trusted = matches!(
            chain.reason,
            ClientReason::AllTrusted | ClientReason::NoHeader | ClientReason::Unknown
        );
        assert_eq!(trusted, may_be_trusted, "{context}");
        if Zones.role(peer) != Role::TrustedProxy {
            assert_eq!(
                (chain.client, chain.reason, chain.addresses.len()),
                (peer, ClientReason::Peer, 1),
                "{context}"
            );
        }
        // Read again as a plain list of what was read, the same client is found.
        let list: Vec<String> = chain
            .addresses
            .iter()
            .rev()
            .skip(1)
            .map(|hop| hop.to_string())
            .collect();
        if matches!(
            chain.reason,
            ClientReason::Chain | ClientReason::AllTrusted | ClientReason::Gateway
        ) {
            let list = list.into_iter().rev().collect::<Vec<_>>().join(", ");
            let again = walked(peer, XForwardedFor, &[list], LIMITS);
            assert_eq!(
                (again.client, again.reason, &again.addresses),
                (chain.client, chain.reason, &chain.addresses),
                "{context}"
            );
        }
    }
    assert_eq!(reasons.len(), 6, "every reason was met: {reasons:?}");
}

#[test]
fn once_a_client_is_found_nothing_to_the_left_changes_it() {
    let mut random = Random::new(302);
    let mut seen = 0;
    while seen < 6_000 {
        let header = random.pick(&[XForwardedFor, Forwarded]);
        let lines = header_lines(&mut random, header);
        let bytes: usize = lines.iter().map(String::len).sum();
        let limits = random.pick(&[
            LIMITS,
            ChainLimits {
                bytes_max: bytes,
                ..LIMITS
            },
        ]);
        let chain = walked("10.0.0.9".parse().unwrap(), header, &lines, limits);
        if !matches!(chain.reason, ClientReason::Chain | ClientReason::Gateway) {
            continue;
        }
        seen += 1;
        let mut longer = lines.clone();
        for _ in 0..=random.below(3) {
            let mut prefix = match random.below(6) {
                0 => "\"".to_owned(),
                1 => "for=\"".to_owned(),
                2 => "\\".repeat(3),
                3 => "x".repeat(usize::try_from(random.below(10_000)).unwrap()),
                _ => header_lines(&mut random, header).join(","),
            };
            if random.below(2) == 0 || longer.is_empty() {
                longer.insert(0, prefix);
            } else {
                prefix.push(',');
                longer[0].insert_str(0, &prefix);
            }
        }
        let again = walked("10.0.0.9".parse().unwrap(), header, &longer, limits);
        assert_eq!(
            (again.client, again.reason),
            (chain.client, chain.reason),
            "{lines:?} {longer:?}"
        );
    }
}

/// The walk as one would write it without a thought of its cost: the whole list from the left.
fn naive(peer: IpAddr, lines: &[String], hops_max: usize) -> (IpAddr, ClientReason) {
    let peer = peer.to_canonical();
    if Zones.role(peer) != Role::TrustedProxy {
        return (peer, ClientReason::Peer);
    }
    let joined = lines.join(",");
    let hops: Vec<&str> = joined
        .split(',')
        .map(|hop| hop.trim_matches([' ', '\t']))
        .filter(|hop| !hop.is_empty())
        .collect();
    let mut client = peer;
    let mut reason = ClientReason::NoHeader;
    for hop in hops.iter().rev().take(hops_max) {
        let hop = match hop.strip_prefix('"').and_then(|hop| hop.strip_suffix('"')) {
            Some(inner) => inner.trim_matches([' ', '\t']),
            None => hop,
        };
        let bare = match (
            hop.parse::<IpAddr>(),
            hop.rfind("]:"),
            hop.matches(':').count(),
        ) {
            (Ok(_), ..) => hop.to_owned(),
            (_, Some(end), _) => hop[1..end].to_owned(),
            (_, _, 1) if hop.parse::<std::net::SocketAddr>().is_ok() => {
                hop.split(':').next().unwrap().to_owned()
            }
            _ => hop.trim_start_matches('[').trim_end_matches(']').to_owned(),
        };
        let bare = bare.split_once('%').map_or(bare.as_str(), |(host, _)| host);
        match bare.parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(address) if !address.is_unspecified() => {
                client = address;
                reason = match Zones.role(address) {
                    Role::TrustedProxy => ClientReason::AllTrusted,
                    Role::Gateway => return (client, ClientReason::Gateway),
                    Role::Other => return (client, ClientReason::Chain),
                };
            }
            _ => return (client, ClientReason::Unknown),
        }
    }
    (client, reason)
}

#[test]
fn a_walk_written_differently_finds_the_same_client() {
    let mut random = Random::new(303);
    for _ in 0..20_000 {
        let peer: IpAddr = random.pick(&PEERS).parse().unwrap();
        let lines = header_lines(&mut random, XForwardedFor);
        let hops_max = random.pick(&[1, 3, 16]);
        let chain = walked(
            peer,
            XForwardedFor,
            &lines,
            ChainLimits { hops_max, ..LIMITS },
        );
        assert_eq!(
            (chain.client, chain.reason),
            naive(peer, &lines, hops_max),
            "{peer} {lines:?}"
        );
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let mut random = Random::new(304);
    let alphabet = b",,;;\"\"\\[]:=..%%0129afx _-forFOR\xff\0 \t";
    for _ in 0..30_000 {
        let text: Vec<u8> = (0..random.below(60))
            .map(|_| random.pick(alphabet))
            .collect();
        let cut = usize::try_from(random.below(60)).unwrap().min(text.len());
        let (left, right) = text.split_at(cut);
        for (_, header) in Header::NAMED {
            let limits = ChainLimits {
                hops_max: 4,
                bytes_max: random.pick(&[0, 1, 30, 100]),
            };
            let chain = walk(
                "10.0.0.1".parse().unwrap(),
                Forwarding::Lines(header, [left, right].into_iter()),
                limits,
                &Zones,
            );
            assert!(chain.addresses.len() <= 5);
        }
        let _ = proxy_protocol::parse(&text);
    }
}
