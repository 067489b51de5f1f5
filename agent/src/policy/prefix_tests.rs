//! Tables and properties of `prefix`: every accepted spelling, every refusal, ranges against enumeration.

use super::*;

fn parsed(text: &str) -> String {
    let networks = parse_network(text).unwrap_or_else(|error| panic_with(text, &error));
    networks
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}

fn panic_with(text: &str, error: &PrefixError) -> ! {
    panic!("`{text}`: {error}")
}

#[test]
fn accepted_spellings_are_canonical() {
    let table = [
        ("192.0.2.0/24", "192.0.2.0/24"),
        (" 192.0.2.7\t", "192.0.2.7/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("::ffff:192.0.2.1", "192.0.2.1/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::fffe:0:0/95", "::fffe:0:0/95"),
        ("::10.0.0.1", "::a00:1/128"),
        ("192.0.2.0-192.0.2.255", "192.0.2.0/24"),
        ("192.0.2.7-192.0.2.7", "192.0.2.7/32"),
        (
            "203.0.113.10 - 203.0.113.20",
            "203.0.113.10/31 203.0.113.12/30 203.0.113.16/30 203.0.113.20/32",
        ),
        ("0.0.0.0-255.255.255.255", "0.0.0.0/0"),
        ("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::/0"),
        ("255.255.255.254-255.255.255.255", "255.255.255.254/31"),
        ("::ffff:10.0.0.1-10.0.0.2", "10.0.0.1/32 10.0.0.2/32"),
        ("2001:db8::1-2001:db8::2", "2001:db8::1/128 2001:db8::2/128"),
    ];
    for (text, expected) in table {
        assert_eq!(parsed(text), expected, "{text}");
    }
}

#[test]
fn refusals_say_what_to_write() {
    for (text, expected) in REFUSALS {
        let error = parse_network(text).unwrap_err();
        assert_eq!(error.to_string(), *expected, "{text}");
    }
}

/// What is typed, and the whole sentence that answers it.
const REFUSALS: &[(&str, &str)] = &[
    (
        "",
        "no network given; write a prefix, an address or a range",
    ),
    (
        "192.0.2.1/24",
        "192.0.2.1/24 has host bits set; write 192.0.2.0/24",
    ),
    (
        "2001:db8::1/32",
        "2001:db8::1/32 has host bits set; write 2001:db8::/32",
    ),
    (
        "::ffff:10.0.0.1/104",
        "::ffff:10.0.0.1/104 has host bits set; write 10.0.0.0/8",
    ),
    (
        "::ffff:10.0.0.0/90",
        "::ffff:10.0.0.0/90 has host bits set; write ::ffc0:0:0/90",
    ),
    (
        "010.0.0.1",
        "`010.0.0.1` has a leading zero, which some programs read as octal",
    ),
    (
        "::ffff:010.0.0.1",
        "`::ffff:010.0.0.1` has a leading zero, which some programs read as octal",
    ),
    (
        "10.0.0",
        "`10.0.0` is not four numbers with dots between them",
    ),
    (
        "10.0.0.1.2",
        "`10.0.0.1.2` is not four numbers with dots between them",
    ),
    ("10.0.0.256", "`10.0.0.256` has a number above 255"),
    (
        "10.0.0.1:80",
        "`10.0.0.1:80` has a port; a network has none; write 10.0.0.1",
    ),
    (
        "[2001:db8::1]",
        "`[2001:db8::1]` is in brackets; write 2001:db8::1",
    ),
    (
        "fe80::1%eth0",
        "`fe80::1%eth0` has a zone id, which means something on one host only; write fe80::1",
    ),
    (
        "fe80::%eth0/64",
        "`fe80::%eth0` has a zone id, which means something on one host only; write fe80::",
    ),
    ("3232235777", "`3232235777` is a number, not an address"),
    ("2001:db8:::1", "`2001:db8:::1` is not an IPv6 address"),
    (
        "cdn.example.net",
        "`cdn.example.net` is not an IP address; names are not resolved",
    ),
    (
        "a\u{1b}[31mb",
        "`a\\u{1b}[31mb` is not an IP address; names are not resolved",
    ),
    (
        "192.0.2.0/33",
        "`192.0.2.0/33` needs a prefix length of 0 to 32 after the slash, without leading zeros",
    ),
    (
        "192.0.2.0/024",
        "`192.0.2.0/024` needs a prefix length of 0 to 32 after the slash, without leading zeros; write 192.0.2.0/24",
    ),
    (
        "192.0.2.0/+24",
        "`192.0.2.0/+24` needs a prefix length of 0 to 32 after the slash, without leading zeros",
    ),
    (
        "192.0.2.0/",
        "`192.0.2.0/` needs a prefix length of 0 to 32 after the slash, without leading zeros",
    ),
    (
        "192.0.2.0/255.255.255.0",
        "`192.0.2.0/255.255.255.0` needs a prefix length of 0 to 32 after the slash, without leading zeros; write 192.0.2.0/24",
    ),
    (
        "2001:db8::/129",
        "`2001:db8::/129` needs a prefix length of 0 to 128 after the slash, without leading zeros",
    ),
    (
        "10.0.0.9-10.0.0.1",
        "the range 10.0.0.9-10.0.0.1 ends before it begins; write 10.0.0.1-10.0.0.9",
    ),
    (
        "10.0.0.1-::1",
        "the range 10.0.0.1-::1 mixes IPv4 and IPv6; write one range for each family",
    ),
    ("10.0.0.1-", "`` lacks an address"),
    (
        "10.0.0.0/24-10.0.1.0/24",
        "`10.0.0.0/24-10.0.1.0/24` is neither a prefix nor a range; write either `address/length` or `first-last`",
    ),
];

#[test]
fn long_junk_is_shortened() {
    let message = parse_network(&"x".repeat(10_000)).unwrap_err().to_string();
    assert!(message.len() < 200 && message.contains('…'), "{message}");
}

#[test]
fn canonical_forms() {
    let mapped: IpAddr = "::ffff:192.0.2.9".parse().unwrap();
    assert_eq!(canonical_address(mapped).to_string(), "192.0.2.9");
    assert_eq!(host_network(mapped).to_string(), "192.0.2.9/32");
    let typed: IpNet = "2001:db8::9/64".parse().unwrap();
    assert_eq!(canonical_network(typed).to_string(), "2001:db8::/64");
}

/// xorshift64: repeatable, and good enough to draw ranges from.
fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn a_range_is_exactly_its_addresses_in_the_fewest_prefixes() {
    let mut state = 0x9e37_79b9_7f4a_7c15;
    for _ in 0..300 {
        let first = u32::try_from(next_random(&mut state) >> 32).unwrap();
        let length = u32::try_from(next_random(&mut state) % 700).unwrap();
        let last = first.saturating_add(length);
        let text = format!("{}-{}", Ipv4Addr::from(first), Ipv4Addr::from(last));
        let got = parse_network(&text).unwrap();
        let hosts: Vec<IpNet> = (first..=last)
            .map(|a| IpNet::from(IpAddr::V4(Ipv4Addr::from(a))))
            .collect();
        assert_eq!(got, IpNet::aggregate(&hosts), "{text}");

        let base = u128::from(next_random(&mut state)) << 64 | u128::from(next_random(&mut state));
        let end = base.saturating_add(u128::from(length));
        let text = format!("{}-{}", Ipv6Addr::from(base), Ipv6Addr::from(end));
        let got = parse_network(&text).unwrap();
        let hosts: Vec<IpNet> = (base..=end)
            .map(|a| IpNet::from(IpAddr::V6(Ipv6Addr::from(a))))
            .collect();
        assert_eq!(got, IpNet::aggregate(&hosts), "{text}");
    }
}

#[test]
fn the_worst_ranges_stay_small() {
    assert_eq!(parse_network("0.0.0.1-255.255.255.254").unwrap().len(), 62);
    let text = "::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe";
    assert_eq!(parse_network(text).unwrap().len(), 254);
}

#[test]
fn what_is_printed_reads_back_the_same() {
    let mut state = 0x0123_4567_89ab_cdef;
    for _ in 0..2_000 {
        let address = Ipv6Addr::from(u128::from(next_random(&mut state)) << 64);
        let length = u8::try_from(next_random(&mut state) % 129).unwrap();
        let network = canonical_network(IpNet::new(IpAddr::V6(address), length).unwrap());
        assert_eq!(parse_network(&network.to_string()).unwrap(), vec![network]);
    }
}
