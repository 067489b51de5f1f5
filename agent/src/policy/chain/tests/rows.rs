//! What is found for each peer, header and line: every trap there is.

use super::*;

/// Peer, header, its lines, what is found.
type Row = (&'static str, Header, &'static [&'static str], &'static str);

const ROWS: &[Row] = &[
    // Who is believed.
    (
        "203.0.113.9",
        XForwardedFor,
        &["192.0.2.1"],
        "203.0.113.9 peer | 203.0.113.9",
    ),
    (
        "::ffff:203.0.113.9",
        XForwardedFor,
        &["192.0.2.1"],
        "203.0.113.9 peer | 203.0.113.9",
    ),
    (
        "172.16.0.1",
        XForwardedFor,
        &["192.0.2.1"],
        "172.16.0.1 peer | 172.16.0.1",
    ),
    (
        "10.0.0.1",
        XForwardedFor,
        &["192.0.2.1"],
        "192.0.2.1 chain | 192.0.2.1 10.0.0.1",
    ),
    (
        "::ffff:10.0.0.1",
        XForwardedFor,
        &["192.0.2.1"],
        "192.0.2.1 chain | 192.0.2.1 10.0.0.1",
    ),
    (
        "2001:db8:1::1",
        XForwardedFor,
        &["2001:db8:2::7"],
        "2001:db8:2::7 chain | 2001:db8:2::7 2001:db8:1::1",
    ),
    // No header.
    (
        "10.0.0.1",
        XForwardedFor,
        &[],
        "10.0.0.1 no_header | 10.0.0.1",
    ),
    (
        "10.0.0.1",
        XForwardedFor,
        &["", " , \t,", ","],
        "10.0.0.1 no_header | 10.0.0.1",
    ),
    ("10.0.0.1", XRealIp, &[" "], "10.0.0.1 no_header | 10.0.0.1"),
    // The walk.
    (
        "10.0.0.1",
        XForwardedFor,
        &["1.1.1.1, 192.0.2.1, 10.0.0.2"],
        "192.0.2.1 chain | 1.1.1.1 192.0.2.1 10.0.0.2 10.0.0.1",
    ),
    (
        "10.0.0.1",
        XForwardedFor,
        &["10.0.0.3, 10.0.0.2"],
        "10.0.0.3 all_trusted | 10.0.0.3 10.0.0.2 10.0.0.1",
    ),
    (
        "10.0.0.1",
        XForwardedFor,
        &["10.0.0.3, 192.0.2.1"],
        "192.0.2.1 chain | 10.0.0.3 192.0.2.1 10.0.0.1",
    ),
    (
        "10.0.0.1",
        XForwardedFor,
        &["192.0.2.1", "10.0.0.2"],
        "192.0.2.1 chain | 192.0.2.1 10.0.0.2 10.0.0.1",
    ),
    (
        "10.0.0.1",
        XForwardedFor,
        &["192.0.2.1, 10.0.0.3", "", "10.0.0.2,"],
        "192.0.2.1 chain | 192.0.2.1 10.0.0.3 10.0.0.2 10.0.0.1",
    ),
    (
        "10.0.0.1",
        XForwardedFor,
        &["192.0.2.1,,, 10.0.0.2 ,"],
        "192.0.2.1 chain | 192.0.2.1 10.0.0.2 10.0.0.1",
    ),
    // Gateways.
    (
        "10.0.0.1",
        XForwardedFor,
        &["192.0.2.1, 172.16.0.1"],
        "172.16.0.1 gateway | 172.16.0.1 10.0.0.1",
    ),
    (
        "10.0.0.1",
        XForwardedFor,
        &["192.0.2.1, 10.9.0.1"],
        "192.0.2.1 chain | 192.0.2.1 10.9.0.1 10.0.0.1",
    ),
    (
        "10.0.0.1",
        XForwardedFor,
        &["172.16.0.1, 192.0.2.1"],
        "192.0.2.1 chain | 172.16.0.1 192.0.2.1 10.0.0.1",
    ),
    // What cannot be read, where the walk arrives and left of it.
    (
        "10.0.0.1",
        XForwardedFor,
        &["192.0.2.1, unknown"],
        "10.0.0.1 unknown | 192.0.2.1 10.0.0.1",
    ),
    (
        "10.0.0.1",
        XForwardedFor,
        &["192.0.2.1, junk, 10.0.0.2"],
        "10.0.0.2 unknown | 192.0.2.1 10.0.0.2 10.0.0.1",
    ),
    (
        "10.0.0.1",
        XForwardedFor,
        &["_hidden"],
        "10.0.0.1 unknown | 10.0.0.1",
    ),
    (
        "10.0.0.1",
        XForwardedFor,
        &["0.0.0.0"],
        "10.0.0.1 unknown | 10.0.0.1",
    ),
    (
        "10.0.0.1",
        XForwardedFor,
        &["::"],
        "10.0.0.1 unknown | 10.0.0.1",
    ),
    (
        "10.0.0.1",
        XForwardedFor,
        &["192.0.2.01"],
        "10.0.0.1 unknown | 10.0.0.1",
    ),
    (
        "10.0.0.1",
        XForwardedFor,
        &["unknown, ::, 192.0.2.1"],
        "192.0.2.1 chain | 192.0.2.1 10.0.0.1",
    ),
    // Spellings.
    (
        "10.0.0.1",
        XForwardedFor,
        &["[2001:db8::1]:443, \"10.0.0.2:80\""],
        "2001:db8::1 chain | 2001:db8::1 10.0.0.2 10.0.0.1",
    ),
    (
        "10.0.0.1",
        XForwardedFor,
        &["::ffff:192.0.2.1, ::ffff:10.0.0.2"],
        "192.0.2.1 chain | 192.0.2.1 10.0.0.2 10.0.0.1",
    ),
    (
        "10.0.0.1",
        XForwardedFor,
        &["fe80::1%eth0"],
        "fe80::1 chain | fe80::1 10.0.0.1",
    ),
    // Forwarded.
    (
        "10.0.0.1",
        Forwarded,
        &["for=192.0.2.1;proto=https, For=\"10.0.0.2:80\""],
        "192.0.2.1 chain | 192.0.2.1 10.0.0.2 10.0.0.1",
    ),
    (
        "10.0.0.1",
        Forwarded,
        &["for=\"[2001:db8::1]\"", "for=10.0.0.2"],
        "2001:db8::1 chain | 2001:db8::1 10.0.0.2 10.0.0.1",
    ),
    (
        "10.0.0.1",
        Forwarded,
        &["for=\"1.1.1.1, for=192.0.2.1"],
        "192.0.2.1 chain | 192.0.2.1 10.0.0.1",
    ),
    (
        "10.0.0.1",
        Forwarded,
        &["for=\"", "for=192.0.2.1, for=10.0.0.2;ext=\"a,b\""],
        "192.0.2.1 chain | 192.0.2.1 10.0.0.2 10.0.0.1",
    ),
    (
        "10.0.0.1",
        Forwarded,
        &["for=1.1.1.1;y=\", for=192.0.2.1;host=x\""],
        "10.0.0.1 unknown | 10.0.0.1",
    ),
    (
        "10.0.0.1",
        Forwarded,
        &["for=192.0.2.1, for=unknown"],
        "10.0.0.1 unknown | 192.0.2.1 10.0.0.1",
    ),
    (
        "10.0.0.1",
        Forwarded,
        &["for=192.0.2.1, by=10.0.0.2"],
        "10.0.0.1 unknown | 192.0.2.1 10.0.0.1",
    ),
    (
        "10.0.0.1",
        Forwarded,
        &["192.0.2.1"],
        "10.0.0.1 unknown | 10.0.0.1",
    ),
    // Headers of one address.
    (
        "10.0.0.1",
        XRealIp,
        &["192.0.2.1"],
        "192.0.2.1 chain | 192.0.2.1 10.0.0.1",
    ),
    (
        "10.0.0.1",
        TrueClientIp,
        &[" 2001:db8::1 "],
        "2001:db8::1 chain | 2001:db8::1 10.0.0.1",
    ),
    (
        "10.0.0.1",
        CfConnectingIp,
        &["10.0.0.2"],
        "10.0.0.2 all_trusted | 10.0.0.2 10.0.0.1",
    ),
    (
        "10.0.0.1",
        XRealIp,
        &["192.0.2.1", "192.0.2.1"],
        "10.0.0.1 unknown | 10.0.0.1",
    ),
    (
        "10.0.0.1",
        TrueClientIp,
        &["192.0.2.1, 192.0.2.2"],
        "10.0.0.1 unknown | 10.0.0.1",
    ),
    (
        "10.0.0.1",
        CfConnectingIp,
        &["192.0.2.1,"],
        "10.0.0.1 unknown | 10.0.0.1",
    ),
    (
        "10.0.0.1",
        XRealIp,
        &["", "192.0.2.1"],
        "192.0.2.1 chain | 192.0.2.1 10.0.0.1",
    ),
    (
        "10.0.0.1",
        CloudfrontViewerAddress,
        &["192.0.2.1:46532"],
        "192.0.2.1 chain | 192.0.2.1 10.0.0.1",
    ),
    (
        "10.0.0.1",
        CloudfrontViewerAddress,
        &["2001:db8::1:46532"],
        "2001:db8::1 chain | 2001:db8::1 10.0.0.1",
    ),
    (
        "203.0.113.9",
        XRealIp,
        &["192.0.2.1"],
        "203.0.113.9 peer | 203.0.113.9",
    ),
];

#[test]
fn every_row_of_the_walk() {
    for (peer, header, lines, expected) in ROWS {
        assert_eq!(
            &told(&found(peer, *header, lines, LIMITS)),
            expected,
            "{peer} {header} {lines:?}"
        );
    }
}

#[test]
fn an_address_without_a_header() {
    let at = |peer: &str, address: &str| {
        let forwarding: Forwarding<std::iter::Empty<&[u8]>> = match address {
            "" => Forwarding::Nothing,
            address => Forwarding::Address(address.parse().unwrap()),
        };
        told(&walk(peer.parse().unwrap(), forwarding, LIMITS, &Zones))
    };
    assert_eq!(
        at("10.0.0.1", "192.0.2.1"),
        "192.0.2.1 chain | 192.0.2.1 10.0.0.1"
    );
    assert_eq!(
        at("10.0.0.1", "::ffff:192.0.2.1"),
        "192.0.2.1 chain | 192.0.2.1 10.0.0.1"
    );
    assert_eq!(
        at("10.0.0.1", "10.0.0.2"),
        "10.0.0.2 all_trusted | 10.0.0.2 10.0.0.1"
    );
    assert_eq!(
        at("10.0.0.1", "172.16.0.1"),
        "172.16.0.1 gateway | 172.16.0.1 10.0.0.1"
    );
    assert_eq!(at("10.0.0.1", "::"), "10.0.0.1 unknown | 10.0.0.1");
    assert_eq!(at("10.0.0.1", ""), "10.0.0.1 no_header | 10.0.0.1");
    assert_eq!(at("192.0.2.9", "192.0.2.1"), "192.0.2.9 peer | 192.0.2.9");
}
