// SPDX-License-Identifier: GPL-2.0

//! Checks a volume: reads all of it, and repairs nothing.

use crate::tinyfs::layout::{
    Record,
    Slot,
    SuperBlock,
    BITS,
    BLOCK,
    MAGIC,
    MAX,
    NAME,
    POINTERS,
    ROOT,
    SLOT,
    SLOTS,
    UNWRITTEN, //
};
use kernel::{
    bento::{
        Attributes,
        Block,
        Ino,
        Kind,
        Name, //
    },
    error::Result,
    user::{
        device::{
            Device,
            Overlay, //
        },
        journal::replay, //
    },
};
use std::collections::{
    BTreeMap,
    BTreeSet, //
};
use zerocopy::FromBytes;

/// An inode as it stands on the volume.
struct Inode {
    attributes: Attributes,
    kind: Kind,
    record: Record,
    /// The pointers.
    blocks: Vec<u32>,
}

/// What is known so far.
struct Check<'a> {
    device: &'a dyn Device,
    super_block: SuperBlock,
    inodes: BTreeMap<Ino, Inode>,
    /// Blocks that belong to an inode.
    used: BTreeSet<Block>,
    report: Report,
}

/// What is found on a volume.
#[derive(Debug, Default)]
pub struct Report {
    /// What is wrong.
    pub problems: Vec<String>,
    /// Inodes that the next mount has to free, or to cut at their size.
    pub orphans: u64,
}

/// Checks a volume, as its journal has it. Nothing is written.
///
/// # Errors
///
/// Those of the device; `EUCLEAN` for a damaged journal.
pub fn fsck(device: &dyn Device) -> Result<Report> {
    let device = &Overlay::new(device);
    let first = read(device, 0)?;
    let Ok((super_block, _)) = SuperBlock::read_from_prefix(&first) else {
        unreachable!("a block is larger than the super block");
    };
    if super_block.magic != MAGIC || super_block.data().end > device.blocks() {
        return Ok(Report {
            problems: vec!["no tinyfs that fits the device".into()],
            orphans: 0,
        });
    }
    let journal = super_block.journal();
    replay(device, journal.start, journal.len)?;
    let mut check = Check {
        device,
        super_block,
        inodes: BTreeMap::new(),
        used: BTreeSet::new(),
        report: Report::default(),
    };
    check.read_inodes()?;
    check.names()?;
    check.bitmap()?;
    Ok(check.report)
}

fn read(device: &dyn Device, block: Block) -> Result<Vec<u8>> {
    let mut data = vec![0; BLOCK as usize];
    device.read(block, &mut data)?;
    Ok(data)
}

impl Check<'_> {
    fn problem(&mut self, text: String) {
        self.report.problems.push(text);
    }

    fn read_inodes(&mut self) -> Result {
        for ino in 1..=u64::from(self.super_block.inodes.get()) {
            let block = read(self.device, self.super_block.inode(ino))?;
            let Ok((record, _)) = Record::read_from_prefix(&block) else {
                unreachable!("a block is larger than a record");
            };
            let attributes = Attributes::from(&record.attributes);
            if attributes.mode == 0 {
                continue;
            }
            let Some(kind) = Kind::from_mode(attributes.mode) else {
                self.problem(format!("inode {ino}: mode {:o}", attributes.mode));
                continue;
            };
            let blocks = block[POINTERS..].chunks(4);
            let blocks =
                blocks.map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
            let inode = Inode {
                attributes,
                kind,
                record,
                blocks: blocks.collect(),
            };
            self.inode(ino, &inode);
            self.inodes.insert(ino, inode);
        }
        Ok(())
    }

    /// Checks what an inode says of itself.
    fn inode(&mut self, ino: Ino, inode: &Inode) {
        let mut count = 0;
        let data = self.super_block.data();
        for (at, &pointer) in inode.blocks.iter().enumerate().filter(|(_, p)| **p != 0) {
            count += 1;
            let block = u64::from(pointer & !UNWRITTEN);
            if !data.contains(&block) {
                self.problem(format!("inode {ino}: block {at} is {block}"));
            } else if !self.used.insert(block) {
                self.problem(format!("inode {ino}: block {block} is another's too"));
            }
            if pointer & UNWRITTEN != 0 && inode.kind != Kind::Regular {
                self.problem(format!("inode {ino}: block {at} is unwritten"));
            }
        }
        let attributes = &inode.attributes;
        if attributes.sectors != count * BLOCK / 512 {
            self.problem(format!(
                "inode {ino}: {} sectors and {count} blocks",
                attributes.sectors
            ));
        }
        let expected = match inode.kind {
            Kind::Directory => attributes.size / BLOCK,
            Kind::Symlink => 1,
            _ => return,
        };
        let first = inode.blocks.iter().take_while(|pointer| **pointer != 0);
        if attributes.size > MAX * BLOCK || expected != count || first.count() as u64 != count {
            self.problem(format!(
                "inode {ino}: {} bytes in {count} blocks",
                attributes.size
            ));
        }
    }

    /// Checks directories, and that names lead to each inode as often as it says.
    fn names(&mut self) -> Result {
        let mut links: BTreeMap<Ino, u32> = BTreeMap::new();
        let mut seen = BTreeSet::from([ROOT]);
        let mut todo = vec![ROOT];
        let is_directory =
            |inode: Option<&Inode>| inode.is_some_and(|inode| inode.kind == Kind::Directory);
        if !is_directory(self.inodes.get(&ROOT)) {
            self.problem("there is no root directory".into());
            return Ok(());
        }
        links.insert(ROOT, 1);
        while let Some(dir) = todo.pop() {
            for (name, child, kind) in self.entries(dir)? {
                let Some(inode) = self.inodes.get(&child) else {
                    self.problem(format!(
                        "directory {dir}: {name} is inode {child}, not in use"
                    ));
                    continue;
                };
                *links.entry(child).or_default() += 1;
                if inode.kind.dtype() != kind {
                    self.problem(format!("directory {dir}: {name} is of kind {kind}"));
                }
                let inode = &self.inodes[&child];
                if inode.kind != Kind::Directory {
                    seen.insert(child);
                    continue;
                }
                *links.entry(child).or_default() += 1;
                *links.entry(dir).or_default() += 1;
                if u64::from(inode.record.parent.get()) != dir {
                    self.problem(format!("inode {child}: its parent is not {dir}"));
                }
                if seen.insert(child) {
                    todo.push(child);
                } else {
                    self.problem(format!("inode {child}: a directory with two names"));
                }
            }
        }
        // The root has no name but counts one, for `..`.
        *links.entry(ROOT).or_default() += 1;
        let mut found = Vec::new();
        for (ino, inode) in &self.inodes {
            let count = links.get(ino).copied().unwrap_or(0);
            let orphan = inode.record.orphan.get() != 0;
            self.report.orphans += u64::from(orphan);
            let nameless = orphan && inode.attributes.nlink == 0;
            if inode.attributes.nlink != count || seen.contains(ino) == nameless {
                found.push(format!(
                    "inode {ino}: {} links, and {count} names",
                    inode.attributes.nlink
                ));
            }
        }
        self.report.problems.append(&mut found);
        Ok(())
    }

    /// The names in a directory, and what they name.
    fn entries(&mut self, dir: Ino) -> Result<Vec<(String, Ino, u8)>> {
        let mut entries = Vec::new();
        let mut names = BTreeSet::new();
        let data = self.super_block.data();
        for pointer in self.inodes[&dir].blocks.clone() {
            if !data.contains(&pointer.into()) {
                continue;
            }
            let block = read(self.device, pointer.into())?;
            for bytes in block.chunks(SLOT).take(SLOTS as usize) {
                let Ok((slot, _)) = Slot::read_from_prefix(bytes) else {
                    unreachable!("a slot holds a slot");
                };
                let name = &bytes[NAME..][..slot.len.into()];
                if slot.ino.get() == 0 {
                    continue;
                }
                if Name::new(name).is_err() || !names.insert(name.to_vec()) {
                    let name = name.escape_ascii();
                    self.problem(format!(
                        "directory {dir}: name {name} is twice there or none"
                    ));
                }
                let name = name.escape_ascii().to_string();
                entries.push((name, slot.ino.get().into(), slot.kind));
            }
        }
        Ok(entries)
    }

    /// Compares the bitmap with what is in use.
    fn bitmap(&mut self) -> Result {
        let data = self.super_block.data();
        let mut bits = Vec::new();
        for block in 0..data.end {
            if block % BITS == 0 {
                bits = read(self.device, 1 + block / BITS)?;
            }
            let bit = block % BITS;
            let marked = bits[(bit / 8) as usize] >> (bit % 8) & 1 != 0;
            if marked != (block < data.start || self.used.contains(&block)) {
                let what = if marked { "used" } else { "free" };
                self.problem(format!("block {block}: marked as {what}"));
            }
        }
        Ok(())
    }
}
