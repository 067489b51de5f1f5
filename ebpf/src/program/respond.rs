//! Sends the TCP reset back where the refused segment came from.

use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_action::{XDP_DROP, XDP_TX},
    helpers::generated::bpf_xdp_adjust_tail,
    programs::XdpContext,
};
use edgeward_ebpf::{
    abi::counter,
    frame::{Address, Frame},
    reset::{RESET4_BYTES, RESET6_BYTES, Segment},
};

use super::{count::count, packet::Packet};

/// Turns the frame into a reset, or drops it where a reset is no answer.
#[inline(always)]
pub(crate) fn reset(ctx: &XdpContext, packet: &Packet, frame: &Frame) -> u32 {
    let Some(segment) = Segment::read(packet, frame) else {
        return XDP_DROP;
    };
    let sent = match (frame.source.address(), frame.destination.address()) {
        (Address::V4(source), Address::V4(destination)) => {
            answer::<RESET4_BYTES>(ctx, packet, frame, segment.answer4(source, destination))
        }
        (Address::V6(s0, s1), Address::V6(d0, d1)) => {
            answer::<RESET6_BYTES>(ctx, packet, frame, segment.answer6((s0, s1), (d0, d1)))
        }
        _ => None,
    };
    match sent {
        Some(()) => {
            count(counter::RESETS, 0);
            XDP_TX
        }
        None => XDP_DROP,
    }
}

#[inline(always)]
fn answer<const N: usize>(
    ctx: &XdpContext,
    packet: &Packet,
    frame: &Frame,
    bytes: [u8; N],
) -> Option<()> {
    let network = frame.network_offset as usize;
    let excess = packet.len() as i64 - (network + N) as i64;
    // SAFETY: the context is the program's own; afterwards all packet pointers are taken anew.
    if excess > 0 && unsafe { bpf_xdp_adjust_tail(ctx.as_ptr().cast(), -excess as i32) } != 0 {
        return None;
    }
    let packet = Packet::new(ctx);
    let ethernet = packet.at::<12>(0)?;
    let network = packet.at::<N>(network)?;
    // SAFETY: `at` has checked both ranges, and they do not overlap: the IP header begins at 14 or
    // later.
    unsafe {
        let addresses = ethernet.read_unaligned();
        let mut swapped = [0; 12];
        let mut index = 0;
        while index < 12 {
            swapped[index] = addresses[(index + 6) % 12];
            index += 1;
        }
        ethernet.write_unaligned(swapped);
        network.write_unaligned(bytes);
    }
    Some(())
}
