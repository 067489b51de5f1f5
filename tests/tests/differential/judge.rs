//! What the program must do with a frame and count for it: the shared parser and verdict over a plain
//! search, and the few lines of the program that only exist in the kernel, said again.

use anyhow::{Result, anyhow};
use edgeward_ebpf::abi::{PolicyWord, counter, mode};
use edgeward_ebpf::frame::{Address, Cause, Frame, Parsed, parse};
use edgeward_ebpf::reset::Segment;
use edgeward_ebpf::verdict::{Entry, Outcome, Port, Source, Verdict, judge};
use lab::xdp::Action;

use crate::independent::{address, agrees};
use crate::world::{BLOCK, Known, LIMIT, SERVICES, World};

/// Packets by counter.
pub(crate) type Counters = [u64; counter::COUNT as usize];

/// What must come of one frame.
pub(crate) struct Expected {
    pub(crate) action: Action,
    /// The frame that is sent back.
    pub(crate) answer: Option<Vec<u8>>,
    pub(crate) outcome: Option<Outcome>,
}

/// The verdict's facts in userspace.
struct Facts {
    known: Known,
    port: u16,
}

impl Source for Facts {
    fn zones(&mut self) -> u32 {
        self.known.uses
    }
    fn listed(&mut self, _enough: u8) -> Option<Entry> {
        (self.known.score > 0).then_some(Entry {
            score: self.known.score,
            class: 0,
        })
    }
    fn port(&mut self) -> Port {
        let service = SERVICES.iter().find(|(port, _)| *port == self.port);
        Port {
            restricted: service.is_some_and(|(_, restricted)| *restricted),
            protected: service.is_some(),
        }
    }
    fn over_limit(&mut self, _profile: u32) -> bool {
        false
    }
}

/// The verdict on a source that wants a port.
pub(crate) fn outcome(world: &mut World, source: std::net::IpAddr, port: u16) -> Outcome {
    let mut facts = Facts {
        known: world.known(source),
        port,
    };
    judge(policy(world), &mut facts).outcome
}

fn policy(world: &World) -> PolicyWord {
    let style = world.style;
    let mode = if style.mode == "block" {
        mode::BLOCK
    } else {
        mode::LOG
    };
    PolicyWord::new(
        mode,
        BLOCK,
        LIMIT,
        style.reset,
        style.drop_unreadable,
        false,
        0,
    )
}

/// What must come of a frame; adds what must be counted.
pub(crate) fn expect(world: &mut World, bytes: &[u8], counters: &mut Counters) -> Result<Expected> {
    let parsed = parse(&bytes);
    agrees(bytes, &parsed).map_err(|difference| anyhow!("the parsers differ: {difference}"))?;
    let mut count = |index: u32| {
        if let Some(counter) = counters.get_mut(index as usize) {
            *counter += 1;
        }
    };
    let enforces = world.style.mode == "block";
    let unreadable = if enforces && world.style.drop_unreadable {
        Action::Drop
    } else {
        Action::Pass
    };
    let plain = |action| Expected {
        action,
        answer: None,
        outcome: None,
    };
    let frame = match parsed {
        Parsed::Ip(frame) => frame,
        Parsed::NotIp => {
            count(counter::NOT_IP);
            return Ok(plain(Action::Pass));
        }
        Parsed::Unreadable(cause) => {
            count(counter::CAUSE + cause as u32);
            return Ok(plain(unreadable));
        }
    };
    let outcome = outcome(
        world,
        address(frame.source.address()),
        frame.destination_port,
    );
    let verdict = outcome.verdict();
    let reported = matches!(verdict, Verdict::Deny | Verdict::Limit);
    let logged = if reported && !enforces {
        counter::LOGGED
    } else {
        0
    };
    count(outcome as u32 + logged);
    if let Some(cause) = frame.transport {
        count(counter::CAUSE + cause as u32);
    }
    if reported {
        // Sent, suppressed or lost: which of them is the budget's business.
        count(counter::EVENTS_SENT);
    }
    let answer = (verdict == Verdict::Deny && enforces && world.style.reset)
        .then(|| answer(bytes, &frame))
        .flatten();
    if answer.is_some() {
        count(counter::RESETS);
    }
    let action = match (verdict, frame.transport) {
        (Verdict::Deny, _) if !enforces => Action::Pass,
        (Verdict::Deny, _) if answer.is_some() => Action::Tx,
        (Verdict::Deny, _) => Action::Drop,
        (Verdict::Limit, Some(_)) => unreadable,
        (Verdict::Pass, Some(_)) if outcome == Outcome::Pass => unreadable,
        _ => Action::Pass,
    };
    Ok(Expected {
        action,
        answer,
        outcome: Some(outcome),
    })
}

/// The reset for a frame, hardware addresses swapped, everything up to the IP header kept.
fn answer(bytes: &[u8], frame: &Frame) -> Option<Vec<u8>> {
    let segment = Segment::read(&bytes, frame)?;
    let packet = match (frame.source.address(), frame.destination.address()) {
        (Address::V4(source), Address::V4(target)) => segment.answer4(source, target).to_vec(),
        (Address::V6(s0, s1), Address::V6(d0, d1)) => segment.answer6((s0, s1), (d0, d1)).to_vec(),
        _ => return None,
    };
    let link = [
        bytes.get(6..12)?,
        bytes.get(..6)?,
        bytes.get(12..usize::from(frame.network_offset))?,
    ];
    Some([&link.concat()[..], &packet].concat())
}

/// A counter's name for messages.
pub(crate) fn name(index: usize) -> String {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    let of = |base: u32| usize::try_from(index.saturating_sub(base)).unwrap_or(usize::MAX);
    let cause = Cause::ALL
        .get(of(counter::CAUSE))
        .filter(|_| index >= counter::CAUSE);
    let logged = Outcome::ALL
        .get(of(counter::LOGGED))
        .filter(|_| index >= counter::LOGGED);
    match (cause, logged, Outcome::ALL.get(of(0))) {
        (Some(cause), _, _) => format!("cause {}", cause.name()),
        (_, Some(outcome), _) => format!("logged {}", outcome.name()),
        (_, _, Some(outcome)) => outcome.name().to_owned(),
        _ => format!("counter {index}"),
    }
}
