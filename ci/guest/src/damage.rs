// SPDX-License-Identifier: GPL-2.0

//! Breaks one metadata block of xv6, so that it is met later, while the volume is mounted.

use anyhow::Context;
use anyhow::Result;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const BLOCK: usize = 4096;

/// A sort of blocks, by its magic number.
pub const EXTENTS: &[u8; 4] = b"x6ex";

/// Changes a byte of the first block of a sort: not in the journal, whose copies say another place.
pub fn break_block(volume: &Path, magic: &[u8; 4]) -> Result<u64> {
    let file = File::options().read(true).write(true).open(volume)?;
    let mut data = [0; BLOCK];
    for block in 0.. {
        file.read_exact_at(&mut data, block * BLOCK as u64)
            .with_context(|| format!("no block starts with {magic:?}"))?;
        if &data[..4] == magic && data[8..16] == block.to_le_bytes() {
            file.write_all_at(&[!data[2000]], block * BLOCK as u64 + 2000)?;
            file.sync_all()?;
            return Ok(block);
        }
    }
    unreachable!("a volume has an end")
}

/// A file of so many pieces that its extents need a block of their own.
pub fn fragmented(path: &Path) -> Result<()> {
    let file = File::create(path)?;
    for piece in 0..100 {
        file.write_all_at(b"piece", piece * 8192)?;
    }
    file.sync_all()?;
    Ok(())
}
