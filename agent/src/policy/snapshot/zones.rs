//! The zones that an address is in, as the kernel's zone tries have them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use edgeward_ebpf::abi::{ZoneValue, zone};
use ipnet::IpNet;

use super::table::Nets;
use crate::policy::{
    chain::{Role, Trust},
    clock::Now,
    prefix::canonical_address,
    zone::ZoneTable,
};

/// Every zone but the blocked, and every exempt decision.
#[derive(Debug, Default)]
pub(super) struct Zones {
    v4: Nets<u32, ZoneValue>,
    v6: Nets<u128, ZoneValue>,
}

/// The zones at a moment: exemptions end.
pub(super) struct ZonesNow<'a> {
    pub(super) zones: &'a Zones,
    pub(super) now: Now,
}

impl Zones {
    pub(super) fn new(table: &ZoneTable) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (prefix, value) in table.entries() {
            match prefix {
                IpNet::V4(net) => v4.push((net.addr().into(), net.prefix_len(), *value)),
                IpNet::V6(net) => v6.push((net.addr().into(), net.prefix_len(), *value)),
            }
        }
        Self {
            v4: Nets::new(v4),
            v6: Nets::new(v6),
        }
    }

    /// Every prefix with what is said of it.
    pub(super) fn iter(&self) -> impl Iterator<Item = (IpNet, &ZoneValue)> + '_ {
        let v4 = self.v4.iter().filter_map(|(net, length, value)| {
            Some((IpNet::new(Ipv4Addr::from(net).into(), length).ok()?, value))
        });
        let v6 = self.v6.iter().filter_map(|(net, length, value)| {
            Some((IpNet::new(Ipv6Addr::from(net).into(), length).ok()?, value))
        });
        v4.chain(v6)
    }

    /// Uses of the zones that hold an address, bits of [`zone`]; blocked ones are entries.
    #[inline]
    pub(super) fn uses(&self, address: IpAddr, now: Now) -> u32 {
        // Each prefix says what all that cover it say: the longest is enough.
        let value = match canonical_address(address) {
            IpAddr::V4(v4) => self.v4.covering(v4.into()).next(),
            IpAddr::V6(v6) => self.v6.covering(v6.into()).next(),
        };
        match value {
            None => 0,
            Some((_, value))
                if value.uses & zone::EXEMPT != 0 && !now.is_live(value.exempt_until) =>
            {
                value.uses & !zone::EXEMPT
            }
            Some((_, value)) => value.uses,
        }
    }
}

impl Trust for ZonesNow<'_> {
    #[inline]
    fn role(&self, address: IpAddr) -> Role {
        let uses = self.zones.uses(address, self.now);
        if uses & zone::TRUSTED_PROXY != 0 {
            Role::TrustedProxy
        } else if uses & zone::GATEWAY != 0 {
            Role::Gateway
        } else {
            Role::Other
        }
    }
}
