//! The kernel's programs: XDP, the shared parser and verdict over the packet and the maps, and the socket
//! look-up that hands connections to the gateway ([`program::steer`]).
//!
//! Nothing here decides. [`edgeward_ebpf::frame::parse`] reads, [`edgeward_ebpf::verdict::judge`]
//! judges, this file turns the outcome into an XDP action, a counter and at most one event.
#![no_std]
#![no_main]
// Inline assembly for this target is not stable yet; both supported compilers accept the feature.
#![feature(asm_experimental_arch)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::indexing_slicing,
    reason = "the verifier proves every access in this binary before it runs"
)]

mod program {
    pub(crate) mod count;
    pub(crate) mod events;
    pub(crate) mod maps;
    pub(crate) mod observe;
    pub(crate) mod packet;
    pub(crate) mod respond;
    pub(crate) mod scratch;
    pub(crate) mod source;
    pub(crate) mod steer;
    pub(crate) mod word;
}

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    macros::{sk_lookup, xdp},
    programs::{SkLookupContext, XdpContext},
};
use edgeward_ebpf::{
    abi::{Control, PolicyWord, counter, mode, present},
    frame::{self, Frame, Parsed},
    verdict::{self, Outcome, Verdict},
};
use program::{
    count::count,
    events, maps, observe,
    packet::Packet,
    respond,
    scratch::{self, FrameCell},
    source::{self, PacketSource},
    steer,
};

/// Judges one frame, multi-buffer packets included (Linux 5.18).
#[xdp(frags)]
fn edgeward_xdp(ctx: XdpContext) -> u32 {
    run::<true>(&ctx)
}

/// The same for kernels that refuse to load a program for multi-buffer packets.
#[xdp]
fn edgeward_linear(ctx: XdpContext) -> u32 {
    run::<false>(&ctx)
}

/// Hands connections to the gateway.
#[sk_lookup]
fn edgeward_steer(ctx: SkLookupContext) -> u32 {
    steer::steer(&ctx)
}

/// `FRAGS`: a packet may lie in several buffers, and there are helpers to read such a one.
#[inline(always)]
fn run<const FRAGS: bool>(ctx: &XdpContext) -> u32 {
    let packet = Packet::new(ctx);
    // Absent only if the kernel is out of its mind; passing is what a missing program would do.
    let Some(control) = maps::control() else {
        return XDP_PASS;
    };
    let policy = PolicyWord(control.word);
    if !matches!(policy.mode(), mode::LOG | mode::BLOCK) {
        count(counter::UNJUDGED, packet.len());
        return XDP_PASS;
    }
    match frame::parse(&packet) {
        Parsed::Ip(frame) => {
            let touched = source::touched(&frame, control, policy);
            // Nothing lists the source and no port has rules: the verdict could only be pass.
            if touched == 0 && policy.present() & present::PORTS == 0 {
                return clean(policy, &frame, packet.len());
            }
            match scratch::forget_paths(&frame, touched) {
                Some((frame, cell)) => {
                    judge::<FRAGS>(ctx, &Packet::new(ctx), control, policy, &frame, cell)
                }
                None => XDP_PASS,
            }
        }
        Parsed::NotIp => {
            count(counter::NOT_IP, packet.len());
            XDP_PASS
        }
        Parsed::Unreadable(cause) => {
            count(counter::CAUSE + cause as u32, packet.len());
            unreadable(policy)
        }
    }
}

/// The end of a frame whose source has nothing against it.
#[inline(always)]
fn clean(policy: PolicyWord, frame: &Frame, bytes: u64) -> u32 {
    count(Outcome::Pass as u32, bytes);
    match frame.transport {
        None => XDP_PASS,
        Some(cause) => {
            count(counter::CAUSE + cause as u32, bytes);
            unreadable(policy)
        }
    }
}

#[inline(always)]
fn judge<const FRAGS: bool>(
    ctx: &XdpContext,
    packet: &Packet,
    control: &Control,
    policy: PolicyWord,
    frame: &Frame,
    cell: &'static FrameCell,
) -> u32 {
    let mut source = PacketSource::new(packet, frame, control, policy, cell);
    let judgement = verdict::judge(policy, &mut source);
    let outcome = judgement.outcome;
    let enforced = policy.mode() == mode::BLOCK;
    let index = outcome as u32 + if enforced { 0 } else { counter::LOGGED };
    if let Some(cause) = frame.transport {
        count(counter::CAUSE + cause as u32, packet.len());
    }
    match outcome.verdict() {
        Verdict::Pass | Verdict::Defer => {
            count(outcome as u32, packet.len());
            if outcome as u32 == Outcome::Defer as u32 {
                observe::copy::<FRAGS>(ctx);
            }
            // An exempt source or a proxy is never dropped, whatever it sends.
            if outcome as u32 == 0 && frame.transport.is_some() {
                unreadable(policy)
            } else {
                XDP_PASS
            }
        }
        Verdict::Limit => {
            count(index, packet.len());
            events::send(ctx, packet, control, frame, judgement, &mut source);
            if frame.transport.is_some() {
                unreadable(policy)
            } else {
                XDP_PASS
            }
        }
        Verdict::Deny => {
            count(index, packet.len());
            events::send(ctx, packet, control, frame, judgement, &mut source);
            match enforced {
                false => XDP_PASS,
                true if policy.reset() => respond::reset(ctx, packet, frame),
                true => XDP_DROP,
            }
        }
    }
}

#[inline(always)]
fn unreadable(policy: PolicyWord) -> u32 {
    if policy.drop_unreadable() && policy.mode() == mode::BLOCK {
        XDP_DROP
    } else {
        XDP_PASS
    }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
