//! The walk: a table of every trap (`rows`), and what must hold for any header at all (`properties`).

mod properties;
mod rows;

use std::net::IpAddr;

use super::*;

/// 10/8 and 2001:db8:1::/48 are trusted proxies, 172.16/12 a gateway, 10.9/16 both.
struct Zones;

impl Trust for Zones {
    fn role(&self, address: IpAddr) -> Role {
        let octets = match address {
            IpAddr::V4(v4) => v4.octets(),
            IpAddr::V6(v6) if v6.segments()[..3] == [0x2001, 0xdb8, 1] => {
                return Role::TrustedProxy;
            }
            IpAddr::V6(_) => return Role::Other,
        };
        match octets {
            [10, ..] => Role::TrustedProxy,
            [172, 16..=31, ..] => Role::Gateway,
            _ => Role::Other,
        }
    }
}

const LIMITS: ChainLimits = ChainLimits {
    hops_max: 16,
    bytes_max: 8_192,
};

fn found(peer: &str, header: Header, lines: &[&str], limits: ChainLimits) -> Chain {
    let lines = lines.iter().map(|line| line.as_bytes());
    walk(
        peer.parse().unwrap(),
        Forwarding::Lines(header, lines),
        limits,
        &Zones,
    )
}

/// `client reason`, and the chain behind a bar.
fn told(chain: &Chain) -> String {
    let addresses: Vec<String> = chain.addresses.iter().map(|hop| hop.to_string()).collect();
    let reason = serde_json::to_value(chain.reason).unwrap();
    let cut = if chain.cut { " cut" } else { "" };
    format!(
        "{} {}{cut} | {}",
        chain.client,
        reason.as_str().unwrap(),
        addresses.join(" ")
    )
}

use Header::{
    CfConnectingIp, CloudfrontViewerAddress, Forwarded, TrueClientIp, XForwardedFor, XRealIp,
};

#[test]
fn past_the_limits_only_the_right_end_is_read() {
    let hops = |hops_max| ChainLimits { hops_max, ..LIMITS };
    let bytes = |bytes_max| ChainLimits {
        bytes_max,
        ..LIMITS
    };
    let all = "192.0.2.1, 10.0.0.3,, 10.0.0.2";
    for (limits, expected) in [
        (hops(1), "10.0.0.2 all_trusted cut | 10.0.0.2 10.0.0.1"),
        (
            hops(2),
            "10.0.0.3 all_trusted cut | 10.0.0.3 10.0.0.2 10.0.0.1",
        ),
        (
            hops(3),
            "192.0.2.1 chain | 192.0.2.1 10.0.0.3 10.0.0.2 10.0.0.1",
        ),
        (bytes(0), "10.0.0.1 unknown cut | 10.0.0.1"),
        (bytes(7), "10.0.0.1 unknown cut | 10.0.0.1"),
        (bytes(8), "10.0.0.2 all_trusted cut | 10.0.0.2 10.0.0.1"),
        (bytes(10), "10.0.0.2 all_trusted cut | 10.0.0.2 10.0.0.1"),
        // 92.0.2.1 is an address, but not the one that is there.
        (
            bytes(all.len() - 1),
            "10.0.0.3 all_trusted cut | 10.0.0.3 10.0.0.2 10.0.0.1",
        ),
        (
            bytes(all.len()),
            "192.0.2.1 chain | 192.0.2.1 10.0.0.3 10.0.0.2 10.0.0.1",
        ),
    ] {
        assert_eq!(
            told(&found("10.0.0.1", XForwardedFor, &[all], limits)),
            expected,
            "{limits:?}"
        );
    }
    // Whoever writes a long header cannot hide in it.
    let flood = format!("{}, 192.0.2.1", "1.1.1.1,".repeat(100_000));
    let chain = found("10.0.0.1", XForwardedFor, &[&flood], LIMITS);
    assert_eq!(
        (chain.client.to_string().as_str(), chain.reason, chain.cut),
        ("192.0.2.1", ClientReason::Chain, true)
    );
    assert_eq!(chain.addresses.len(), 17);
    let junk = format!("{}, 192.0.2.1", "x".repeat(100_000));
    assert_eq!(
        told(&found("10.0.0.1", XForwardedFor, &[&junk], LIMITS)),
        "192.0.2.1 chain cut | 192.0.2.1 10.0.0.1"
    );
}

#[test]
fn every_hop_is_told_with_what_became_of_it() {
    let mut fates = Vec::new();
    let lines = ["junk, 1.1.1.1, 192.0.2.1", "10.0.0.2"].map(str::as_bytes);
    let forwarding = Forwarding::Lines(XForwardedFor, lines.into_iter());
    walk_seen(
        "10.0.0.1".parse().unwrap(),
        forwarding,
        LIMITS,
        &Zones,
        |seen| {
            fates.push((String::from_utf8(seen.text.to_vec()).unwrap(), seen.fate));
        },
    );
    let expected = [
        ("", Fate::PeerTrusted),
        ("10.0.0.2", Fate::Skipped),
        ("192.0.2.1", Fate::Client),
        ("1.1.1.1", Fate::Beyond),
        ("junk", Fate::Beyond),
    ];
    assert_eq!(fates, expected.map(|(text, fate)| (text.to_owned(), fate)));
}
