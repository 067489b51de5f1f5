//! What must not be blocked by a slip of the hand.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{
    config::{Config, Uses},
    datapath::netlink,
    policy::prefix::canonical_address,
};

/// Why blocking `target` would cut off somebody who must not be, or `None`.
pub(super) fn objection(target: &IpNet, ssh_peers: &[IpAddr], config: &Config) -> Option<String> {
    if let Some(peer) = ssh_peers.iter().find(|peer| target.contains(*peer)) {
        return Some(format!(
            "{target} holds {peer}, where your own SSH session comes from; --force blocks it all the same"
        ));
    }
    // Without a list of addresses there is nothing to compare; the block itself still works.
    let local = netlink::addresses().unwrap_or_default();
    let local = local.into_iter().map(canonical_address);
    if let Some(address) = local.into_iter().find(|address| target.contains(address)) {
        return Some(format!(
            "{target} holds {address}, an address of this host; --force blocks it all the same"
        ));
    }
    for zone in config
        .zones
        .iter()
        .filter(|zone| zone.uses.contains(Uses::TRUSTED_PROXY))
    {
        let overlap = zone
            .networks
            .iter()
            .find(|net| target.contains(net) || net.contains(target));
        if let Some(net) = overlap {
            return Some(format!(
                "{target} overlaps {net} of the trusted-proxy zone \"{}\", which is never dropped; --force \
                 blocks the rest of it",
                zone.name
            ));
        }
    }
    None
}
