//! What rtnetlink says of the interfaces: index, name, kind and the XDP program each one runs.
//!
//! sysfs would show the interfaces of another network namespace than the one we are in, and bpf(2)
//! does not say who holds an interface's hook.

use std::{
    io,
    net::{IpAddr, Ipv6Addr},
};

use super::sys::RouteSocket;

/// One network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Kernel index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Driver kind of a virtual device ("veth", "bridge", …); physical devices have none.
    pub kind: Option<String>,
    /// Whether it is the loopback.
    pub loopback: bool,
    /// The XDP program it runs.
    pub xdp: Option<XdpAttached>,
}

/// An attached XDP program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpAttached {
    /// Kernel id of the program.
    pub program: u32,
    /// How it is attached.
    pub mode: XdpMode,
}

/// How an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// After the driver has built a socket buffer: slower, but everywhere.
    Generic,
    /// On the card, or several at once.
    Other,
}

impl Interface {
    /// Whether traffic from outside can arrive here without passing another interface first.
    #[must_use]
    pub fn is_physical(&self) -> bool {
        !self.loopback && self.kind.is_none()
    }
}

/// All interfaces of this network namespace (`RTM_GETLINK`, rtnetlink(7)).
///
/// # Errors
/// The socket's errors; a reply that does not parse is `InvalidData`.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let mut found = Vec::new();
    dump(RTM_GETLINK, RTM_NEWLINK, |body| found.extend(link(body)))?;
    Ok(found)
}

/// All addresses of this network namespace (`RTM_GETADDR`).
///
/// # Errors
/// As for [`interfaces`].
pub fn addresses() -> io::Result<Vec<IpAddr>> {
    let mut found = Vec::new();
    dump(RTM_GETADDR, RTM_NEWADDR, |body| found.extend(address(body)))?;
    Ok(found)
}

/// Puts an IPv6 address on the loopback interface of this network namespace, or takes it away. Either is
/// fine if it is so already. The address is deprecated from the start: nobody uses it who does not name it.
///
/// # Errors
/// The socket's errors, or what the kernel refused: without IPv6 there is no such address.
pub fn set_loopback_address(address: Ipv6Addr, wanted: bool) -> io::Result<()> {
    let loopback = interfaces()?
        .into_iter()
        .find(|interface| interface.loopback)
        .ok_or_else(|| io::Error::other("there is no loopback interface"))?;
    let socket = RouteSocket::open()?;
    socket.send(&address_request(loopback.index, address, wanted))?;
    let mut buffer = [0; 1024];
    let length = socket.receive(&mut buffer)?;
    let answer = message(buffer.get(..length).unwrap_or_default());
    let code = match answer {
        Some((NLMSG_ERROR, body, _)) => body.first_chunk().map(|code| i32::from_ne_bytes(*code)),
        _ => None,
    };
    let error = match code {
        Some(0) => return Ok(()),
        Some(code) => io::Error::from_raw_os_error(code.saturating_neg()),
        None => return Err(io::Error::from(io::ErrorKind::InvalidData)),
    };
    match error.raw_os_error() {
        Some(libc::EEXIST) if wanted => Ok(()),
        // Gone already; or there is no IPv6, and so no address.
        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT | libc::EOPNOTSUPP) if !wanted => Ok(()),
        _ => Err(error),
    }
}

/// Header, `ifaddrmsg`, the address as address and local address, and its lifetimes: valid for ever,
/// preferred never.
fn address_request(interface: u32, address: Ipv6Addr, wanted: bool) -> Vec<u8> {
    let (kind, flags) = if wanted {
        (
            RTM_NEWADDR,
            NLM_F_REQUEST_ACK | NLM_F_CREATE | NLM_F_REPLACE,
        )
    } else {
        (RTM_DELADDR, NLM_F_REQUEST_ACK)
    };
    let mut body = vec![AF_INET6, 128, IFA_F_NODAD, 0];
    body.extend(interface.to_ne_bytes());
    for kind in [IFA_ADDRESS, IFA_LOCAL] {
        body.extend(20u16.to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(address.octets());
    }
    if wanted {
        body.extend(20u16.to_ne_bytes());
        body.extend(IFA_CACHEINFO.to_ne_bytes());
        for word in [0, u32::MAX, 0, 0] {
            body.extend(word.to_ne_bytes());
        }
    }
    let length = u32::try_from(16 + body.len()).unwrap_or(0);
    let mut message = Vec::with_capacity(16 + body.len());
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

fn dump(ask: u16, answer: u16, mut visit: impl FnMut(&[u8])) -> io::Result<()> {
    let socket = RouteSocket::open()?;
    socket.send(&request(ask))?;
    let mut buffer = vec![0u8; 64 << 10];
    // Bounded: a host with more than this in one dump is not one that people sign in to.
    for _ in 0..4096 {
        let length = socket.receive(&mut buffer)?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while let Some((kind, body, after)) = message(rest) {
            match kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => return Err(io::Error::other("rtnetlink refused the dump")),
                kind if kind == answer => visit(body),
                _ => {}
            }
            rest = after;
        }
    }
    Err(io::Error::from(io::ErrorKind::InvalidData))
}

/// The address of an `ifaddrmsg`: the local one where there is a pair.
fn address(body: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    for (kind, value) in attributes(body.get(8..)?) {
        let value = match value.len() {
            4 => value
                .first_chunk()
                .map(|octets: &[u8; 4]| IpAddr::from(*octets)),
            16 => value
                .first_chunk()
                .map(|octets: &[u8; 16]| IpAddr::from(*octets)),
            _ => None,
        };
        match kind {
            IFA_LOCAL => return value,
            IFA_ADDRESS => found = value,
            _ => {}
        }
    }
    found
}

/// A header (length, type, flags, sequence, port) and a zeroed body: everything of every family.
fn request(kind: u16) -> [u8; 32] {
    let mut message = [0u8; 32];
    let fields: [(usize, &[u8]); 3] = [
        (0, &32u32.to_ne_bytes()),
        (4, &kind.to_ne_bytes()),
        (6, &NLM_F_REQUEST_DUMP.to_ne_bytes()),
    ];
    for (offset, bytes) in fields {
        if let Some(place) = message.get_mut(offset..offset + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
    message
}

/// Splits the first message off: type, body, rest.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let body = bytes.get(16..length)?;
    Some((
        kind,
        body,
        bytes.get(length.next_multiple_of(4)..).unwrap_or_default(),
    ))
}

fn link(body: &[u8]) -> Option<Interface> {
    let index = u32::from_ne_bytes(*body.get(4..)?.first_chunk()?);
    let flags = u32::from_ne_bytes(*body.get(8..)?.first_chunk()?);
    let mut interface = Interface {
        index,
        name: String::new(),
        kind: None,
        loopback: flags & IFF_LOOPBACK != 0,
        xdp: None,
    };
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            IFLA_IFNAME => interface.name = text(value),
            IFLA_LINKINFO => {
                interface.kind = attributes(value)
                    .find(|(kind, _)| *kind == IFLA_INFO_KIND)
                    .map(|(_, value)| text(value));
            }
            IFLA_XDP => interface.xdp = xdp(value),
            _ => {}
        }
    }
    Some(interface)
}

fn xdp(nested: &[u8]) -> Option<XdpAttached> {
    let mut mode = XdpMode::Other;
    let mut program = None;
    for (kind, value) in attributes(nested) {
        match (kind, value) {
            (IFLA_XDP_ATTACHED, [0, ..]) => return None,
            (IFLA_XDP_ATTACHED, [1, ..]) => mode = XdpMode::Native,
            (IFLA_XDP_ATTACHED, [2, ..]) => mode = XdpMode::Generic,
            (IFLA_XDP_PROG_ID, id) => program = id.first_chunk().map(|id| u32::from_ne_bytes(*id)),
            _ => {}
        }
    }
    Some(XdpAttached {
        program: program?,
        mode,
    })
}

/// Walks route attributes (rtnetlink(7)): length, type, value, padded to four bytes.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        // The top bits only say that a value is nested or in network order.
        Some((kind & 0x3fff, value))
    })
}

fn text(value: &[u8]) -> String {
    let end = value
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(value.len());
    String::from_utf8_lossy(value.get(..end).unwrap_or_default()).into_owned()
}

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_CACHEINFO: u16 = 6;
const IFA_F_NODAD: u8 = 2;
const AF_INET6: u8 = 10;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const NLM_F_REQUEST_ACK: u16 = 5;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;
const IFF_LOOPBACK: u32 = 8;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;

#[cfg(test)]
mod tests {

    use super::{addresses, attributes, interfaces, xdp};

    #[test]
    fn the_loopback_is_there_and_not_physical() {
        let all = interfaces().unwrap();
        let loopback = all.iter().find(|interface| interface.loopback).unwrap();
        assert!(!loopback.is_physical());
        assert!(!loopback.name.is_empty());
    }

    #[test]
    fn the_loopback_has_its_address() {
        assert!(
            addresses()
                .unwrap()
                .iter()
                .any(std::net::IpAddr::is_loopback)
        );
    }

    #[test]
    fn truncated_attributes_end_the_walk() {
        let bytes = [8, 0, 9, 0, 1, 2, 3, 4, 12, 0, 5, 0, 1];
        assert_eq!(
            attributes(&bytes).collect::<Vec<_>>(),
            [(9, &[1, 2, 3, 4][..])]
        );
        assert_eq!(xdp(&bytes), None);
    }
}
