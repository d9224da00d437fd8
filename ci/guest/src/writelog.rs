// SPDX-License-Identifier: GPL-2.0

//! A device's writes as dm-log-writes and QEMU's blklogwrites driver record them
//! (Documentation/admin-guide/device-mapper/log-writes.rst).

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: u64 = 0x6a73_6677_7368_72;
pub const FLUSH: u64 = 1;
pub const FUA: u64 = 2;
pub const DISCARD: u64 = 4;

/// One request. Offsets and lengths are in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub offset: u64,
    pub len: u64,
    pub flags: u64,
    /// Where its data stands in the log.
    data: u64,
}

pub struct Log {
    file: File,
    pub entries: Vec<Entry>,
}

impl Log {
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("{}", path.display()))?;
        let mut head = [0; 512];
        file.read_exact_at(&mut head, 0)
            .context("the log's super block")?;
        let word = |bytes: &[u8], at: usize| -> u64 {
            u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
        };
        ensure!(word(&head, 0) == MAGIC, "this is no log of writes");
        ensure!(word(&head, 8) == 1, "a log of version {}", word(&head, 8));
        let count = word(&head, 16);
        let sector = u64::from(u32::from_le_bytes(head[24..28].try_into()?));
        ensure!(
            sector >= 512 && sector.is_power_of_two(),
            "sector size {sector}"
        );
        let mut entries = Vec::new();
        let mut at = sector;
        for _ in 0..count {
            let mut raw = [0; 32];
            file.read_exact_at(&mut raw, at)
                .context("an entry of the log")?;
            let (start, sectors, flags) = (word(&raw, 0), word(&raw, 8), word(&raw, 16));
            at += sector;
            let (offset, len) = (start * sector, sectors * sector);
            entries.push(Entry {
                offset,
                len,
                flags,
                data: at,
            });
            if flags & DISCARD == 0 {
                at += len;
            }
        }
        Ok(Self { file, entries })
    }

    /// What the request wrote; zeros for a discard, which is what the devices give that are recorded.
    pub fn data(&self, entry: &Entry) -> Result<Vec<u8>> {
        let mut data = vec![0; usize::try_from(entry.len)?];
        if entry.flags & DISCARD == 0 {
            self.file.read_exact_at(&mut data, entry.data)?;
        }
        Ok(data)
    }
}
