//! The facts about a packet's source, looked up in the maps as the verdict asks for them.

use aya_ebpf::{helpers::generated::bpf_ktime_get_boot_ns, maps::lpm_trie::Key};
use edgeward_ebpf::{
    abi::{
        Control, FOREVER, InForce, PolicyWord, RateKey, SCORE_BLOCKED_ZONE, StashKey, TICK_SHIFT,
        ZoneValue, counter, port, present, zone,
    },
    frame::{self, Address, Frame},
    lookup::{
        EXACT6, Kind4, Meta, SLOTS4, SLOTS6, bucket6, filter6, hash6, length_of, mask6, place4,
        table4,
    },
    verdict::{Entry, Port, Source},
};

use super::{
    count::count,
    maps::{self, BucketCell, ListedCell, RateCell},
    packet::Packet,
    scratch::{self, FrameCell},
    word::{Tally, Word},
};

/// One packet's source.
pub(crate) struct PacketSource<'a> {
    packet: &'a Packet,
    frame: &'a Frame,
    control: &'a Control,
    present: u16,
    /// See [`touched`].
    touched: u64,
    cell: &'static FrameCell,
}

impl<'a> PacketSource<'a> {
    #[inline(always)]
    pub(crate) fn new(
        packet: &'a Packet,
        frame: &'a Frame,
        control: &'a Control,
        policy: PolicyWord,
        cell: &'static FrameCell,
    ) -> Self {
        let present = policy.present();
        let touched = cell.touched.load();
        Self {
            packet,
            frame,
            control,
            present,
            touched,
            cell,
        }
    }

    /// `CLOCK_BOOTTIME` in ns, read once: a clean packet never pays for it.
    #[inline(always)]
    pub(crate) fn now(&mut self) -> u64 {
        let known = self.cell.now_ns.load();
        if known != 0 {
            return known;
        }
        // SAFETY: the helper takes no arguments and only returns a number.
        let now = unsafe { bpf_ktime_get_boot_ns() };
        self.cell.now_ns.store(now);
        now
    }

    /// Whether `expires` is still to come.
    #[inline(always)]
    fn live(&mut self, expires: u32) -> bool {
        expires == FOREVER || (self.now() >> TICK_SHIFT) < expires as u64
    }

    /// Counts a hit of an entry that is alive and keeps it if it is stronger; says whether it is enough
    /// to stop. No pointer is kept: the verifier would follow each of them to the end by itself.
    #[inline(always)]
    fn offer(&mut self, word: u64, hit: impl FnOnce(), enough: u8) -> bool {
        let meta = Meta::of(word);
        if !self.live(meta.expires()) {
            return false;
        }
        hit();
        if Meta::of(self.cell.best.load()).score() < meta.score() {
            self.cell.best.store(meta.0);
        }
        meta.score() >= enough
    }

    /// Which score ends the search at a network of an exact length.
    #[inline(always)]
    fn enough_for_network(&self, enough: u8) -> u8 {
        if self.present & present::HIDDEN == 0 {
            enough
        } else {
            SCORE_BLOCKED_ZONE
        }
    }

    #[inline(always)]
    fn listed4(&mut self, address: u32, enough: u8) {
        if self.touched & table4::HOSTS != 0 && self.exact4(address, Kind4::Host, enough) {
            return;
        }
        if self.touched & table4::NETS == 0 {
            return;
        }
        if self.present & present::NET24 != 0
            && self.exact4(
                address & !0xff,
                Kind4::Net24,
                self.enough_for_network(enough),
            )
        {
            return;
        }
        if self.present & present::LIST4 == 0 {
            return;
        }
        let mut length = 32;
        let mut depth = 0;
        while depth < NESTED_MAX {
            let Some(cell) = maps::LIST4.get(Key::new(length, address.to_be_bytes())) else {
                return;
            };
            match self.trie_step(cell, enough) {
                Some(next) => length = next,
                None => return,
            }
            depth += 1;
        }
    }

    /// One step from the longest prefix towards the shorter ones that also cover the source: a longer
    /// one that has expired or is too weak must not hide them.
    #[inline(always)]
    fn trie_step(&mut self, cell: &'static ListedCell, enough: u8) -> Option<u32> {
        let word = cell.meta.load();
        if self.offer(word, || cell.hits.add_one(), enough) {
            return None;
        }
        (length_of(word) as u32).checked_sub(1)
    }

    #[inline(always)]
    fn exact4(&mut self, address: u32, kind: Kind4, enough: u8) -> bool {
        let generation = in_force(&self.control.exact4);
        let Some(buckets) = maps::HOSTS.get(generation.slot()) else {
            return false;
        };
        let place = place4(address, kind, self.control.seed, generation.shift());
        let Some(pair) = buckets.get(place.bucket >> 1) else {
            return false;
        };
        let bucket = Line4::of(pair, place.bucket);
        let (mut found, mut at, mut full) = (0, 0, u64::MAX);
        let mut index = 0;
        while index < SLOTS4 {
            let slot = bucket.slots[index].load();
            let own = mask_if_below_one((slot >> 46) ^ place.tag as u64);
            found |= slot & own;
            at |= index as u64 & own;
            full &= slot;
            index += 1;
        }
        if matches!(kind, Kind4::Host) {
            self.cell.in_flood.store(found);
        }
        if found != 0 {
            return self.offer(found, || bucket.hit(at), enough);
        }
        // Every slot that is taken has its top bit set.
        if full >> 63 == 0 {
            return false;
        }
        let length = if matches!(kind, Kind4::Host) { 32 } else { 24 };
        self.stash(
            StashKey {
                hi: 0,
                lo: address as u64,
                length,
                family: 4,
            },
            enough,
        )
    }

    #[inline(always)]
    fn stash(&mut self, key: StashKey, enough: u8) -> bool {
        // SAFETY: the kernel frees an element after a grace period, and no program outlives one; the
        // cell is read through atomics.
        let Some(cell) = maps::STASH.get_ptr(key).map(|cell| unsafe { &*cell }) else {
            return false;
        };
        self.offer(cell.meta.load(), || cell.hits.add_one(), enough)
    }

    #[inline(always)]
    fn listed6(&mut self, hi: u64, lo: u64, enough: u8) {
        let mut index = 0;
        while index < EXACT6.len() {
            let (length, bit) = EXACT6[index];
            let enough = if length == 128 {
                enough
            } else {
                self.enough_for_network(enough)
            };
            if self.present & bit != 0 && self.exact6(hi, lo, length, enough) {
                return;
            }
            index += 1;
        }
        if self.touched & table4::NETS == 0 || self.present & present::LIST6 == 0 {
            return;
        }
        let address = bytes6(hi, lo);
        let mut length = 128;
        let mut depth = 0;
        while depth < NESTED_MAX {
            let Some(cell) = maps::LIST6.get(Key::new(length, address)) else {
                return;
            };
            match self.trie_step(cell, enough) {
                Some(next) => length = next,
                None => return,
            }
            depth += 1;
        }
    }

    #[inline(always)]
    fn exact6(&mut self, hi: u64, lo: u64, length: u8, enough: u8) -> bool {
        let (hi, lo) = mask6(hi, lo, length);
        let hash = hash6(hi, lo, length, self.control.seed);
        if !filter_bit(hash) {
            return false;
        }
        let generation = in_force(&self.control.exact6);
        let Some(buckets) = maps::HOSTS.get(generation.slot()) else {
            return false;
        };
        let Some(bucket) = buckets.get(bucket6(hash, generation.shift())) else {
            return false;
        };
        let (mut found, mut at) = (0, 0);
        let mut index = 0;
        while index < SLOTS6 {
            // The meta word first: it is written after the key and cleared before it. No length is 0, so an
            // empty slot is never the one.
            let word = bucket[META6 + index].load();
            let key = key_at(bucket, index);
            let own = mask_if_zero(key.0 ^ hi | key.1 ^ lo | word >> 56 ^ length as u64);
            found |= word & own;
            at |= index as u64 & own;
            index += 1;
        }
        if found != 0 {
            let Some(hits) = bucket.get(HITS6 + bounded(at, SLOTS6)) else {
                return false;
            };
            return self.offer(found, || hits.add_one(), enough);
        }
        if has_room6(bucket) {
            return false;
        }
        self.stash(
            StashKey {
                hi,
                lo,
                length: length as u32,
                family: 6,
            },
            enough,
        )
    }

    #[inline(always)]
    fn rate_key(&self) -> RateKey {
        match self.frame.source.address() {
            Address::V4(host) => RateKey {
                network: 0,
                host,
                family: 4,
            },
            Address::V6(network, _) => RateKey {
                network,
                host: 0,
                family: 6,
            },
        }
    }
}

impl Source for PacketSource<'_> {
    #[inline(always)]
    fn zones(&mut self) -> u32 {
        if self.touched & table4::NETS == 0 {
            return 0;
        }
        let value: Option<&ZoneValue> = match self.frame.source.address() {
            Address::V4(address) if self.present & present::ZONES4 != 0 => {
                maps::ZONES4.get(Key::new(32, address.to_be_bytes()))
            }
            Address::V6(hi, lo) if self.present & present::ZONES6 != 0 => {
                maps::ZONES6.get(Key::new(128, bytes6(hi, lo)))
            }
            _ => None,
        };
        match value {
            None => 0,
            Some(value) if value.uses & zone::EXEMPT != 0 && !self.live(value.exempt_until) => {
                value.uses & !zone::EXEMPT
            }
            Some(value) => value.uses,
        }
    }

    #[inline(always)]
    fn listed(&mut self, enough: u8) -> Option<Entry> {
        match self.frame.source.address() {
            Address::V4(address) => {
                if self.touched != 0 {
                    self.listed4(address, enough);
                }
            }
            Address::V6(hi, lo) => {
                if self.present & present::ANY6 != 0 {
                    self.listed6(hi, lo, enough);
                }
            }
        }
        let best = Meta::of(self.cell.best.load());
        (best.score() != 0).then(|| Entry {
            score: best.score(),
            class: best.class(),
        })
    }

    #[inline(always)]
    fn port(&mut self) -> Port {
        if self.present & present::PORTS == 0 {
            return Port::default();
        }
        let rules = maps::PORTS
            .get(self.frame.destination_port as u32)
            .copied()
            .unwrap_or(0);
        Port {
            restricted: rules & port::RESTRICTED != 0,
            protected: rules & port::PROTECTED != 0,
        }
    }

    #[inline(always)]
    fn over_limit(&mut self, profile: u32) -> bool {
        if self.present & present::RATE == 0 {
            return false;
        }
        let Some(limits) = maps::LIMITS.get(profile) else {
            return false;
        };
        if limits.connections == 0 && limits.packets == 0 {
            return false;
        }
        // A checked division: anything else would leave a panic in the program.
        let Some(window) = self.now().checked_div(self.control.rate_window_ns) else {
            return false;
        };
        let opens = frame::opens_connection(self.packet, self.frame);
        let key = self.rate_key();
        // SAFETY: as for the stash: no element is freed while the program runs.
        let Some(state) = maps::RATES.get_ptr(key).map(|state| unsafe { &*state }) else {
            let state = RateCell {
                window: Word::new(window),
                connections: Word::new(u64::from(opens)),
                packets: Word::new(1),
            };
            if maps::RATES.insert(key, state, 0).is_err() {
                count(counter::RATE_LOST, 0);
            }
            return false;
        };
        // Plain loads and stores: a source that arrives on two CPUs at once may lose a count.
        if state.window.load() != window {
            state.window.store(window);
            state.connections.store(0);
            state.packets.store(0);
        }
        let packets = state.packets.load().saturating_add(1);
        let connections = state.connections.load().saturating_add(u64::from(opens));
        state.packets.store(packets);
        state.connections.store(connections);
        // Open connections go on when only new ones are too many.
        limits.packets != 0 && packets > limits.packets as u64
            || opens && limits.connections != 0 && connections > limits.connections as u64
    }
}

/// Which structures may hold something about the source, 0 for none. IPv4: the [`table4`] bits. IPv6:
/// [`table4::HOSTS`] where there are exact entries, [`table4::NETS`] where the tries must be asked.
#[inline(always)]
pub(crate) fn touched(frame: &Frame, control: &Control, policy: PolicyWord) -> u64 {
    let present = policy.present();
    match frame.source.address() {
        Address::V4(address) if present & present::TABLE4 != 0 => {
            // The table spares a clean source its bucket, but costs a listed one half of that again. A wrong
            // guess finds no host in the bucket, as the table would have said.
            let bits = if scratch::expects_host() && !networks_near(address) {
                table4::HOSTS
            } else {
                table_bits(address)
            };
            one_value(bits)
        }
        Address::V6(hi, _) if present & present::ANY6 != 0 => {
            let exact = if present & present::EXACT6 == 0 {
                0
            } else {
                table4::HOSTS
            };
            let tries = present & (present::LIST6 | present::ZONES6) != 0
                && (present & present::WIDE6 != 0 || trie_bit(hi, control.seed));
            exact | if tries { table4::NETS } else { 0 }
        }
        _ => 0,
    }
}

/// `slot`, which is below `slots` (a power of two), in a way that every verifier sees: the compiler would
/// drop a mask that it knows to be needless, and Linux 6.1 does not follow the arithmetic that it knows
/// it from.
#[inline(always)]
fn bounded(slot: u64, slots: usize) -> usize {
    let mut slot = slot;
    // SAFETY: one AND of two registers.
    unsafe {
        core::arch::asm!(
            "{slot} &= {mask}",
            slot = inout(reg) slot,
            mask = in(reg) slots as u64 - 1,
            options(pure, nomem, nostack),
        );
    }
    slot as usize
}

/// The word itself, of which the compiler knows nothing: it would follow each of the ways to it to the end by
/// itself, and on some of them carry registers along that nobody has set, which no verifier takes.
#[inline(always)]
fn one_value(word: u64) -> u64 {
    let mut word = word;
    // SAFETY: one OR of a register with nothing.
    unsafe {
        core::arch::asm!("{word} |= 0", word = inout(reg) word, options(pure, nomem, nostack));
    }
    word
}

/// All ones for zero, zero for everything else, without a branch: in which slot an entry is cannot be
/// predicted, and a wrong guess would make every packet wait for its own bucket's cache line before the
/// next one's can be fetched.
#[inline(always)]
fn mask_if_zero(word: u64) -> u64 {
    let mut sign = word | word.wrapping_neg();
    // SAFETY: an arithmetic shift of one register. Written out, because the compiler would see a
    // comparison in it and make a branch of that.
    unsafe {
        core::arch::asm!("{sign} s>>= 63", sign = inout(reg) sign, options(pure, nomem, nostack));
    }
    !sign
}

/// All ones for zero, zero for any other number below 2^63, likewise.
#[inline(always)]
fn mask_if_below_one(number: u64) -> u64 {
    let mut sign = number.wrapping_sub(1);
    // SAFETY: as above.
    unsafe {
        core::arch::asm!("{sign} s>>= 63", sign = inout(reg) sign, options(pure, nomem, nostack));
    }
    sign
}

/// One of the two IPv4 buckets in an element: [`edgeward_ebpf::lookup::Bucket4`] as the program touches it.
#[repr(C)]
struct Line4 {
    hits: [Tally; SLOTS4 + 1],
    slots: [Word; SLOTS4],
}

impl Line4 {
    #[inline(always)]
    fn of(pair: &BucketCell, bucket: u32) -> &Self {
        let first: *const Self = core::ptr::from_ref(pair).cast();
        // SAFETY: an element holds two of them, and the number is 0 or 1.
        unsafe { &*first.add(bounded(bucket as u64, 2)) }
    }

    /// Counts a hit of slot `at`.
    #[inline(always)]
    fn hit(&self, at: u64) {
        // Eight is the next power of two; no slot has a number past the counters.
        let first: *const Tally = self.hits.as_ptr();
        // SAFETY: within the line whatever the number.
        unsafe { (*first.add(bounded(at, 8))).add_one() };
    }
}

const _: () = assert!(size_of::<Line4>() * 2 == size_of::<BucketCell>());

/// Whether an IPv6 bucket has an empty slot: what is not in it is then nowhere.
#[inline(always)]
fn has_room6(bucket: &BucketCell) -> bool {
    let mut index = 0;
    while index < SLOTS6 {
        if bucket[META6 + index].load() == 0 {
            return true;
        }
        index += 1;
    }
    false
}

/// The generation in force: place and shift belong together, so it is one load.
#[inline(always)]
fn in_force(word: &u64) -> InForce {
    // SAFETY: a reference is valid and aligned; volatile, since the agent writes it.
    InForce(unsafe { core::ptr::from_ref(word).read_volatile() })
}

#[inline(always)]
fn table_bits(address: u32) -> u64 {
    let (word, bit) = table4::position(address);
    maps::TABLE4
        .get(word)
        .map_or(0, |word| word.load() >> bit & 3)
}

/// Whether a listed prefix or a zone touches the /16 of `address`.
#[inline(always)]
fn networks_near(address: u32) -> bool {
    let (word, bit) = table4::area(address);
    maps::TABLE4
        .get(word)
        .is_none_or(|word| word.load() >> bit & 1 != 0)
}

#[inline(always)]
fn trie_bit(hi: u64, seed: u64) -> bool {
    let (hi, lo) = mask6(hi, 0, filter6::TRIE_LENGTH);
    filter_bit(hash6(hi, lo, filter6::TRIE_LENGTH, seed))
}

#[inline(always)]
fn filter_bit(hash: u64) -> bool {
    let (word, bit) = filter6::position(hash);
    maps::FILTER6
        .get(word)
        .is_some_and(|word| word.load() >> bit & 1 != 0)
}

#[inline(always)]
fn key_at(bucket: &BucketCell, index: usize) -> (u64, u64) {
    (bucket[index * 2].load(), bucket[index * 2 + 1].load())
}

#[inline(always)]
fn bytes6(hi: u64, lo: u64) -> [u8; 16] {
    ((hi as u128) << 64 | lo as u128).to_be_bytes()
}

/// Entries of one trie that may cover a source and still hide a stronger one behind them.
const NESTED_MAX: u32 = 8;
/// First word of the metas and of the hits in an IPv6 bucket.
const META6: usize = SLOTS6 * 2;
const HITS6: usize = SLOTS6 * 3;
