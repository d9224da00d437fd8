// SPDX-License-Identifier: GPL-2.0

//! Changes bytes of xv6's super block, and mounts what must be refused. The offsets are the caller's; only
//! the block's place and that of its checksum are known here.

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::sys;

const BLOCK: usize = 4096;
const CHECKSUM: usize = 8;

/// CRC32C, without a final inversion.
pub fn crc32c(seed: u32, data: &[u8]) -> u32 {
    data.iter().fold(seed, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & 0_u32.wrapping_sub(crc & 1))
        })
    })
}

fn checksum(block: &[u8]) -> u32 {
    let mut copy = block.to_vec();
    copy[CHECKSUM..CHECKSUM + 4].fill(0);
    crc32c(!0, &copy)
}

/// Writes the bytes of `hex` at `offset` of the super block.
pub fn edit(image: &Path, offset: usize, hex: &str, keep_checksum: bool) -> Result<()> {
    let file = File::options().read(true).write(true).open(image)?;
    let mut block = vec![0; BLOCK];
    file.read_exact_at(&mut block, BLOCK as u64)?;
    let stored = u32::from_le_bytes(block[CHECKSUM..CHECKSUM + 4].try_into()?);
    ensure!(
        stored == checksum(&block),
        "the checksum is not as this program knows it"
    );
    for (n, pair) in hex.as_bytes().chunks(2).enumerate() {
        let byte = u8::from_str_radix(std::str::from_utf8(pair)?, 16)?;
        *block
            .get_mut(offset + n)
            .context("behind the super block")? = byte;
    }
    if !keep_checksum {
        let sum = checksum(&block);
        block[CHECKSUM..CHECKSUM + 4].copy_from_slice(&sum.to_le_bytes());
    }
    file.write_all_at(&block, BLOCK as u64)?;
    Ok(())
}

/// Mounts an image, which must fail with `errno`.
pub fn expect_errno(
    kind: &str,
    image: &Path,
    dir: &Path,
    errno: &str,
    read_only: bool,
) -> Result<()> {
    let device = crate::fs::Loop::new(image)?;
    let flags = if read_only { libc::MS_RDONLY } else { 0 };
    let wanted = match errno {
        "EINVAL" => libc::EINVAL,
        "EUCLEAN" => libc::EUCLEAN,
        "EROFS" => libc::EROFS,
        other => bail!("no errno {other} is known"),
    };
    match sys::mount(&device.path, dir, kind, flags, "") {
        Ok(()) => {
            sys::umount(dir, 0)?;
            bail!("it was mounted");
        }
        Err(e) => ensure!(sys::errno(&e) == wanted, "{e}, not {errno}"),
    }
    Ok(())
}
