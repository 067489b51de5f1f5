//! The programs beside the agent's: floors that figures are compared with, and the generator of traffic.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use lab::Result;

use crate::asm::{Assembler, Compare, Op, Width};
use crate::sys::{self, MappedArray};

/// `XDP_DROP`.
pub(crate) const DROP: i32 = 1;
/// `XDP_PASS`.
pub(crate) const PASS: i32 = 2;

/// A program that returns `action` and does nothing else.
pub(crate) fn bare(action: i32) -> Result<OwnedFd> {
    let mut code = Assembler::default();
    code.imm(Op::Move, 0, action).exit();
    Ok(sys::load_xdp("bench_bare", &code.finish()?)?)
}

/// What a program does once it has read the headers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum After {
    /// Nothing.
    Nothing,
    /// Reads one of so many cache lines (a power of two), picked by a hash of the source.
    Touch(u32),
    /// The same, and adds one to a counter in it.
    Count(u32),
}

impl After {
    /// The lines. What they hold does not matter, only where they are.
    fn array(self) -> Result<Option<(MappedArray, u32)>> {
        match self {
            Self::Nothing => Ok(None),
            Self::Touch(lines) | Self::Count(lines) => {
                Ok(Some((MappedArray::new(lines, LINE_WORDS)?, lines)))
            }
        }
    }
}

/// A program that reads what every filter by source has to read, and returns `action`: Ethernet type, IPv4 with its
/// header length or IPv6, source and destination address, protocol, ports. No tags, no extension headers. What it does then is `after`.
pub(crate) fn parse(action: i32, after: After) -> Result<OwnedFd> {
    let lines = after.array()?;
    let mut code = Assembler::default();
    code.load(Width::Word, 7, 1, 0)
        .load(Width::Word, 8, 1, 4)
        .reg(Op::Move, 2, 7)
        .imm(Op::Add, 2, 14)
        .jump_reg(Compare::Greater, 2, 8, "out")
        .load(Width::Half, 3, 7, 12)
        .jump_imm(Compare::Equal, 3, 0x0008, "v4")
        .jump_imm(Compare::Equal, 3, 0xdd86, "v6")
        .jump("out");
    code.label("v4")
        .reg(Op::Move, 2, 7)
        .imm(Op::Add, 2, 34)
        .jump_reg(Compare::Greater, 2, 8, "out")
        .load(Width::Byte, 4, 7, 14)
        .imm(Op::And, 4, 15)
        .imm(Op::Left, 4, 2)
        .jump_imm(Compare::Less, 4, 20, "out")
        .load(Width::Word, 9, 7, 26)
        .reg(Op::Move, 5, 9)
        .store(Width::Word, 10, -8, 5)
        .load(Width::Word, 5, 7, 30)
        .store(Width::Word, 10, -16, 5)
        .load(Width::Byte, 5, 7, 23)
        .store(Width::Byte, 10, -24, 5)
        .reg(Op::Move, 2, 7)
        .imm(Op::Add, 2, 14)
        .reg(Op::Add, 2, 4)
        .reg(Op::Move, 3, 2)
        .imm(Op::Add, 3, 4)
        .jump_reg(Compare::Greater, 3, 8, "out")
        .load(Width::Word, 5, 2, 0)
        .store(Width::Word, 10, -32, 5)
        .jump("judge");
    code.label("v6")
        .reg(Op::Move, 2, 7)
        .imm(Op::Add, 2, 58)
        .jump_reg(Compare::Greater, 2, 8, "out");
    for (offset, place) in [(22, -8), (30, -16), (38, -24), (46, -32)] {
        code.load(Width::Double, 5, 7, offset)
            .store(Width::Double, 10, place, 5);
    }
    code.load(Width::Byte, 5, 7, 20)
        .store(Width::Byte, 10, -40, 5)
        .load(Width::Word, 5, 7, 54)
        .store(Width::Word, 10, -48, 5);
    code.load(Width::Double, 9, 7, 30).label("judge");
    if let Some(lines) = &lines {
        touch(&mut code, lines, after);
    }
    code.label("out").imm(Op::Move, 0, action).exit();
    Ok(sys::load_xdp("bench_parse", &code.finish()?)?)
}

/// Hashes the source in r9 and visits its line; what that holds decides whether the frame is dropped, as it would in a
/// filter.
fn touch(code: &mut Assembler, (array, lines): &(MappedArray, u32), after: After) {
    // The top bits of a product depend on all of the source.
    code.wide(1, HASH)
        .reg(Op::Multiply, 9, 1)
        .imm(Op::Right, 9, 64 - lines.ilog2().cast_signed())
        .store(Width::Word, 10, -4, 9);
    look_up_or(code, array.as_fd(), "out");
    code.load(Width::Double, 3, 0, 0)
        .jump_imm(Compare::NotEqual, 3, 0, "pass");
    if matches!(after, After::Count(_)) {
        code.load(Width::Double, 3, 0, 56)
            .imm(Op::Add, 3, 1)
            .store(Width::Double, 0, 56, 3);
    }
    code.jump("out").label("pass").imm(Op::Move, 0, PASS).exit();
}

/// Where the generator takes sources from and where it sends frames.
pub(crate) struct Route<'a> {
    /// [`CURSOR_WORDS`]: frames sent; first and last time read, in ns; frames sent at those times.
    pub(crate) cursor: BorrowedFd<'a>,
    /// Source addresses in network order; their number is a power of two.
    pub(crate) sources: BorrowedFd<'a>,
    /// That number less one.
    pub(crate) mask: i32,
    /// Interface of the generator's own namespace whose other end receives.
    pub(crate) interface: u32,
}

/// Takes the next source, writes it into the IPv4 header with its checksum, and redirects.
pub(crate) fn generator4(route: &Route<'_>, frame: &[u8]) -> Result<OwnedFd> {
    let mut code = Assembler::default();
    next_source(&mut code, route, frame)?;
    code.load(Width::Word, 3, 0, 0)
        .store(Width::Word, 7, 26, 3)
        .reg(Op::Move, 4, 3)
        .imm(Op::And, 4, 0xffff)
        .imm(Op::Right, 3, 16)
        .reg(Op::Add, 3, 4)
        .imm(Op::Add, 3, sum_without_source(frame));
    for _ in 0..2 {
        code.reg(Op::Move, 4, 3)
            .imm(Op::Right, 4, 16)
            .imm(Op::And, 3, 0xffff)
            .reg(Op::Add, 3, 4);
    }
    code.imm(Op::Xor, 3, 0xffff).store(Width::Half, 7, 24, 3);
    redirect(&mut code, route)
}

/// Takes the next source, writes it into the IPv6 header and redirects.
pub(crate) fn generator6(route: &Route<'_>, frame: &[u8]) -> Result<OwnedFd> {
    let mut code = Assembler::default();
    next_source(&mut code, route, frame)?;
    code.load(Width::Double, 3, 0, 0)
        .store(Width::Double, 7, 22, 3)
        .load(Width::Double, 3, 0, 8)
        .store(Width::Double, 7, 30, 3);
    redirect(&mut code, route)
}

/// Leaves the frame's start in r7 and the next source's place in r0.
fn next_source(code: &mut Assembler, route: &Route<'_>, frame: &[u8]) -> Result<()> {
    code.load(Width::Word, 7, 1, 0)
        .load(Width::Word, 8, 1, 4)
        .reg(Op::Move, 2, 7)
        .imm(Op::Add, 2, i32::try_from(frame.len())?)
        .jump_reg(Compare::Greater, 2, 8, "drop")
        .store_imm(Width::Word, 10, -4, 0);
    look_up(code, route.cursor);
    code.load(Width::Double, 6, 0, 0)
        .reg(Op::Move, 4, 6)
        .imm(Op::Add, 4, 1)
        .store(Width::Double, 0, 0, 4)
        .reg(Op::Move, 4, 6)
        .imm(Op::And, 4, i32::try_from(TIMED_EVERY - 1)?)
        .jump_imm(Compare::NotEqual, 4, 0, "untimed")
        .reg(Op::Move, 9, 0)
        .call(HELPER_TIME)
        .load(Width::Double, 1, 9, 8)
        .jump_imm(Compare::NotEqual, 1, 0, "begun")
        .store(Width::Double, 9, 8, 0)
        .store(Width::Double, 9, 24, 6)
        .label("begun")
        .store(Width::Double, 9, 16, 0)
        .store(Width::Double, 9, 32, 6)
        .label("untimed")
        .imm(Op::And, 6, route.mask)
        .store(Width::Word, 10, -4, 6);
    look_up(code, route.sources);
    Ok(())
}

/// Looks up the key at r10 - 4.
fn look_up(code: &mut Assembler, map: BorrowedFd<'_>) {
    look_up_or(code, map, "drop");
}

fn look_up_or(code: &mut Assembler, map: BorrowedFd<'_>, absent: &'static str) {
    code.map(1, map)
        .reg(Op::Move, 2, 10)
        .imm(Op::Add, 2, -4)
        .call(HELPER_LOOKUP)
        .jump_imm(Compare::Equal, 0, 0, absent);
}

fn redirect(code: &mut Assembler, route: &Route<'_>) -> Result<OwnedFd> {
    code.imm(Op::Move, 1, i32::try_from(route.interface)?)
        .imm(Op::Move, 2, 0)
        .call(HELPER_REDIRECT)
        .exit()
        .label("drop")
        .imm(Op::Move, 0, DROP)
        .exit();
    Ok(sys::load_xdp("bench_send", &code.finish()?)?)
}

/// The IPv4 header's words added up without checksum and source, as the machine reads them: the Internet checksum
/// does not mind the byte order as long as it is one.
fn sum_without_source(frame: &[u8]) -> i32 {
    let header = frame.get(14..34).unwrap_or_default();
    (0..)
        .zip(header.chunks_exact(2))
        .filter(|(word, _)| !matches!(word, 5..=7))
        .fold(0, |sum, (_, pair)| match pair {
            [a, b] => sum + i32::from(u16::from_ne_bytes([*a, *b])),
            _ => sum,
        })
}

/// Opens nothing: a loaded program as what it is borrowed as.
pub(crate) fn borrow(program: &OwnedFd) -> BorrowedFd<'_> {
    program.as_fd()
}

/// Words of the generator's cursor.
pub(crate) const CURSOR_WORDS: u32 = 5;
/// Frames between two looks at the clock: one batch of a live run.
const TIMED_EVERY: u32 = 64;
/// Words of a cache line.
const LINE_WORDS: u32 = 8;
/// 2^64 divided by the golden ratio.
const HASH: u64 = 0x9e37_79b9_7f4a_7c15;
const HELPER_LOOKUP: i32 = 1;
const HELPER_TIME: i32 = 5;
const HELPER_REDIRECT: i32 = 23;
