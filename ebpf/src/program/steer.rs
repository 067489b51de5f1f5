//! Which socket takes a new connection: the gateway's for connections that it has to judge, the
//! application's own for all others.
//!
//! The kernel asks for every TCP connection to a listening socket of the network namespace, after XDP has
//! let its packets on. Passing without a choice is always "as if we were not here". Connections that are
//! open already never come by.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_SK_LOOKUP_F_REPLACE, bpf_sk_lookup, sk_action},
    helpers::generated::{
        bpf_ktime_get_boot_ns, bpf_map_lookup_elem, bpf_sk_assign, bpf_sk_release,
    },
    maps::lpm_trie::Key,
    programs::SkLookupContext,
};
use edgeward_ebpf::abi::{
    FOREVER, PolicyWord, TICK_SHIFT, ZoneValue, mode, port, present, steer, zone,
};

use super::maps;

/// Chooses the socket of one new connection.
#[inline(always)]
pub(crate) fn steer(ctx: &SkLookupContext) -> u32 {
    let Some(control) = maps::control() else {
        return PASS;
    };
    let policy = PolicyWord(control.word);
    if !matches!(policy.mode(), mode::LOG | mode::BLOCK) || policy.present() & present::PORTS == 0 {
        return PASS;
    }
    let Some(connection) = Connection::read(ctx) else {
        return PASS;
    };
    let rules = maps::PORTS.get(connection.local_port).copied().unwrap_or(0);
    if rules & port::STEER == 0 {
        return PASS;
    }
    // Before anything else could send it back to where it comes from.
    if connection.is_from_gateway() {
        count(steer::PASSED_RESERVED);
        return PASS;
    }
    if !connection.is_for_gateway(rules, policy) {
        return PASS;
    }
    match assign(ctx, connection.slot) {
        Outcome::Steered => {
            count(steer::STEERED);
            PASS
        }
        Outcome::Empty => without_gateway(rules, steer::BYPASSED_EMPTY, steer::REFUSED_EMPTY),
        Outcome::Stalled => without_gateway(rules, steer::BYPASSED_STALLED, steer::REFUSED_STALLED),
    }
}

/// What we have to know of a connection.
struct Connection {
    remote: Remote,
    local_port: u32,
    slot: u32,
}

/// The other end's address, canonical.
#[derive(Clone, Copy)]
enum Remote {
    V4([u8; 4]),
    V6([u8; 16]),
}

impl Connection {
    /// `None` for what is not TCP.
    #[inline(always)]
    fn read(ctx: &SkLookupContext) -> Option<Self> {
        let lookup: *const bpf_sk_lookup = ctx.lookup;
        // The verifier takes only loads of whole fields from this context: volatile keeps the compiler from
        // joining two of them.
        // SAFETY: the context is the program's own, and each field lies in it.
        unsafe {
            if (&raw const (*lookup).protocol).read_volatile() != TCP {
                return None;
            }
            let (remote, slot) = match (&raw const (*lookup).family).read_volatile() {
                AF_INET => {
                    let address = (&raw const (*lookup).remote_ip4).read_volatile();
                    (Remote::V4(address.to_ne_bytes()), steer::SLOT_V4)
                }
                AF_INET6 => {
                    let words = (&raw const (*lookup).remote_ip6).cast::<u32>();
                    let address = [
                        words.read_volatile(),
                        words.add(1).read_volatile(),
                        words.add(2).read_volatile(),
                        words.add(3).read_volatile(),
                    ];
                    (canonical(address), steer::SLOT_V6)
                }
                _ => return None,
            };
            Some(Self {
                remote,
                local_port: (&raw const (*lookup).local_port).read_volatile(),
                slot,
            })
        }
    }

    #[inline(always)]
    fn is_from_gateway(&self) -> bool {
        match self.remote {
            Remote::V4(octets) => octets == steer::UPSTREAM_SOURCE_V4.octets(),
            Remote::V6(octets) => octets == steer::UPSTREAM_SOURCE_V6.octets(),
        }
    }

    /// The same tries that XDP asks, so that a change of zones holds for both at once.
    #[inline(always)]
    fn is_for_gateway(&self, rules: u64, policy: PolicyWord) -> bool {
        let present = policy.present();
        let zones: Option<&ZoneValue> = match self.remote {
            Remote::V4(octets) if present & present::ZONES4 != 0 => {
                maps::ZONES4.get(Key::new(32, octets))
            }
            Remote::V6(octets) if present & present::ZONES6 != 0 => {
                maps::ZONES6.get(Key::new(128, octets))
            }
            _ => None,
        };
        let Some(zones) = zones else {
            return rules & port::STEER_ALL != 0;
        };
        if zones.uses & zone::TRUSTED_PROXY != 0 {
            return true;
        }
        rules & port::STEER_ALL != 0 && !is_exempt(zones)
    }
}

/// An IPv4-mapped address is the IPv4 address.
#[inline(always)]
fn canonical(words: [u32; 4]) -> Remote {
    let [a, b, c, d] = words;
    if a == 0 && b == 0 && c == 0xffff_u32.to_be() {
        return Remote::V4(d.to_ne_bytes());
    }
    let mut octets = [0; 16];
    let mut index = 0;
    while index < 4 {
        let word = words[index].to_ne_bytes();
        octets[index * 4] = word[0];
        octets[index * 4 + 1] = word[1];
        octets[index * 4 + 2] = word[2];
        octets[index * 4 + 3] = word[3];
        index += 1;
    }
    Remote::V6(octets)
}

#[inline(always)]
fn is_exempt(zones: &ZoneValue) -> bool {
    zones.uses & zone::EXEMPT != 0
        && (zones.exempt_until == FOREVER || now_ns() >> TICK_SHIFT < zones.exempt_until as u64)
}

/// What became of handing it over.
enum Outcome {
    Steered,
    /// Nobody listens, or what listens does not take it.
    Empty,
    /// The gateway gives no sign of life.
    Stalled,
}

#[inline(always)]
fn assign(ctx: &SkLookupContext, slot: u32) -> Outcome {
    let map = (&raw const maps::LISTENERS).cast_mut().cast::<c_void>();
    // SAFETY: a map of sockets and a key of its size; the result is null or a socket that we release below.
    let socket = unsafe { bpf_map_lookup_elem(map, (&raw const slot).cast()) };
    if socket.is_null() {
        return Outcome::Empty;
    }
    let outcome = if !is_alive() {
        Outcome::Stalled
    } else {
        // Another program of the namespace may have chosen the application already: the gateway stands
        // in front of it all the same.
        // SAFETY: the context is the program's own, the socket is not null.
        let refused =
            unsafe { bpf_sk_assign(ctx.as_ptr(), socket, BPF_SK_LOOKUP_F_REPLACE as u64) };
        if refused == 0 {
            Outcome::Steered
        } else {
            Outcome::Empty
        }
    };
    // SAFETY: the reference that the look-up took; the socket is not used any more.
    unsafe { bpf_sk_release(socket) };
    outcome
}

/// Whether the gateway's last sign of life is recent.
#[inline(always)]
fn is_alive() -> bool {
    let beat = maps::HEARTBEAT.get(0).map_or(0, |beat| beat.load());
    // A beat of another CPU may be a little ahead of our clock.
    now_ns().saturating_sub(beat) <= steer::HEARTBEAT_AGE_MAX_NS
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: the helper takes no arguments and only returns a number.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// The service says what its connections do without a gateway.
#[inline(always)]
fn without_gateway(rules: u64, bypassed: u32, refused: u32) -> u32 {
    if rules & port::FAIL_CLOSED == 0 {
        count(bypassed);
        PASS
    } else {
        count(refused);
        DROP
    }
}

#[inline(always)]
fn count(index: u32) {
    if let Some(counter) = maps::STEERING.get_ptr_mut(index) {
        // SAFETY: an element of this CPU's own array. Look-ups happen while packets are received, which
        // does not preempt itself; a look-up for a diagnosis tool beside it may lose a count.
        unsafe { *counter += 1 };
    }
}

const PASS: u32 = sk_action::SK_PASS;
/// The kernel then finds no socket and answers by a reset.
const DROP: u32 = sk_action::SK_DROP;
/// `IPPROTO_TCP`, linux/in.h.
const TCP: u32 = 6;
/// linux/socket.h.
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
