//! Every map of the program. The agent makes and pins them, sets their sizes from configuration, and
//! checks type, key, value, size and flags of what it finds pinned against these definitions.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    btf_maps,
    macros::{btf_map, map},
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf, SockMap},
};
use edgeward_ebpf::{
    abi::{
        CLASSES as CLASS_COUNT, Class, Control, Count, EVENT_GATE_SLOTS, EventBudget,
        HEAD_RING_BYTES, Limits, RateKey, StashKey, ZoneValue, counter, hosts, profile, steer,
    },
    lookup::{ELEMENT_BYTES, filter6, table4},
};

use super::{scratch::FrameCell, word::Word};

/// [`edgeward_ebpf::abi::Listed`] as the program touches it.
#[repr(C)]
pub(crate) struct ListedCell {
    pub(crate) meta: Word,
    pub(crate) hits: Word,
}

/// [`edgeward_ebpf::abi::RateState`] as the program touches it.
#[repr(C)]
pub(crate) struct RateCell {
    pub(crate) window: Word,
    pub(crate) connections: Word,
    pub(crate) packets: Word,
}

/// An element of an array of buckets as words. An array, not a struct: Linux 5.15 to 6.1 take an inner map only
/// where their search of the value's BTF for a timer ends alike (`bpf_map_meta_equal`, `timer_off`). A struct
/// without one gives ENOENT, anything else EINVAL, and so does no BTF – as in the arrays that the agent makes.
pub(crate) type BucketCell = [Word; ELEMENT_BYTES / 8];

/// Policy and constants; one element, mapped by the agent.
#[map]
pub(crate) static CONTROL: Array<Control> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Two bits for each IPv4 /24, one for each /16.
#[map]
pub(crate) static TABLE4: Array<Word> = Array::with_max_entries(table4::WORDS, BPF_F_MMAPABLE);

/// Bits of hashed IPv6 prefixes.
#[map]
pub(crate) static FILTER6: Array<Word> = Array::with_max_entries(filter6::WORDS, BPF_F_MMAPABLE);

/// The exact entries of one family: an array of buckets that a larger one can replace.
pub(crate) type Buckets = btf_maps::Array<BucketCell, 2, { hosts::FLAGS as usize }>;

/// The generations in force and to come, by [`hosts`].
#[btf_map]
pub(crate) static HOSTS: btf_maps::ArrayOfMaps<Buckets, { hosts::COUNT as usize }> =
    btf_maps::ArrayOfMaps::new();

/// Exact entries whose bucket is full.
#[map]
pub(crate) static STASH: HashMap<StashKey, ListedCell> =
    HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// IPv4 entries of every other length.
#[map]
pub(crate) static LIST4: LpmTrie<[u8; 4], ListedCell> =
    LpmTrie::with_max_entries(131_072, BPF_F_NO_PREALLOC);

/// IPv6 entries of every other length.
#[map]
pub(crate) static LIST6: LpmTrie<[u8; 16], ListedCell> =
    LpmTrie::with_max_entries(131_072, BPF_F_NO_PREALLOC);

/// IPv4 zones.
#[map]
pub(crate) static ZONES4: LpmTrie<[u8; 4], ZoneValue> =
    LpmTrie::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// IPv6 zones.
#[map]
pub(crate) static ZONES6: LpmTrie<[u8; 16], ZoneValue> =
    LpmTrie::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// Rules by destination port.
#[map]
pub(crate) static PORTS: Array<u64> = Array::with_max_entries(65_536, 0);

/// Rate limits by profile.
#[map]
pub(crate) static LIMITS: Array<Limits> = Array::with_max_entries(profile::COUNT, 0);

/// What each source did in its window. A flood of sources can push out counts, never entries.
#[map]
pub(crate) static RATES: LruHashMap<RateKey, RateCell> = LruHashMap::with_max_entries(65_536, 0);

/// Counters, see [`counter`].
#[map]
pub(crate) static COUNTERS: PerCpuArray<Count> = PerCpuArray::with_max_entries(counter::COUNT, 0);

/// What the class byte of an entry stands for.
#[map]
pub(crate) static CLASSES: Array<Class> = Array::with_max_entries(CLASS_COUNT, 0);

/// Events to the agent.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Which sources this CPU has reported lately.
#[map]
pub(crate) static EVENT_GATE: PerCpuArray<u64> = PerCpuArray::with_max_entries(EVENT_GATE_SLOTS, 0);

/// What this CPU may still report.
#[map]
pub(crate) static EVENT_BUDGET: PerCpuArray<EventBudget> = PerCpuArray::with_max_entries(1, 0);

/// The frame that this CPU is judging.
#[map]
pub(crate) static SCRATCH: PerCpuArray<FrameCell> = PerCpuArray::with_max_entries(1, 0);

/// Request heads to the agent.
#[map]
pub(crate) static HEADS: RingBuf = RingBuf::with_byte_size(HEAD_RING_BYTES, 0);

/// How many heads this CPU may still copy.
#[map]
pub(crate) static HEAD_BUDGET: PerCpuArray<EventBudget> = PerCpuArray::with_max_entries(1, 0);

/// The gateway's listening sockets, by [`steer`]. The kernel empties a slot when its socket is closed.
#[map]
pub(crate) static LISTENERS: SockMap = SockMap::with_max_entries(steer::SLOTS, 0);

/// When the gateway last gave a sign of life (`CLOCK_BOOTTIME` in ns); written through memory.
#[map]
pub(crate) static HEARTBEAT: Array<Word> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What became of connections to ports with a gateway, see [`steer`].
#[map]
pub(crate) static STEERING: PerCpuArray<u64> = PerCpuArray::with_max_entries(steer::COUNTERS, 0);

/// The control element.
#[inline(always)]
pub(crate) fn control() -> Option<&'static Control> {
    // SAFETY: elements of an array live as long as the program; fields are read one word at a time.
    CONTROL.get_ptr(0).map(|control| unsafe { &*control })
}
