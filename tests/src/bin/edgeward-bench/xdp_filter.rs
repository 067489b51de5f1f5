//! xdp-filter as a peer: its own program, its map filled past its tool, which takes one address a call.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::Instant;

use anyhow::{Context, ensure};
use lab::xdp::attached_program;
use lab::{EDGE, Lab, Result};

use crate::sys;
use crate::traffic::{Family, Population};

/// Addresses of a family that it can hold.
pub(crate) const CAPACITY: usize = 10_000;

/// Loads it on the login host and lists addresses; the seconds the IPv4 ones took.
pub(crate) fn start(lab: &Lab, population: &Population, entries: usize) -> Result<f64> {
    ensure!(entries <= CAPACITY, "xdp-filter holds {CAPACITY} addresses");
    // It pins below /sys/fs/bpf: in a mount namespace of its own that leaves nothing on the machine.
    let load = format!(
        "mount -t bpf bpf /sys/fs/bpf && exec xdp-filter load -p allow -f ipv4,ipv6 {EDGE}"
    );
    lab.login
        .run(&["unshare", "--mount", "sh", "-c", &load])?
        .success()
        .context("xdp-filter load")?;
    let program = attached_program(&lab.login, EDGE)?;
    let maps = sys::maps_of(program.as_fd())?;
    let mut seconds = 0.0;
    for (family, name) in [(Family::V6, "filter_ipv6"), (Family::V4, "filter_ipv4")] {
        let begin = Instant::now();
        let map = maps.iter().find(|(_, facts)| facts.name == name);
        let (map, _) = map.with_context(|| format!("xdp-filter has no map {name}"))?;
        // A per-CPU value: flags in the low bits, for each possible CPU.
        let value: Vec<u8> = FLAG_SOURCE.to_ne_bytes().repeat(possible_cpus()?);
        for address in population.listed(family, entries) {
            match address {
                IpAddr::V4(address) => sys::update(map.as_fd(), &address.octets(), &value)?,
                IpAddr::V6(address) => sys::update(map.as_fd(), &address.octets(), &value)?,
            }
        }
        seconds = begin.elapsed().as_secs_f64();
    }
    Ok(seconds)
}

/// CPUs that could ever be there, as per-CPU maps count them.
fn possible_cpus() -> Result<usize> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let last = text.trim().rsplit(['-', ',']).next().unwrap_or("0");
    Ok(last.parse::<usize>()? + 1)
}

/// `MAP_FLAG_SRC` of xdp-filter's common.h.
const FLAG_SOURCE: u64 = 1;
