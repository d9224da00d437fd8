// SPDX-License-Identifier: GPL-2.0

//! Breaks metadata of xv6, so that it is met later, while the volume is mounted.

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::super_edit::crc32c;

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

/// Makes the record of an inode say that it has so many blocks, with a checksum that is right.
pub fn count_blocks(volume: &Path, ino: u64, blocks: u64) -> Result<()> {
    const RECORD: usize = 256;
    const INO: usize = 8;
    const BLOCKS: usize = 40;
    let file = File::options().read(true).write(true).open(volume)?;
    let mut data = [0; BLOCK];
    file.read_exact_at(&mut data, BLOCK as u64)?;
    // The UUID and the key of the hash
    let seed = crc32c(crc32c(!0, &data[32..48]), &data[80..96]);
    let sum = |record: &[u8]| crc32c(crc32c(seed, &[0; 4]), &record[4..]).to_le_bytes();
    for block in 2..16 {
        file.read_exact_at(&mut data, block * BLOCK as u64)?;
        for record in data.chunks_exact_mut(RECORD) {
            if record[INO..INO + 8] != ino.to_le_bytes() || record[..4] != sum(record) {
                continue;
            }
            record[BLOCKS..BLOCKS + 8].copy_from_slice(&blocks.to_le_bytes());
            let sum = sum(record);
            record[..4].copy_from_slice(&sum);
            file.write_all_at(&data, block * BLOCK as u64)?;
            file.sync_all()?;
            return Ok(());
        }
    }
    bail!("no record of inode {ino}")
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
