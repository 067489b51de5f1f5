//! Prefixes as every other part sees them: canonical, or refused with the reason and the correction.
//!
//! Canonical means: an IPv4-mapped IPv6 address is the IPv4 address, and no bit is set behind the
//! prefix length. Two spellings of one network would otherwise be two entries, and the kernel, which
//! sees IPv4 packets only as IPv4, would never match the mapped one.

use std::{
    error, fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Why a text is not a network. `Display` gives the whole sentence, with the correction where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrefixError {
    /// Nothing was typed.
    Empty,
    /// Neither an address, a CIDR prefix nor a range.
    NotAnAddress {
        /// What was typed, escaped and shortened.
        text: String,
        /// What is wrong with it.
        why: &'static str,
        /// What to write instead, if that can be told.
        write: Option<String>,
    },
    /// What follows the slash is no length of this family.
    Length {
        /// What was typed, escaped and shortened.
        text: String,
        /// The longest length of the family: 32 or 128.
        max: u8,
        /// What to write instead, if that can be told.
        write: Option<String>,
    },
    /// Bits are set behind the prefix length: the operator meant either another length or another address.
    HostBits {
        /// What was typed, escaped and shortened.
        text: String,
        /// The network with these bits cleared.
        corrected: IpNet,
    },
    /// The last address of a range lies before the first.
    Reversed {
        /// The address typed first.
        first: IpAddr,
        /// The address typed last.
        last: IpAddr,
    },
    /// A range from one address family into the other.
    MixedFamilies {
        /// What was typed, escaped and shortened.
        text: String,
    },
}

/// The address under which `address` is judged: IPv4-mapped IPv6 (`::ffff:0:0/96`) is IPv4.
#[must_use]
pub fn canonical_address(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
    }
}

/// The canonical form of a prefix: mapped prefixes of /96 and longer folded to IPv4, host bits cleared.
#[must_use]
pub fn canonical_network(network: IpNet) -> IpNet {
    let network = network.trunc();
    let IpNet::V6(v6) = network else {
        return network;
    };
    let folded = v6
        .addr()
        .to_ipv4_mapped()
        .zip(v6.prefix_len().checked_sub(96))
        .and_then(|(address, length)| Ipv4Net::new(address, length).ok());
    folded.map_or(network, IpNet::V4)
}

/// The network that holds this one address.
#[must_use]
pub fn host_network(address: IpAddr) -> IpNet {
    IpNet::from(canonical_address(address))
}

/// Reads a CIDR prefix, a single address or a range `first-last` (spaces around the dash allowed).
///
/// A range becomes the fewest prefixes that cover exactly it: at most 62 for IPv4, 254 for IPv6.
///
/// # Errors
/// [`PrefixError`] says what is wrong and, where that can be told, what to write.
pub fn parse_network(text: &str) -> Result<Vec<IpNet>, PrefixError> {
    let text = text.trim_ascii();
    if text.is_empty() {
        return Err(PrefixError::Empty);
    }
    if let Some((address, length)) = text.split_once('/') {
        return parse_cidr(text, address, length).map(|network| vec![network]);
    }
    if let Some((first, last)) = text.split_once('-') {
        return parse_range(text, first.trim_ascii(), last.trim_ascii());
    }
    parse_address(text).map(|address| vec![host_network(address)])
}

fn parse_cidr(text: &str, address: &str, length: &str) -> Result<IpNet, PrefixError> {
    if text.contains('-') {
        let why = "is neither a prefix nor a range";
        let write = Some("write either `address/length` or `first-last`".to_owned());
        return Err(PrefixError::NotAnAddress {
            text: shown(text),
            why,
            write,
        });
    }
    let address = parse_address(address)?;
    let max = if address.is_ipv4() { 32 } else { 128 };
    let refused = |write| PrefixError::Length {
        text: shown(text),
        max,
        write,
    };
    let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    let value = length
        .parse::<u8>()
        .ok()
        .filter(|value| digits && *value <= max);
    let Some(value) = value else {
        return Err(refused(
            netmask_length(address, length).map(|n| format!("write {address}/{n}")),
        ));
    };
    if length.len() > 1 && length.starts_with('0') {
        return Err(refused(Some(format!("write {address}/{value}"))));
    }
    let typed = IpNet::new(address, value).map_err(|_| refused(None))?;
    let corrected = canonical_network(typed);
    if typed.trunc() != typed {
        return Err(PrefixError::HostBits {
            text: shown(text),
            corrected,
        });
    }
    Ok(corrected)
}

fn parse_range(text: &str, first: &str, last: &str) -> Result<Vec<IpNet>, PrefixError> {
    let first = canonical_address(parse_address(first)?);
    let last = canonical_address(parse_address(last)?);
    match (first, last) {
        (IpAddr::V4(low), IpAddr::V4(high)) if low <= high => Ok(split_range(
            u128::from(u32::from(low)),
            u128::from(u32::from(high)),
            32,
        )),
        (IpAddr::V6(low), IpAddr::V6(high)) if low <= high => {
            // A range over `::ffff:0:0/96` from outside stays IPv6: its pieces are folded only where
            // they lie wholly within, and there they are the same addresses.
            let pieces = split_range(u128::from(low), u128::from(high), 128);
            Ok(pieces.into_iter().map(canonical_network).collect())
        }
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
            Err(PrefixError::Reversed { first, last })
        }
        _ => Err(PrefixError::MixedFamilies { text: shown(text) }),
    }
}

/// The fewest prefixes that cover `first..=last` of a family with `bits` bits.
///
/// Each step takes the largest block that starts at `at` and does not pass `last`; sizes rise and then
/// fall, so there are at most `2 * bits` of them.
fn split_range(first: u128, last: u128, bits: u8) -> Vec<IpNet> {
    let mut networks = Vec::new();
    let mut at = first;
    while at <= last {
        let aligned = at.trailing_zeros().min(u32::from(bits));
        let fitting = match (last - at).checked_add(1) {
            Some(count) => count.ilog2(),
            None => 128,
        };
        let step = u8::try_from(aligned.min(fitting)).unwrap_or(0);
        networks.extend(network_of(at, bits.saturating_sub(step), bits));
        let next = 1_u128
            .checked_shl(u32::from(step))
            .and_then(|size| at.checked_add(size));
        match next {
            Some(next) => at = next,
            None => break,
        }
    }
    networks
}

/// `None` cannot happen for values made by `split_range`: they fit their family.
fn network_of(value: u128, length: u8, bits: u8) -> Option<IpNet> {
    if bits == 32 {
        let value = u32::try_from(value).ok()?;
        return Ipv4Net::new(Ipv4Addr::from(value), length)
            .ok()
            .map(IpNet::V4);
    }
    Ipv6Net::new(Ipv6Addr::from(value), length)
        .ok()
        .map(IpNet::V6)
}

/// Exactly what was typed: folding happens later, when the prefix length is known.
fn parse_address(text: &str) -> Result<IpAddr, PrefixError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address);
    }
    let (why, write) = address_fault(text);
    Err(PrefixError::NotAnAddress {
        text: shown(text),
        why,
        write,
    })
}

/// Why `text`, which is not an address, is none; the common slips get their own words.
fn address_fault(text: &str) -> (&'static str, Option<String>) {
    if text.is_empty() {
        return ("lacks an address", None);
    }
    if let Some((address, _)) = text.split_once('%') {
        let write = address.parse::<IpAddr>().ok().map(|a| format!("write {a}"));
        return (
            "has a zone id, which means something on one host only",
            write,
        );
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let write = inner.0.parse::<IpAddr>().ok().map(|a| format!("write {a}"));
        return ("is in brackets", write);
    }
    if let Some(address) = text
        .rsplit_once(':')
        .and_then(|(a, _)| a.parse::<Ipv4Addr>().ok())
    {
        return (
            "has a port; a network has none",
            Some(format!("write {address}")),
        );
    }
    let quad = text.rsplit(':').next().unwrap_or(text);
    let quad_like = quad.contains('.') && quad.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if quad_like {
        return quad_fault(quad);
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return ("is a number, not an address", None);
    }
    if text.contains(':') {
        return ("is not an IPv6 address", None);
    }
    ("is not an IP address; names are not resolved", None)
}

fn quad_fault(quad: &str) -> (&'static str, Option<String>) {
    let octets: Vec<&str> = quad.split('.').take(5).collect();
    if octets.len() != 4 || octets.iter().any(|octet| octet.is_empty()) {
        return ("is not four numbers with dots between them", None);
    }
    if octets
        .iter()
        .any(|octet| octet.len() > 1 && octet.starts_with('0'))
    {
        // Some programs read 010 as 8: a guess would judge the wrong network.
        return (
            "has a leading zero, which some programs read as octal",
            None,
        );
    }
    ("has a number above 255", None)
}

/// `255.255.255.0` after the slash, as the prefix length it stands for.
fn netmask_length(address: IpAddr, mask: &str) -> Option<u8> {
    let mask = mask
        .parse::<Ipv4Addr>()
        .ok()
        .filter(|_| address.is_ipv4())?;
    ipnet::ip_mask_to_prefix(IpAddr::V4(mask)).ok()
}

/// What was typed, safe to print: control characters escaped (a list file may hold terminal sequences), bounded.
fn shown(text: &str) -> String {
    let mut out: String = text.escape_debug().take(SHOWN_CHARS_MAX).collect();
    if text.escape_debug().nth(SHOWN_CHARS_MAX).is_some() {
        out.push('…');
    }
    out
}

const SHOWN_CHARS_MAX: usize = 60;

impl PrefixError {
    /// What is wrong, without the correction.
    #[must_use]
    pub fn what(&self) -> String {
        match self {
            Self::Empty => "no network given".to_owned(),
            Self::NotAnAddress { text, why, .. } => format!("`{text}` {why}"),
            Self::Length { text, max, .. } => {
                format!(
                    "`{text}` needs a prefix length of 0 to {max} after the slash, without leading zeros"
                )
            }
            Self::HostBits { text, .. } => format!("{text} has host bits set"),
            Self::Reversed { first, last } => {
                format!("the range {first}-{last} ends before it begins")
            }
            Self::MixedFamilies { text } => format!("the range {text} mixes IPv4 and IPv6"),
        }
    }

    /// What to write instead, where that can be told.
    #[must_use]
    pub fn suggestion(&self) -> Option<String> {
        match self {
            Self::Empty => Some("write a prefix, an address or a range".to_owned()),
            Self::NotAnAddress { write, .. } | Self::Length { write, .. } => write.clone(),
            Self::HostBits { corrected, .. } => Some(format!("write {corrected}")),
            Self::Reversed { first, last } => Some(format!("write {last}-{first}")),
            Self::MixedFamilies { .. } => Some("write one range for each family".to_owned()),
        }
    }
}

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what())?;
        match self.suggestion() {
            Some(suggestion) => write!(f, "; {suggestion}"),
            None => Ok(()),
        }
    }
}

impl error::Error for PrefixError {}

#[cfg(test)]
#[path = "prefix_tests.rs"]
mod tests;
