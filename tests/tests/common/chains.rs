//! What must hold for any bytes that a client or a proxy sends ahead of the client's address: the bodies of the fuzz
//! targets `chain`, `forwarded` and `proxy_protocol`, run over seeds by an ordinary test too.

use std::net::IpAddr;

use edgeward::config::Header;
use edgeward::policy::chain::{
    Chain, ChainLimits, ClientReason, Fate, Forwarding, Role, Trust, proxy_protocol, walk,
    walk_seen,
};

/// 10/8 and fd00::/8 are trusted proxies, 172.16/12 a gateway.
struct Zones;

impl Trust for Zones {
    fn role(&self, address: IpAddr) -> Role {
        let first = match address {
            IpAddr::V4(v4) => v4.octets(),
            IpAddr::V6(v6) if v6.octets().first() == Some(&0xfd) => return Role::TrustedProxy,
            IpAddr::V6(_) => return Role::Other,
        };
        match first {
            [10, ..] => Role::TrustedProxy,
            [172, 16..=31, ..] => Role::Gateway,
            _ => Role::Other,
        }
    }
}

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

/// Header lines of any bytes: the first byte picks the header and the limits, the rest is split at line ends.
pub(crate) fn chain(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let headers = Header::NAMED.map(|(_, header)| header);
    let header = headers
        .get(usize::from(*first) % headers.len())
        .copied()
        .unwrap_or_default();
    let limits = ChainLimits {
        hops_max: 1 + usize::from(first >> 5),
        bytes_max: if first & 8 == 0 { 64 } else { 8_192 },
    };
    check(header, &lines(rest), limits);
}

/// The same for `Forwarded` alone, with nothing cut off.
pub(crate) fn forwarded(bytes: &[u8]) {
    let limits = ChainLimits {
        hops_max: 64,
        bytes_max: 65_536,
    };
    check(Header::Forwarded, &lines(bytes), limits);
    // An element that a proxy appends is read whatever stands before it.
    for own in [
        "for=192.0.2.7",
        "for=\"[2001:db8::7]:443\";proto=https",
        "For=\"192.0.2.7:_x\";by=_y;host=\"a,b\"",
    ] {
        let mut line = bytes
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default()
            .to_vec();
        line.extend(b", ");
        line.extend(own.as_bytes());
        let found = walked(Header::Forwarded, &[&line], limits);
        assert_eq!(found.reason, ClientReason::Chain, "{own}");
        assert!(["192.0.2.7", "2001:db8::7"].contains(&found.client.to_string().as_str()));
    }
}

/// A PROXY protocol header of any bytes: no address from a beginning of it, and never more than its limit.
pub(crate) fn proxy_protocol(bytes: &[u8]) {
    use proxy_protocol::{BYTES_MAX, Error, parse};
    let whole = parse(bytes);
    if let Ok(parsed) = whole {
        assert!(parsed.consumed <= bytes.len().min(BYTES_MAX));
        let more = [bytes, b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(parse(&more), whole, "what follows changes nothing");
        if let Some((from, to)) = parsed.address {
            assert_eq!(from.ip().to_canonical(), from.ip());
            assert_eq!(to.ip().to_canonical(), to.ip());
        }
    }
    for length in 0..bytes.len().min(300) {
        match (parse(bytes.get(..length).unwrap_or_default()), whole) {
            (Err(Error::Incomplete(need)), _) => assert!(need > length && need <= BYTES_MAX),
            (Ok(parsed), Ok(all)) => assert_eq!(parsed, all),
            (Err(Error::Invalid(_)), Err(Error::Invalid(_))) => {}
            (cut, whole) => panic!("{length} bytes: {cut:?}, all: {whole:?}"),
        }
    }
}

fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split(|byte| *byte == b'\n').take(16).collect()
}

fn walked(header: Header, lines: &[&[u8]], limits: ChainLimits) -> Chain {
    walk(
        PEER,
        Forwarding::Lines(header, lines.iter().copied()),
        limits,
        &Zones,
    )
}

fn check(header: Header, lines: &[&[u8]], limits: ChainLimits) {
    let mut fates = Vec::new();
    let forwarding = Forwarding::Lines(header, lines.iter().copied());
    let found = walk_seen(PEER, forwarding, limits, &Zones, |seen| {
        fates.push(seen.fate)
    });
    assert_eq!(fates.first(), Some(&Fate::PeerTrusted));
    assert!(fates.len() <= limits.hops_max + 1);
    assert_eq!(found.addresses.iter().next_back(), Some(PEER));
    for hop in found.addresses.iter() {
        assert!(hop.to_canonical() == hop && !hop.is_unspecified(), "{hop}");
    }
    let trusted = Zones.role(found.client) == Role::TrustedProxy;
    let named = matches!(found.reason, ClientReason::Chain | ClientReason::Gateway);
    assert_ne!(trusted, named, "{found:?}");

    // From a peer that nobody trusts the header changes nothing.
    let stranger = IpAddr::from([203, 0, 113, 9]);
    let forwarding = Forwarding::Lines(header, lines.iter().copied());
    let direct = walk(stranger, forwarding, limits, &Zones);
    assert_eq!(
        (direct.client, direct.reason, direct.addresses.len()),
        (stranger, ClientReason::Peer, 1)
    );

    // To the left of a client there is nothing that changes it.
    if named && matches!(header, Header::XForwardedFor | Header::Forwarded) {
        let prefixes: [&[u8]; 4] = [
            b"\"",
            b"192.0.2.66, for=192.0.2.66",
            b"for=\"192.0.2.66",
            b"x=\"\\",
        ];
        for prefix in prefixes {
            let mut longer = lines.to_vec();
            longer.insert(0, prefix);
            let again = walked(header, &longer, limits);
            assert_eq!(
                (again.client, again.reason),
                (found.client, found.reason),
                "{prefix:?}"
            );
            let mut joined = [prefix, b","].concat();
            joined.extend(lines.first().copied().unwrap_or_default());
            let mut same_line = lines.to_vec();
            if let Some(first) = same_line.first_mut() {
                *first = &joined;
            }
            let again = walked(header, &same_line, limits);
            assert_eq!(
                (again.client, again.reason),
                (found.client, found.reason),
                "{prefix:?}"
            );
        }
    }
}
