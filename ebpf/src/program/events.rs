//! Events to the agent, bounded whatever arrives: each source is reported once in a while, each CPU
//! has a budget, and everything held back or lost is counted.

use aya_ebpf::programs::XdpContext;
use edgeward_ebpf::{
    abi::{
        Control, EVENT_ENFORCED, EVENT_GATE_SLOTS, EVENT_REPEAT_SHIFT, Event, PolicyWord, counter,
        mode,
    },
    frame::{Address, Frame},
    lookup::hash6,
    verdict::Judgement,
};

use super::{count::count, maps, packet::Packet, source::PacketSource};

/// Reports a judgement, or counts that it was held back.
#[inline(always)]
pub(crate) fn send(
    ctx: &XdpContext,
    packet: &Packet,
    control: &Control,
    frame: &Frame,
    judgement: Judgement,
    source: &mut PacketSource<'_>,
) {
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(
        ctx,
        "outcome {} score {}",
        judgement.outcome as u8,
        judgement.score
    );
    let Some(budget) = maps::EVENT_BUDGET.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this CPU's own element; XDP does not preempt itself on one CPU.
    let budget = unsafe { &mut *budget };
    if budget.epoch != control.epoch {
        budget.epoch = control.epoch;
        budget.sent = 0;
    }
    if budget.sent >= control.events_an_epoch || reported(frame, judgement, control) {
        budget.suppressed += 1;
        count(counter::EVENTS_SUPPRESSED, 0);
        return;
    }
    budget.sent += 1;
    let Some(mut record) = maps::EVENTS.reserve::<Event>(0) else {
        budget.suppressed += 1;
        count(counter::EVENTS_LOST, 0);
        return;
    };
    let is_enforced = PolicyWord(control.word).mode() == mode::BLOCK;
    let enforced = if is_enforced { EVENT_ENFORCED } else { 0 };
    record.write(Event {
        time_ns: source.now(),
        source: octets(frame.source.address()),
        destination: octets(frame.destination.address()),
        suppressed: budget.suppressed,
        length: packet.len() as u32,
        source_port: frame.source_port,
        destination_port: frame.destination_port,
        interface: ctx.ingress_ifindex() as u32,
        protocol: frame.protocol,
        outcome: judgement.outcome as u8 | enforced,
        score: judgement.score,
        class: judgement.class,
    });
    record.submit(0);
    budget.suppressed = 0;
    count(counter::EVENTS_SENT, 0);
}

/// Whether this CPU has reported the same thing of this source lately. A direct-mapped cache: a flood
/// of sources can make it forget, and then the budget bounds what is sent.
#[inline(always)]
fn reported(frame: &Frame, judgement: Judgement, control: &Control) -> bool {
    let (hi, lo) = match frame.source.address() {
        Address::V4(address) => (4, address as u64),
        Address::V6(hi, lo) => (hi, lo),
    };
    let hash = hash6(hi, lo, judgement.outcome as u8, control.seed);
    let Some(slot) = maps::EVENT_GATE.get_ptr_mut(hash as u32 & (EVENT_GATE_SLOTS - 1)) else {
        return true;
    };
    // The mode is part of the mark: what was only logged is reported again once it is enforced.
    let epoch = (control.epoch >> EVENT_REPEAT_SHIFT << 2) | (control.word & 3);
    let mark = hash & MARK | epoch & !MARK;
    // SAFETY: this CPU's own element; XDP does not preempt itself on one CPU.
    unsafe {
        if *slot == mark {
            return true;
        }
        *slot = mark;
    }
    false
}

#[inline(always)]
pub(crate) fn octets(address: Address) -> [u8; 16] {
    let value = match address {
        Address::V4(address) => 0xffff_0000_0000 | address as u128,
        Address::V6(hi, lo) => (hi as u128) << 64 | lo as u128,
    };
    value.to_be_bytes()
}

/// Bits of a mark that come from the hash; the rest is the epoch.
const MARK: u64 = !0xff_ffff;
