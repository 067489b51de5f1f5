//! Who is where: names, addresses, hardware addresses, and the `ip` lines that make it so.
//!
//! Neighbour entries are static and duplicate address detection is off, so that both families work at once,
//! and a verdict that drops an attacker's ARP or neighbour discovery does not disturb anything else.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A host's place in the lab's network.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Its short name.
    pub name: &'static str,
    /// Its main IPv4 address.
    pub v4: Ipv4Addr,
    /// The IPv4 network of which every address is routed to it and usable as source.
    pub network_v4: &'static str,
    /// Its main IPv6 address.
    pub v6: Ipv6Addr,
    /// The IPv6 network of which every address is routed to it and usable as source.
    pub network_v6: &'static str,
}

/// The clients behind the router, in the order of [`crate::Lab::clients`].
pub const PLANS: [Plan; 4] = [
    Plan {
        name: "attacker",
        v4: Ipv4Addr::new(203, 0, 113, 66),
        network_v4: "203.0.113.0/24",
        v6: Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 0x66),
        network_v6: "2001:db8:bad::/48",
    },
    Plan {
        name: "innocent",
        v4: Ipv4Addr::new(198, 51, 100, 10),
        network_v4: "198.51.100.0/26",
        v6: Ipv6Addr::new(0x2001, 0xdb8, 0x600d, 0, 0, 0, 0, 0x10),
        network_v6: "2001:db8:600d::/48",
    },
    Plan {
        name: "proxy",
        v4: Ipv4Addr::new(198, 51, 100, 70),
        network_v4: "198.51.100.64/26",
        v6: Ipv6Addr::new(0x2001, 0xdb8, 0x9, 0, 0, 0, 0, 0x70),
        network_v6: "2001:db8:9::/48",
    },
    Plan {
        name: "exempt",
        v4: Ipv4Addr::new(198, 51, 100, 130),
        network_v4: "198.51.100.128/26",
        v6: Ipv6Addr::new(0x2001, 0xdb8, 0xe, 0, 0, 0, 0, 0x130),
        network_v6: "2001:db8:e::/48",
    },
];

/// The login host's interface, where the agent attaches.
pub const EDGE: &str = "edge0";
/// The router's end of the login host's wire.
pub const WIRE: &str = "tohost";
/// The router's addresses on that wire.
pub const ROUTER_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// See [`ROUTER_V4`].
pub const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The login host's addresses.
pub(crate) const LOGIN_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
pub(crate) const LOGIN_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
/// Hardware address of the login host's [`EDGE`].
pub const EDGE_MAC: [u8; 6] = [0x02, 0xed, 0, 0, 0, 0x10];
/// Hardware address of the router's [`WIRE`].
pub const ROUTER_MAC: [u8; 6] = [0x02, 0xed, 0, 0, 0, 0x01];

impl Plan {
    /// Name of the router's interface towards this client.
    pub(crate) fn router_interface(&self) -> String {
        format!("c-{}", self.name)
    }

    /// Hardware addresses of the router's and the client's end, by the last byte of the client's address.
    fn macs(&self) -> ([u8; 6], [u8; 6]) {
        let [.., last] = self.v4.octets();
        ([0x02, 0xed, 0, 0, 2, last], [0x02, 0xed, 0, 0, 1, last])
    }
}

/// Router, first step: all wires, with their far ends in the other hosts, and up.
pub(crate) fn router_links(namespace_of: impl Fn(&str) -> String) -> String {
    let mut lines = String::from("link set lo up\n");
    let mut wire = |near: &str, near_mac, far: &str, far_mac, host: &str| {
        let (near_mac, far_mac, namespace) = (mac(near_mac), mac(far_mac), namespace_of(host));
        // A String takes every write.
        let _ = writeln!(
            lines,
            "link add {near} address {near_mac} type veth peer name {far} address {far_mac} netns {namespace}\n\
             link set {near} up"
        );
    };
    wire(WIRE, ROUTER_MAC, EDGE, EDGE_MAC, LOGIN);
    for plan in PLANS {
        let (router, client) = plan.macs();
        wire(
            &plan.router_interface(),
            router,
            CLIENT_INTERFACE,
            client,
            plan.name,
        );
    }
    lines
}

/// Router, second step: addresses, neighbours and a route to every client's networks.
pub(crate) fn router_routes() -> String {
    let edge = mac(EDGE_MAC);
    let mut lines = format!(
        "addr add {ROUTER_V4}/24 dev {WIRE}\n\
         addr add {ROUTER_V6}/64 dev {WIRE} nodad\n\
         neigh replace {LOGIN_V4} lladdr {edge} dev {WIRE} nud permanent\n\
         neigh replace {LOGIN_V6} lladdr {edge} dev {WIRE} nud permanent\n"
    );
    for plan in PLANS {
        let (v4, v6, interface) = (plan.v4, plan.v6, plan.router_interface());
        let (_, client) = plan.macs();
        let client = mac(client);
        let _ = writeln!(
            lines,
            "neigh replace {v4} lladdr {client} dev {interface} nud permanent\n\
             neigh replace {v6} lladdr {client} dev {interface} nud permanent\n\
             route add {} via {v4} dev {interface} onlink\n\
             route add {} via {v6} dev {interface} onlink",
            plan.network_v4, plan.network_v6,
        );
    }
    lines
}

/// The login host: its addresses, and everything else through the router.
pub(crate) fn login_lines() -> String {
    let router = mac(ROUTER_MAC);
    format!(
        "link set lo up\n\
         link set {EDGE} up\n\
         addr add {LOGIN_V4}/24 dev {EDGE}\n\
         addr add {LOGIN_V6}/64 dev {EDGE} nodad\n\
         neigh replace {ROUTER_V4} lladdr {router} dev {EDGE} nud permanent\n\
         neigh replace {ROUTER_V6} lladdr {router} dev {EDGE} nud permanent\n\
         route add default via {ROUTER_V4} dev {EDGE}\n\
         route add default via {ROUTER_V6} dev {EDGE}\n"
    )
}

/// A client: its main addresses, its whole networks as local, everything else through the router.
pub(crate) fn client_lines(plan: &Plan) -> String {
    let (router, _) = plan.macs();
    let router = mac(router);
    let Plan {
        v4,
        network_v4,
        v6,
        network_v6,
        ..
    } = plan;
    format!(
        "link set lo up\n\
         link set {CLIENT_INTERFACE} up\n\
         addr add {v4}/32 dev {CLIENT_INTERFACE}\n\
         addr add {v6}/128 dev {CLIENT_INTERFACE} nodad\n\
         neigh replace {ROUTER_V4} lladdr {router} dev {CLIENT_INTERFACE} nud permanent\n\
         neigh replace {ROUTER_V6} lladdr {router} dev {CLIENT_INTERFACE} nud permanent\n\
         route add local {network_v4} dev lo\n\
         route add local {network_v6} dev lo\n\
         route add default via {ROUTER_V4} dev {CLIENT_INTERFACE} onlink src {v4}\n\
         route add default via {ROUTER_V6} dev {CLIENT_INTERFACE} onlink src {v6}\n"
    )
}

/// A hardware address as `ip` writes it.
fn mac([a, b, c, d, e, f]: [u8; 6]) -> String {
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

/// Short names of the two hosts that are no clients.
pub(crate) const LOGIN: &str = "login";
pub(crate) const NET: &str = "net";
/// Every client's only interface.
pub(crate) const CLIENT_INTERFACE: &str = "eth0";
