//! The layouts that cross the boundary between kernel and agent, each defined once.
//!
//! All of them are pinned and outlive both sides, so a change of any size, meaning or map name is a
//! change of [`ABI_VERSION`]; the agent keeps each version in a directory of its own.

/// Version of everything in this file and of the maps that hold it.
pub const ABI_VERSION: u32 = 3;

/// Emits a `repr(C)` struct that cannot hold padding, and tells aya that it is plain data.
macro_rules! layout {
    ($(#[$doc:meta])* pub struct $name:ident { $($(#[$field_doc:meta])* pub $field:ident: $ty:ty,)+ }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$field_doc])* pub $field: $ty,)+ }

        const _: () = assert!(
            size_of::<$name>() == 0 $(+ size_of::<$ty>())+,
            concat!(stringify!($name), " has padding: its bytes would leak or differ between builds"),
        );

        // SAFETY: repr(C), made of integers only, and without padding (asserted above).
        #[cfg(not(target_arch = "bpf"))]
        unsafe impl aya::Pod for $name {}
    };
}

/// Expiry unit: one tick is 2^27 ns (134 ms) of `CLOCK_BOOTTIME`; 31 bits of it are nine years.
pub const TICK_SHIFT: u32 = 27;
/// The expiry of what never expires.
pub const FOREVER: u32 = (1 << 31) - 1;
/// Score of an entry that comes from a blocked zone: above any threshold.
pub const SCORE_BLOCKED_ZONE: u8 = 127;
/// Highest score a reputation can have.
pub const SCORE_MAX: u8 = 100;

/// Mode off, log or block as the kernel reads it.
pub mod mode {
    /// Nothing is evaluated.
    pub const OFF: u8 = 0;
    /// Evaluated and counted, passed.
    pub const LOG: u8 = 1;
    /// Enforced.
    pub const BLOCK: u8 = 2;
}

/// What is listed at all: the program skips every structure whose bit is clear.
pub mod present {
    /// [`crate::lookup::table4`] has bits set.
    pub const TABLE4: u16 = 1;
    /// Exact IPv4 entries of length 24.
    pub const NET24: u16 = 1 << 1;
    /// IPv4 entries in the trie.
    pub const LIST4: u16 = 1 << 2;
    /// IPv4 zones.
    pub const ZONES4: u16 = 1 << 3;
    /// Exact IPv6 entries of length 128.
    pub const HOST128: u16 = 1 << 4;
    /// Exact IPv6 entries of length 64.
    pub const NET64: u16 = 1 << 5;
    /// Exact IPv6 entries of length 56.
    pub const NET56: u16 = 1 << 6;
    /// Exact IPv6 entries of length 48.
    pub const NET48: u16 = 1 << 7;
    /// IPv6 entries in the trie.
    pub const LIST6: u16 = 1 << 8;
    /// IPv6 zones.
    pub const ZONES6: u16 = 1 << 9;
    /// An IPv6 trie holds prefixes too short for the filter: it is asked for every packet.
    pub const WIDE6: u16 = 1 << 10;
    /// Some port has rules.
    pub const PORTS: u16 = 1 << 11;
    /// A rate limit is set.
    pub const RATE: u16 = 1 << 12;
    /// A blocked zone has a prefix inside a listed network of an exact length: the search goes on past
    /// that network, since the verdict asks for blocked zones first.
    pub const HIDDEN: u16 = 1 << 13;
    /// Any exact IPv6 entry.
    pub const EXACT6: u16 = HOST128 | NET64 | NET56 | NET48;
    /// Anything that a v6 source can match.
    pub const ANY6: u16 = EXACT6 | LIST6 | ZONES6;
}

/// The policy word: everything that must change together, in one aligned store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyWord(pub u64);

impl PolicyWord {
    /// Packs the fields. Thresholds are scores 1..=101, where 101 means never.
    #[must_use]
    pub const fn new(
        mode: u8,
        block: u8,
        limit: u8,
        reset: bool,
        drop_unreadable: bool,
        attack: bool,
        present: u16,
    ) -> Self {
        Self(
            mode as u64
                | (block as u64) << 8
                | (limit as u64) << 16
                | (reset as u64) << 24
                | (drop_unreadable as u64) << 32
                | (attack as u64) << 40
                | (present as u64) << 48,
        )
    }
    /// One of [`mode`]; unknown values read as off.
    #[must_use]
    pub const fn mode(self) -> u8 {
        (self.0 & 0xff) as u8
    }
    /// Score from which a source is refused.
    #[must_use]
    pub const fn block(self) -> u8 {
        (self.0 >> 8 & 0xff) as u8
    }
    /// Score from which a source is limited.
    #[must_use]
    pub const fn limit(self) -> u8 {
        (self.0 >> 16 & 0xff) as u8
    }
    /// Whether refused TCP is answered by a reset.
    #[must_use]
    pub const fn reset(self) -> bool {
        self.0 >> 24 & 1 != 0
    }
    /// Whether unreadable packets are dropped in block mode.
    #[must_use]
    pub const fn drop_unreadable(self) -> bool {
        self.0 >> 32 & 1 != 0
    }
    /// Whether the tighter limits of an attack are in force.
    #[must_use]
    pub const fn attack(self) -> bool {
        self.0 >> 40 & 1 != 0
    }
    /// Bits of [`present`].
    #[must_use]
    pub const fn present(self) -> u16 {
        (self.0 >> 48) as u16
    }
    /// The same word with other [`present`] bits.
    #[must_use]
    pub const fn with_present(self, present: u16) -> Self {
        Self(self.0 & !(0xffff << 48) | (present as u64) << 48)
    }
}

layout! {
    /// The single element of the control map, mapped into the agent's memory.
    pub struct Control {
        /// A [`PolicyWord`].
        pub word: u64,
        /// Seed of every hash, drawn once when the maps are made.
        pub seed: u64,
        /// Events each CPU may send while [`Self::epoch`] stays the same.
        pub events_an_epoch: u64,
        /// Length of a rate-limit window in ns.
        pub rate_window_ns: u64,
        /// [`ABI_VERSION`] of whoever made the maps.
        pub abi_version: u64,
        /// Counted up by the agent about once a second. Events are for the agent, so its clock paces
        /// them and a refused packet need not read one; without an agent the budget just runs out.
        pub epoch: u64,
        /// [`InForce`] of the exact IPv4 entries.
        pub exact4: u64,
        /// [`InForce`] of the exact IPv6 entries.
        pub exact6: u64,
    }
}

/// Bit of an event's outcome: acted on, not only logged.
pub const EVENT_ENFORCED: u8 = 0x80;
/// A source is reported again after 2^3 epochs.
pub const EVENT_REPEAT_SHIFT: u32 = 3;
/// Slots of the per-CPU cache that remembers which sources were reported.
pub const EVENT_GATE_SLOTS: u32 = 4096;

layout! {
    /// Budget of one CPU's events.
    pub struct EventBudget {
        /// [`Control::epoch`] that it is for.
        pub epoch: u64,
        /// Events sent in it.
        pub sent: u64,
        /// Events held back since the last one sent: it carries the number.
        pub suppressed: u64,
    }
}

layout! {
    /// One event, as the ring buffer carries it (64 bytes).
    pub struct Event {
        /// `CLOCK_BOOTTIME`, ns.
        pub time_ns: u64,
        /// Source address, IPv4 as `::ffff:a.b.c.d`, network order.
        pub source: [u8; 16],
        /// Destination address, likewise.
        pub destination: [u8; 16],
        /// Events held back on this CPU since the last one sent.
        pub suppressed: u64,
        /// Frame length in bytes.
        pub length: u32,
        /// Source port, host order, 0 where there is none.
        pub source_port: u16,
        /// Destination port, likewise.
        pub destination_port: u16,
        /// Receiving interface.
        pub interface: u32,
        /// IP protocol of the transport header.
        pub protocol: u8,
        /// A [`crate::verdict::Outcome`], with [`EVENT_ENFORCED`] where it was acted on.
        pub outcome: u8,
        /// Score of the entry that decided, 0 where none did.
        pub score: u8,
        /// Class of that entry ([`Class`]).
        pub class: u8,
    }
}

/// Bytes of a request head that are copied at most.
pub const HEAD_BYTES_MAX: usize = 2048;
/// Bytes of the ring buffer of heads, a power of two and a multiple of the page size: about 500 heads.
pub const HEAD_RING_BYTES: u32 = 1 << 20;

layout! {
    /// The beginning of a segment from a trusted proxy in which a request begins, to a port with
    /// [`port::OBSERVE`].
    pub struct ObservedHead {
        /// `CLOCK_BOOTTIME`, ns.
        pub time_ns: u64,
        /// Source address, IPv4 as `::ffff:a.b.c.d`, network order.
        pub source: [u8; 16],
        /// Destination address, likewise.
        pub destination: [u8; 16],
        /// Source port, host order.
        pub source_port: u16,
        /// Destination port, likewise.
        pub destination_port: u16,
        /// Bytes of [`Self::bytes`] that are the segment's.
        pub length: u32,
        /// Bytes of the segment, however many were copied.
        pub segment: u32,
        /// Reserved, zero.
        pub reserved: u32,
        /// The beginning; what follows [`Self::length`] is of other records.
        pub bytes: [[[u8; 32]; 32]; HEAD_BYTES_MAX / 1024],
    }
}

layout! {
    /// Packets and bytes.
    pub struct Count {
        /// Frames.
        pub packets: u64,
        /// Bytes of those frames, Ethernet header included.
        pub bytes: u64,
    }
}

/// Elements of the counter map: outcomes when enforced, outcomes when only logged, unreadable causes,
/// then the program's own.
pub mod counter {
    /// Added to an outcome that was computed but not enforced (mode log).
    pub const LOGGED: u32 = 16;
    /// Added to a [`crate::frame::Cause`].
    pub const CAUSE: u32 = 32;
    /// Frames seen in mode off.
    pub const UNJUDGED: u32 = 48;
    /// Frames that carry no IP.
    pub const NOT_IP: u32 = 49;
    /// Events handed to the ring buffer.
    pub const EVENTS_SENT: u32 = 50;
    /// Events held back: source already reported, or budget used up.
    pub const EVENTS_SUPPRESSED: u32 = 51;
    /// Events that found the ring buffer full.
    pub const EVENTS_LOST: u32 = 52;
    /// Refusals answered by a TCP reset.
    pub const RESETS: u32 = 53;
    /// Rate states that could not be made.
    pub const RATE_LOST: u32 = 54;
    /// Request heads handed to their ring buffer.
    pub const HEADS_COPIED: u32 = 55;
    /// Request heads that the budget held back.
    pub const HEADS_SUPPRESSED: u32 = 56;
    /// Request heads that found the ring buffer full.
    pub const HEADS_LOST: u32 = 57;
    /// Length of the map.
    pub const COUNT: u32 = 64;
}

/// Which array of exact entries is in force and how it is read, in one word: one store switches both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InForce(pub u64);

impl InForce {
    /// The array in `slot` of the outer map, where `shift` bits pick a bucket.
    #[must_use]
    pub const fn new(slot: u32, shift: u32) -> Self {
        Self(slot as u64 | (shift as u64) << 32)
    }
    /// Index in the outer map.
    #[inline(always)]
    #[must_use]
    pub const fn slot(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }
    /// Bits that pick a bucket; 0 where no array was ever in force.
    #[inline(always)]
    #[must_use]
    pub const fn shift(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Indices of the outer map that holds the exact entries: two a family, the one in force and the one to come.
pub mod hosts {
    /// IPv4, buckets of [`crate::lookup::Bucket4`].
    pub const V4: [u32; 2] = [0, 1];
    /// IPv6, buckets of [`crate::lookup::Bucket6`].
    pub const V6: [u32; 2] = [2, 3];
    /// Length of the map.
    pub const COUNT: u32 = 4;
    /// Flags of the inner arrays: `BPF_F_MMAPABLE | BPF_F_INNER_MAP` (bpf.h).
    pub const FLAGS: u32 = 1 << 10 | 1 << 12;
}

layout! {
    /// Value of an entry in a trie or in the stash.
    pub struct Listed {
        /// A [`crate::lookup::Meta`] with the prefix length in its top byte.
        pub meta: u64,
        /// Frames that matched.
        pub hits: u64,
    }
}

layout! {
    /// Key of the stash, where exact entries go whose bucket is full.
    pub struct StashKey {
        /// Upper half of the address, host order; 0 for IPv4.
        pub hi: u64,
        /// Lower half, host order; the address itself for IPv4.
        pub lo: u64,
        /// Prefix length; IPv4 lengths count from 0 to 32.
        pub length: u32,
        /// 4 or 6.
        pub family: u32,
    }
}

/// Uses of a zone as bits.
pub mod zone {
    /// Neither logged nor refused.
    pub const EXEMPT: u32 = 1;
    /// Its forwarding header is believed; never dropped.
    pub const TRUSTED_PROXY: u32 = 1 << 1;
    /// Judged itself; its forwarding header is ignored.
    pub const GATEWAY: u32 = 1 << 2;
    /// Refused (kept with the entries, not in the zone tries).
    pub const BLOCKED: u32 = 1 << 3;
    /// May reach a restricted service.
    pub const ALLOWED_ORIGIN: u32 = 1 << 4;
}

layout! {
    /// Value of a zone prefix: the union of what every zone covering it says.
    pub struct ZoneValue {
        /// Bits of [`zone`].
        pub uses: u32,
        /// Tick until which the exemption holds; [`FOREVER`] from configuration.
        pub exempt_until: u32,
        /// Index of the deciding zone for exempt, trusted proxy, gateway, allowed origin.
        pub zones: [u16; 4],
    }
}

/// Rules of a port, as flags of a `u64`.
pub mod port {
    /// Only trusted proxies and allowed origins.
    pub const RESTRICTED: u64 = 1;
    /// Belongs to a service: rate limits apply.
    pub const PROTECTED: u64 = 1 << 1;
    /// TCP connections of trusted proxies go to the gateway ([`super::steer`]).
    pub const STEER: u64 = 1 << 2;
    /// With [`STEER`]: TCP connections of everybody who is not exempt go to the gateway.
    pub const STEER_ALL: u64 = 1 << 3;
    /// With [`STEER`]: while the gateway does not serve, its connections are refused instead of reaching
    /// the application.
    pub const FAIL_CLOSED: u64 = 1 << 4;
    /// Heads of plain HTTP from trusted proxies are copied to the agent.
    pub const OBSERVE: u64 = 1 << 5;
    /// The service's index is in the upper half.
    pub const SERVICE_SHIFT: u32 = 32;
}

/// How connections are handed to the gateway.
pub mod steer {
    use core::net::{Ipv4Addr, Ipv6Addr};

    /// The gateway's own connections to applications come from here and are never handed to it again:
    /// without that every request would go round for ever.
    pub const UPSTREAM_SOURCE_V4: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
    /// Likewise; on the loopback interface for as long as connections are steered.
    pub const UPSTREAM_SOURCE_V6: Ipv6Addr =
        Ipv6Addr::new(0xfd65, 0x6467, 0x6577, 0x6172, 0, 0, 0, 2);
    /// Slot of the listener for IPv4. Replacing a listener is one store, so a slot is enough for a
    /// hand-over.
    pub const SLOT_V4: u32 = 0;
    /// Slot of the listener for IPv6.
    pub const SLOT_V6: u32 = 1;
    /// Length of the map of listeners.
    pub const SLOTS: u32 = 2;
    /// A gateway that has not given a sign of life for so long is treated as gone.
    pub const HEARTBEAT_AGE_MAX_NS: u64 = 2_000_000_000;

    /// Counter: handed to the gateway.
    pub const STEERED: u32 = 0;
    /// Counter: left to the application, since no gateway listens.
    pub const BYPASSED_EMPTY: u32 = 1;
    /// Counter: left to the application, since the gateway gives no sign of life.
    pub const BYPASSED_STALLED: u32 = 2;
    /// Counter: refused, since no gateway listens.
    pub const REFUSED_EMPTY: u32 = 3;
    /// Counter: refused, since the gateway gives no sign of life.
    pub const REFUSED_STALLED: u32 = 4;
    /// Counter: the gateway's own connection to the application.
    pub const PASSED_RESERVED: u32 = 5;
    /// Length of the counter map.
    pub const COUNTERS: u32 = 8;
}

layout! {
    /// Limits of one source in one window; 0 is no limit.
    pub struct Limits {
        /// New connections: TCP SYN, QUIC initial.
        pub connections: u32,
        /// Packets.
        pub packets: u32,
    }
}

/// Elements of the limits map.
pub mod profile {
    /// A source with nothing against it.
    pub const NORMAL: u32 = 0;
    /// A source whose score reaches the limit threshold.
    pub const LIMITED: u32 = 1;
    /// Added while an attack is on.
    pub const ATTACK: u32 = 2;
    /// Length of the map.
    pub const COUNT: u32 = 4;
}

layout! {
    /// Key of a rate state: an IPv4 host or an IPv6 /64.
    pub struct RateKey {
        /// Upper half of the IPv6 address, or 0.
        pub network: u64,
        /// The IPv4 address, or 0.
        pub host: u32,
        /// 4 or 6.
        pub family: u32,
    }
}

layout! {
    /// What one source did in its current window.
    pub struct RateState {
        /// Window number.
        pub window: u64,
        /// New connections in it.
        pub connections: u64,
        /// Packets in it.
        pub packets: u64,
    }
}

/// Bytes of a class name.
pub const CLASS_NAME_BYTES: usize = 60;
/// Number of classes.
pub const CLASSES: u32 = 256;

layout! {
    /// What an entry's class byte stands for; read by the agent and by `bpftool`, not by the program.
    pub struct Class {
        /// Origin code (the agent's `Origin`).
        pub origin: u32,
        /// List or reason name, UTF-8, zero-padded.
        pub name: [[u8; 4]; CLASS_NAME_BYTES / 4],
    }
}
