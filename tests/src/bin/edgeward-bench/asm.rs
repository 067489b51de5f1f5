//! BPF instructions by hand (RFC 9669), with labels: what is measured against stays readable down to the last one.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, BorrowedFd};

use anyhow::Context;
use lab::Result;

/// One instruction in the kernel's layout.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// Width of a load or store.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Width {
    Byte = 0x10,
    Half = 0x08,
    Word = 0x00,
    Double = 0x18,
}

/// An arithmetic operation of 64 bits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Add = 0x00,
    And = 0x50,
    Multiply = 0x20,
    Left = 0x60,
    Right = 0x70,
    Xor = 0xa0,
    Move = 0xb0,
}

/// A comparison; unsigned.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Compare {
    Equal = 0x10,
    Greater = 0x20,
    NotEqual = 0x50,
    Less = 0xa0,
}

/// A program in the making.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    code: Vec<Instruction>,
    labels: HashMap<&'static str, usize>,
    jumps: Vec<(usize, &'static str)>,
}

impl Assembler {
    fn push(&mut self, code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> &mut Self {
        self.code.push(Instruction {
            code,
            registers: from << 4 | to,
            offset,
            immediate,
        });
        self
    }

    /// `to = to op immediate`.
    pub(crate) fn imm(&mut self, op: Op, to: u8, immediate: i32) -> &mut Self {
        self.push(0x07 | op as u8, to, 0, 0, immediate)
    }

    /// `to = to op from`.
    pub(crate) fn reg(&mut self, op: Op, to: u8, from: u8) -> &mut Self {
        self.push(0x0f | op as u8, to, from, 0, 0)
    }

    /// `to = *(from + offset)`.
    pub(crate) fn load(&mut self, width: Width, to: u8, from: u8, offset: i16) -> &mut Self {
        self.push(0x61 | width as u8, to, from, offset, 0)
    }

    /// `*(to + offset) = from`.
    pub(crate) fn store(&mut self, width: Width, to: u8, offset: i16, from: u8) -> &mut Self {
        self.push(0x63 | width as u8, to, from, offset, 0)
    }

    /// `*(to + offset) = immediate`.
    pub(crate) fn store_imm(&mut self, width: Width, to: u8, offset: i16, value: i32) -> &mut Self {
        self.push(0x62 | width as u8, to, 0, offset, value)
    }

    /// `to = ` a number of 64 bits.
    pub(crate) fn wide(&mut self, to: u8, number: u64) -> &mut Self {
        let [a, b, c, d, high @ ..] = number.to_le_bytes();
        self.push(0x18, to, 0, 0, i32::from_le_bytes([a, b, c, d]))
            .push(0, 0, 0, 0, i32::from_le_bytes(high))
    }

    /// `to = ` a map.
    pub(crate) fn map(&mut self, to: u8, map: BorrowedFd<'_>) -> &mut Self {
        // A 64-bit immediate takes two instructions; source register 1 says that it is a descriptor.
        self.push(0x18, to, 1, 0, map.as_raw_fd())
            .push(0, 0, 0, 0, 0)
    }

    /// Goes to a label if the register compares so with a number.
    pub(crate) fn jump_imm(
        &mut self,
        how: Compare,
        a: u8,
        b: i32,
        label: &'static str,
    ) -> &mut Self {
        self.jumps.push((self.code.len(), label));
        self.push(0x05 | how as u8, a, 0, 0, b)
    }

    /// Goes to a label if the registers compare so.
    pub(crate) fn jump_reg(
        &mut self,
        how: Compare,
        a: u8,
        b: u8,
        label: &'static str,
    ) -> &mut Self {
        self.jumps.push((self.code.len(), label));
        self.push(0x0d | how as u8, a, b, 0, 0)
    }

    /// Goes to a label.
    pub(crate) fn jump(&mut self, label: &'static str) -> &mut Self {
        self.jumps.push((self.code.len(), label));
        self.push(0x05, 0, 0, 0, 0)
    }

    /// Calls a helper function by its number.
    pub(crate) fn call(&mut self, helper: i32) -> &mut Self {
        self.push(0x85, 0, 0, 0, helper)
    }

    /// Ends the program.
    pub(crate) fn exit(&mut self) -> &mut Self {
        self.push(0x95, 0, 0, 0, 0)
    }

    /// Names this place.
    pub(crate) fn label(&mut self, label: &'static str) -> &mut Self {
        self.labels.insert(label, self.code.len());
        self
    }

    /// The program, with every jump resolved.
    pub(crate) fn finish(&mut self) -> Result<Vec<Instruction>> {
        for (at, label) in self.jumps.drain(..) {
            let target = self
                .labels
                .get(label)
                .with_context(|| format!("no label {label}"))?;
            let distance = i64::try_from(*target)? - i64::try_from(at)? - 1;
            let jump = self
                .code
                .get_mut(at)
                .context("a jump outside of the program")?;
            jump.offset = i16::try_from(distance)?;
        }
        Ok(std::mem::take(&mut self.code))
    }
}
