//! The embedded program and its maps: checked, loaded, pinned or adopted.

use std::{collections::HashMap, path::Path};

use anyhow::{Context as _, anyhow, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::MapInfo,
    programs::{ProgramError, SkLookup, Xdp},
};
use edgeward_ebpf::{
    abi::{
        ABI_VERSION, CLASSES, Class, Control, Count, EVENT_GATE_SLOTS, EventBudget,
        HEAD_RING_BYTES, Limits, Listed, RateKey, RateState, StashKey, ZoneValue, counter, hosts,
        profile, steer,
    },
    lookup::{filter6, table4},
};
use tracing::{debug, warn};

use super::{STASH, Sizes, pins::Pins, sys, tables::Opened};

/// Loads the program over new or adopted maps. Nothing is attached yet.
pub(super) fn load(pins: &Pins, sizes: &Sizes) -> anyhow::Result<(Ebpf, Opened)> {
    let specs = specs(sizes);
    for spec in &specs {
        drop_if_changed(&pins.map(spec.name), spec)?;
    }
    let paths: Vec<_> = specs
        .iter()
        .map(|spec| (spec, pins.map(spec.name)))
        .collect();
    let mut loader = EbpfLoader::new();
    for (spec, path) in &paths {
        loader
            .map_pin_path(spec.name, path.as_path())
            .map_max_entries(spec.name, spec.elements);
    }
    let mut ebpf = loader
        .load(PROGRAM)
        .context("the kernel refused the program's maps")?;
    let name = program_name(&kernel_release()?)?;
    program(&mut ebpf, name)?.load().map_err(refused)?;
    sk_lookup(&mut ebpf)?.load().map_err(refused)?;
    let mut opened = HashMap::new();
    for (spec, path) in &paths {
        let map = sys::open_pin(path)
            .with_context(|| format!("cannot open the pinned map {}", path.display()))?;
        opened.insert(spec.name, map);
    }
    Ok((ebpf, opened))
}

/// A sentence instead of the verifier's walk, which has thousands of lines and goes to the debug log.
fn refused(error: ProgramError) -> anyhow::Error {
    let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    else {
        return anyhow::Error::new(error).context("the kernel refused the program");
    };
    let walk = verifier_log.to_string();
    debug!("the verifier's walk:\n{walk}");
    let why = complaint(&walk);
    anyhow::Error::new(io_error).context(format!(
        "the kernel refused the program: {why} (EDGEWARD_LOG=debug shows the verifier's walk)"
    ))
}

/// What the verifier complained of: its last line before the statistics.
fn complaint(walk: &str) -> &str {
    const STATISTICS: [&str; 3] = ["verification time", "stack depth", "processed"];
    walk.lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty() && !STATISTICS.iter().any(|word| line.starts_with(word)))
        .unwrap_or("it says no more")
}

/// The loaded program.
pub(super) fn xdp(ebpf: &mut Ebpf) -> anyhow::Result<&mut Xdp> {
    let name = program_name(&kernel_release()?)?;
    program(ebpf, name)
}

/// The loaded program that steers connections.
pub(super) fn sk_lookup(ebpf: &mut Ebpf) -> anyhow::Result<&mut SkLookup> {
    ebpf.program_mut("edgeward_steer")
        .ok_or_else(|| anyhow!("the embedded program has no edgeward_steer"))?
        .try_into()
        .context("the embedded program is not a socket look-up")
}

/// Refuses in one sentence what would otherwise fail somewhere in the middle.
pub(super) fn check_host() -> anyhow::Result<()> {
    program_name(&kernel_release()?)?;
    let effective = caps::read(None, caps::CapSet::Effective)
        .map_err(|error| anyhow!("cannot read this process's capabilities: {error}"))?;
    let needed = [
        caps::Capability::CAP_BPF,
        caps::Capability::CAP_NET_ADMIN,
        caps::Capability::CAP_PERFMON,
        // Adopting a generation opens it by its id.
        caps::Capability::CAP_SYS_ADMIN,
    ];
    let missing: Vec<String> = needed
        .iter()
        .filter(|capability| !effective.contains(*capability))
        .map(ToString::to_string)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "missing privileges: {}; start the agent as root",
        missing.join(", ")
    )
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut Xdp> {
    ebpf.program_mut(name)
        .ok_or_else(|| anyhow!("the embedded program has no {name}"))?
        .try_into()
        .context("the embedded program is not an XDP program")
}

/// Multi-buffer packets need Linux 5.18; everything else that we use is in 5.10.
fn program_name(release: &str) -> anyhow::Result<&'static str> {
    let mut numbers = release
        .split(['.', '-', '+'])
        .map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (5, 10) {
        bail!(
            "Linux {release} is too old: Edgeward needs 5.10 or later (pinned XDP links, ring buffer, \
             maps in maps of any size)"
        );
    }
    Ok(if version < (5, 18) {
        "edgeward_linear"
    } else {
        "edgeward_xdp"
    })
}

fn kernel_release() -> anyhow::Result<String> {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map(|release| release.trim().to_owned())
        .context("cannot read the kernel's release from /proc/sys/kernel/osrelease")
}

/// Unpins a map of another shape: the loader would reuse it unseen. The program in force keeps its own
/// reference, so nothing stops being judged; the new map is filled before the new program takes over.
fn drop_if_changed(path: &Path, spec: &Spec) -> anyhow::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let found = MapInfo::from_pin(path)
        .with_context(|| format!("cannot read the pinned map {}", path.display()))?;
    let kind = found.map_type().map_or(0, |kind| kind as u32);
    let found = (
        kind,
        found.key_size(),
        found.value_size(),
        found.max_entries(),
        found.map_flags(),
    );
    let wanted = (
        spec.kind,
        spec.key_bytes,
        spec.value_bytes,
        spec.elements,
        spec.flags,
    );
    if found == wanted {
        return Ok(());
    }
    warn!(
        map = spec.name,
        ?found,
        ?wanted,
        "the pinned map has another shape (type, key, value, elements, flags); it is made anew"
    );
    std::fs::remove_file(path).with_context(|| format!("cannot unpin {}", path.display()))
}

/// What a map must look like.
struct Spec {
    name: &'static str,
    kind: u32,
    key_bytes: u32,
    value_bytes: u32,
    elements: u32,
    flags: u32,
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    reason = "sizes of small structs; one table"
)]
fn specs(sizes: &Sizes) -> [Spec; 23] {
    let spec = |name, kind, key_bytes: usize, value_bytes: usize, elements, flags| Spec {
        name,
        kind,
        key_bytes: key_bytes as u32,
        value_bytes: value_bytes as u32,
        elements,
        flags,
    };
    let trie4 = size_of::<u32>() + 4;
    let trie6 = size_of::<u32>() + 16;
    [
        spec("CONTROL", ARRAY, 4, size_of::<Control>(), 1, MMAPABLE),
        spec("TABLE4", ARRAY, 4, 8, table4::WORDS, MMAPABLE),
        spec("FILTER6", ARRAY, 4, 8, filter6::WORDS, MMAPABLE),
        spec("HOSTS", ARRAY_OF_MAPS, 4, 4, hosts::COUNT, 0),
        spec(
            "STASH",
            HASH,
            size_of::<StashKey>(),
            size_of::<Listed>(),
            STASH,
            NO_PREALLOC,
        ),
        spec(
            "LIST4",
            LPM_TRIE,
            trie4,
            size_of::<Listed>(),
            sizes.prefixes,
            NO_PREALLOC,
        ),
        spec(
            "LIST6",
            LPM_TRIE,
            trie6,
            size_of::<Listed>(),
            sizes.prefixes,
            NO_PREALLOC,
        ),
        spec(
            "ZONES4",
            LPM_TRIE,
            trie4,
            size_of::<ZoneValue>(),
            sizes.zones,
            NO_PREALLOC,
        ),
        spec(
            "ZONES6",
            LPM_TRIE,
            trie6,
            size_of::<ZoneValue>(),
            sizes.zones,
            NO_PREALLOC,
        ),
        spec("PORTS", ARRAY, 4, 8, 1 << 16, 0),
        spec("LIMITS", ARRAY, 4, size_of::<Limits>(), profile::COUNT, 0),
        spec(
            "RATES",
            LRU_HASH,
            size_of::<RateKey>(),
            size_of::<RateState>(),
            sizes.rate_sources,
            0,
        ),
        spec(
            "COUNTERS",
            PERCPU_ARRAY,
            4,
            size_of::<Count>(),
            counter::COUNT,
            0,
        ),
        spec("CLASSES", ARRAY, 4, size_of::<Class>(), CLASSES, 0),
        spec("EVENTS", RINGBUF, 0, 0, sizes.ring_bytes, 0),
        spec("EVENT_GATE", PERCPU_ARRAY, 4, 8, EVENT_GATE_SLOTS, 0),
        spec(
            "EVENT_BUDGET",
            PERCPU_ARRAY,
            4,
            size_of::<EventBudget>(),
            1,
            0,
        ),
        spec("SCRATCH", PERCPU_ARRAY, 4, 88, 1, 0),
        spec("HEADS", RINGBUF, 0, 0, HEAD_RING_BYTES, 0),
        spec(
            "HEAD_BUDGET",
            PERCPU_ARRAY,
            4,
            size_of::<EventBudget>(),
            1,
            0,
        ),
        spec("LISTENERS", SOCKMAP, 4, 4, steer::SLOTS, 0),
        spec("HEARTBEAT", ARRAY, 4, 8, 1, MMAPABLE),
        spec("STEERING", PERCPU_ARRAY, 4, 8, steer::COUNTERS, 0),
    ]
}

/// The program as `cargo xtask build-ebpf` made it.
static PROGRAM: &[u8] = aya::include_bytes_aligned!(env!("EDGEWARD_XDP"));

const _: () = assert!(
    ABI_VERSION == 3,
    "a new version: what becomes of the old one's pins?"
);

// bpf.h: enum bpf_map_type and map flags.
const HASH: u32 = 1;
const ARRAY: u32 = 2;
const PERCPU_ARRAY: u32 = 6;
const LRU_HASH: u32 = 9;
const LPM_TRIE: u32 = 11;
const ARRAY_OF_MAPS: u32 = 12;
const SOCKMAP: u32 = 15;
const RINGBUF: u32 = 27;
const NO_PREALLOC: u32 = 1;
const MMAPABLE: u32 = 1 << 10;

#[cfg(test)]
mod tests {

    use super::{complaint, program_name};

    #[test]
    fn the_complaint_is_the_last_line_before_the_statistics() {
        let walk = "0: R1=ctx()\nR0 offset is outside of the packet\nverification time 3 usec\n\
                    stack depth 336\nprocessed 1682 insns (limit 1000000)\n";
        assert_eq!(complaint(walk), "R0 offset is outside of the packet");
        assert_eq!(complaint(""), "it says no more");
    }

    #[test]
    fn the_kernel_decides_which_program() {
        assert_eq!(program_name("6.18.44-fc-v657").unwrap(), "edgeward_xdp");
        assert_eq!(program_name("5.18.0+").unwrap(), "edgeward_xdp");
        assert_eq!(
            program_name("5.15.0-91-generic").unwrap(),
            "edgeward_linear"
        );
        assert_eq!(program_name("5.10.0-28-amd64").unwrap(), "edgeward_linear");
        for old in ["4.19.0-26-amd64", "5.4.0", "", "unknown"] {
            let message = program_name(old).unwrap_err().to_string();
            assert!(message.contains("too old"), "{message}");
        }
    }
}
