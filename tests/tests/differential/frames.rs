//! Frames in the making: the catalogue from the policy's own sources, and what chance makes of them.

use std::net::IpAddr;

use edgeward_ebpf::frame::{Parsed, parse};
use lab::frames::{Kind, catalogue};

use crate::edge::ends;
use crate::random::Random;
use crate::world::World;

/// Ports that services have, and ports that none has.
const PORTS: [u16; 6] = [443, 8443, 22, 80, 0, 65_535];

/// The catalogue of one of the policy's sources.
pub(crate) fn kinds(world: &World, random: &mut Random) -> Vec<Kind> {
    let source = world.source(random);
    catalogue(ends(source, random.pick(&PORTS).unwrap_or_default()))
}

/// Changes a frame: one to four of the ways in which frames go wrong, or are made wrong.
pub(crate) fn mutate(random: &mut Random, frame: &mut Vec<u8>, other: &[u8], source: IpAddr) {
    for _ in 0..=random.below(4) {
        // Headers are at the front, so that is where most changes go.
        let reach = if random.once_in(4) {
            frame.len()
        } else {
            frame.len().min(96)
        };
        let at = random.below(reach.max(1));
        match random.below(11) {
            0 | 1 => set(frame, at, &[random.byte()]),
            2 => {
                let flipped = frame.get(at).copied().unwrap_or(0) ^ 1 << random.below(8);
                set(frame, at, &[flipped]);
            }
            3 => set(
                frame,
                at,
                &random.pick(&WORDS).unwrap_or_default().to_be_bytes(),
            ),
            4 => frame.truncate(at.max(FRAME_BYTES_MIN)),
            5 => frame.extend((0..64_u8).take(random.below(64))),
            6 => {
                let end = (at + random.pick(&[1, 4, 8]).unwrap_or(1)).min(frame.len());
                frame.drain(at.min(end)..end);
            }
            7 => {
                let extra = vec![random.byte(); random.pick(&[1, 4, 8]).unwrap_or(1)];
                let at = at.min(frame.len());
                frame.splice(at..at, extra);
            }
            8 => {
                let from = random.below(other.len().max(1));
                let part: Vec<u8> = other
                    .iter()
                    .copied()
                    .skip(from)
                    .take(random.below(48))
                    .collect();
                set(frame, at, &part);
            }
            9 => set_source(frame, source),
            // The next header of an IPv6 packet, or the protocol of an IPv4 one, behind any tags.
            _ => {
                let field = random.pick(&[20, 23, 24, 27, 28, 31, 54, 62]).unwrap_or(20);
                set(frame, field, &[random.pick(&PROTOCOLS).unwrap_or(6)]);
            }
        }
    }
    frame.resize(frame.len().clamp(FRAME_BYTES_MIN, FRAME_BYTES_MAX), 0);
}

fn set(frame: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in frame.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

/// Gives the frame a source of the policy, so that mutated frames are judged and not only read.
fn set_source(frame: &mut [u8], source: IpAddr) {
    let Parsed::Ip(found) = parse(&&frame[..]) else {
        return;
    };
    let at = usize::from(found.network_offset);
    match (found.source.address(), source) {
        (edgeward_ebpf::frame::Address::V4(_), IpAddr::V4(v4)) => set(frame, at + 12, &v4.octets()),
        (edgeward_ebpf::frame::Address::V6(..), IpAddr::V6(v6)) => set(frame, at + 8, &v6.octets()),
        _ => {}
    }
}

/// Types, lengths and ports at which something changes.
const WORDS: [u16; 16] = [
    0x0800, 0x86dd, 0x8100, 0x88a8, 0x9100, 0x0806, 0x4500, 0x6000, 0, 1, 0xffff, 0x2000, 0x1fff,
    443, 22, 0x0014,
];
/// Protocols, extension headers and a few that are nothing.
const PROTOCOLS: [u8; 16] = [
    0, 1, 6, 17, 43, 44, 50, 51, 58, 59, 60, 135, 139, 140, 253, 255,
];
/// The kernel takes no shorter frame in a test run; the unit tests go down to nothing.
pub(crate) const FRAME_BYTES_MIN: usize = 14;
/// One page with the kernel's head- and tailroom: longer frames are of several buffers.
const FRAME_BYTES_MAX: usize = 3_000;
