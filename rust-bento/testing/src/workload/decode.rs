// SPDX-License-Identifier: GPL-2.0

//! Operations from bytes that anybody chose: for fuzzing.

use super::op::*;
use kernel::user::RenameMode;

/// What is left of the bytes; zeroes behind their end.
struct Bytes<'b>(&'b [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    fn path(&mut self) -> Path {
        let byte = self.byte();
        let len = match byte >> 6 {
            0 | 1 => 1,
            2 => 2,
            _ => 3,
        };
        let names = NAMES.len() as u8;
        let first = byte & 0x3f;
        (0..len)
            .map(|at| if at == 0 { first } else { self.byte() } % names)
            .collect()
    }

    fn target(&mut self) -> Target {
        match self.0.first() {
            Some(byte) if byte & 0x3f >= 0x3c => Target::Open(self.byte() % SLOTS as u8),
            _ => Target::Path(self.path()),
        }
    }

    /// Below a mebibyte, and as often as not where a block begins.
    fn offset(&mut self) -> u32 {
        let word = u32::from(self.word());
        match word & 1 {
            0 => (word >> 8) * 4096,
            _ => (word >> 1) * 16 + (word >> 12),
        }
    }

    fn length(&mut self) -> u32 {
        self.offset() % 70_000
    }

    fn mode(&mut self) -> RenameMode {
        match self.byte() % 4 {
            0 => RenameMode::NoReplace,
            1 => RenameMode::Exchange,
            _ => RenameMode::Replace,
        }
    }

    fn fault(&mut self) -> Injected {
        let n = u16::from(self.byte()) % 64;
        match self.byte() % 4 {
            0 => Injected::Allocation(n),
            1 => Injected::Read(n),
            2 => Injected::Access(n),
            _ => Injected::Store(n),
        }
    }

    fn op(&mut self) -> Op {
        match self.byte() % 32 {
            0..=2 => Op::Create(self.path()),
            3 | 4 => Op::Mkdir(self.path()),
            5 => Op::Symlink(self.path(), 1 + self.word() % 4095),
            6 => Op::Mknod(self.path()),
            7 => Op::Tmpfile(self.byte()),
            8 => Op::Link(self.target(), self.path()),
            9 => Op::Unlink(self.path()),
            10 => Op::Rmdir(self.path()),
            11 | 12 => Op::Rename(self.path(), self.path(), self.mode()),
            13 => Op::Open(self.path(), self.byte()),
            14 => Op::Close(self.byte()),
            15..=17 => Op::Write(self.target(), self.offset(), self.length(), self.byte()),
            18 => Op::Append(self.target(), self.length(), self.byte()),
            19 => Op::Truncate(self.target(), self.offset()),
            20 => Op::Allocate(
                self.target(),
                self.offset(),
                self.length(),
                self.byte() & 1 == 0,
            ),
            21 => Op::Punch(self.target(), self.offset(), self.length()),
            22 => Op::Zero(
                self.target(),
                self.offset(),
                self.length(),
                self.byte() & 1 == 0,
            ),
            23 => Op::Read(self.target(), self.offset(), self.length()),
            24 => match self.byte() & 1 {
                0 => Op::SeekData(self.target(), self.offset()),
                _ => Op::SeekHole(self.target(), self.offset()),
            },
            25 => match self.byte() & 1 {
                0 => Op::Chmod(self.target(), self.word()),
                _ => Op::Chown(self.target(), self.word(), self.word()),
            },
            26 => Op::Fsync(self.target()),
            27 => Op::Fdatasync(self.target()),
            28 => match self.byte() & 1 {
                0 => Op::Sync,
                _ => Op::Commit,
            },
            29 => Op::Inject(self.fault()),
            30 => Op::Crash(self.word().into()),
            _ => Op::Remount,
        }
    }
}

impl Op {
    /// As many operations as the bytes give, and no more than `most`.
    pub fn decode(bytes: &[u8], most: usize) -> Vec<Self> {
        let mut bytes = Bytes(bytes);
        let mut ops = Vec::new();
        while ops.len() < most && !bytes.0.is_empty() {
            ops.push(bytes.op());
        }
        ops
    }
}
