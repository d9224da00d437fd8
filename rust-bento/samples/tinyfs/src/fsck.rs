// SPDX-License-Identifier: GPL-2.0

//! Checks a volume: reads all of it, and repairs nothing.

use crate::tinyfs::{
    Slot,
    SuperBlock,
    BITMAP,
    BLOCK,
    BLOCKS,
    CUT,
    MAGIC,
    MAX,
    ROOT,
    SLOTS,
    UNWRITTEN, //
};
use core::ops::Range;
use kernel::{
    bento::{
        Attributes,
        Block,
        Ino,
        Kind,
        Name,
        StoredAttributes, //
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

/// What is found on a volume.
#[derive(Debug, Default)]
pub struct Report {
    /// What is wrong.
    pub problems: Vec<String>,
    /// Inodes that the next mount has to free, or to cut at their size.
    pub orphans: u64,
}

/// An inode, and what was found of its names.
struct Inode {
    attributes: Attributes,
    /// Names that it has, `.` and `..` included.
    links: u32,
    /// The directory that it is in.
    parent: Ino,
}

/// What is known so far.
struct Check<'a> {
    device: &'a dyn Device,
    inodes: BTreeMap<Ino, Inode>,
    /// Blocks that are in use, and inodes.
    used: BTreeSet<Block>,
    report: Report,
}

/// Checks a volume, as its journal has it. Nothing is written.
///
/// # Errors
///
/// Those of the device; `EUCLEAN` for a damaged journal.
pub fn fsck(device: &dyn Device) -> Result<Report> {
    let device = &Overlay::new(device);
    let mut check = Check {
        device,
        inodes: BTreeMap::new(),
        used: BTreeSet::new(),
        report: Report::default(),
    };
    let super_block: SuperBlock = value(&check.read(0)?, 0);
    let [inodes, names, journal, data] = super_block.areas();
    let whole = [&inodes, &names, &journal, &data].map(|area| !area.is_empty()) == [true; 4];
    if super_block.magic != MAGIC || !whole || data.end > device.blocks().min(BLOCKS) {
        check.problem("no tinyfs that fits the device".into());
        return Ok(check.report);
    }
    replay(device, journal.start, journal.end - journal.start)?;
    let bitmap = check.read(BITMAP)?;
    let is_used = |at: Block| bitmap[(at / 8) as usize] >> (at % 8) & 1 != 0;
    check.used.extend(0..ROOT);
    check.used.extend(names.start..data.start);
    for ino in inodes.step_by(2).filter(|&ino| is_used(ino)) {
        check.inode(ino, &data)?;
    }
    check.names(names)?;
    check.links();
    for at in (0..data.end).filter(|&at| is_used(at) != check.used.contains(&at)) {
        let what = if is_used(at) { "used" } else { "free" };
        check
            .report
            .problems
            .push(format!("block {at}: marked as {what}"));
    }
    Ok(check.report)
}

/// The value that stands there in a block.
fn value<T: FromBytes>(block: &[u8], at: usize) -> T {
    match T::read_from_prefix(&block[at..]) {
        Ok((value, _)) => value,
        Err(_) => unreachable!("the values of the format lie within their blocks"),
    }
}

impl Check<'_> {
    fn read(&self, block: Block) -> Result<Vec<u8>> {
        let mut data = vec![0; BLOCK];
        self.device.read(block, &mut data)?;
        Ok(data)
    }

    fn problem(&mut self, text: String) {
        self.report.problems.push(text);
    }

    /// Checks what an inode says of itself.
    fn inode(&mut self, ino: Ino, data: &Range<Block>) -> Result {
        self.used.insert(ino);
        let (record, content) = (self.read(ino)?, self.read(ino + 1)?);
        let attributes = Attributes::from(&value::<StoredAttributes>(&record, 0));
        let kind = Kind::from_mode(attributes.mode);
        if kind.is_none() {
            self.problem(format!("inode {ino}: mode {:o}", attributes.mode));
        }
        let cut = u32::from_le_bytes(value(&record, CUT)) != 0;
        self.report.orphans += u64::from(attributes.nlink == 0 || cut);
        let pointers = match kind {
            Some(Kind::Regular) => MAX as usize,
            _ => 0,
        };
        let mut count = 0;
        for at in 0..pointers {
            let pointer = u32::from_le_bytes(value(&content, 4 * at));
            if pointer == 0 {
                continue;
            }
            count += 1;
            let block = Block::from(pointer & !UNWRITTEN);
            // What a file held before it was cut would come back if it grew.
            let behind = at * BLOCK >= attributes.size as usize;
            if behind && !cut && pointer & UNWRITTEN == 0 {
                self.problem(format!("inode {ino}: block {at} is behind the end"));
            }
            if !data.contains(&block) || !self.used.insert(block) {
                self.problem(format!(
                    "inode {ino}: block {at} is {block}, of something else"
                ));
            }
        }
        if attributes.sectors != count * BLOCK as u64 / 512 {
            let sectors = attributes.sectors;
            self.problem(format!("inode {ino}: {sectors} sectors, {count} blocks"));
        }
        // The root has no name, and is in itself.
        let (links, parent) = if ino == ROOT { (2, ROOT) } else { (0, 0) };
        let inode = Inode {
            attributes,
            links,
            parent,
        };
        self.inodes.insert(ino, inode);
        Ok(())
    }

    /// Checks the table of names.
    fn names(&mut self, table: Range<Block>) -> Result {
        let mut seen = BTreeSet::new();
        for block in table {
            let block = self.read(block)?;
            for at in 0..SLOTS as usize {
                let slot: Slot = value(&block, at * size_of::<Slot>());
                let (dir, ino) = (Ino::from(slot.dir.get()), Ino::from(slot.ino.get()));
                if dir != 0 {
                    let name = slot.name().escape_ascii();
                    let new = seen.insert((dir, slot.name().to_vec()));
                    if Name::new(slot.name()).is_err() || !new {
                        self.problem(format!("directory {dir}: {name} is twice there or none"));
                    }
                    if let Err(what) = self.name(dir, ino, slot.kind) {
                        self.problem(format!("directory {dir}: {name} is {what}"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Counts a name.
    fn name(&mut self, dir: Ino, ino: Ino, kind: u8) -> Result<(), &'static str> {
        let is_directory = Kind::from_dtype(kind) == Some(Kind::Directory);
        let inode = self.inodes.get_mut(&ino).ok_or("of no inode")?;
        if u16::from(kind) != inode.attributes.mode >> 12 {
            return Err("of another kind");
        }
        if is_directory && inode.parent != 0 {
            return Err("a directory's second name");
        }
        inode.parent = dir;
        inode.links += 1 + u32::from(is_directory);
        let parent = self.inodes.get_mut(&dir).ok_or("in no directory")?;
        parent.links += u32::from(is_directory);
        match Kind::from_mode(parent.attributes.mode) {
            Some(Kind::Directory) => Ok(()),
            _ => Err("in something else"),
        }
    }

    /// Checks that each inode has as many names as it says, and that the way up leads to the root.
    fn links(&mut self) {
        let mut found = Vec::new();
        for (ino, inode) in &self.inodes {
            let (says, has) = (inode.attributes.nlink, inode.links);
            if says != has {
                found.push(format!("inode {ino}: {says} links, and {has} names"));
            }
            let mut at = *ino;
            let up = |at| self.inodes.get(&at).map_or(0, |inode| inode.parent);
            (0..self.inodes.len()).for_each(|_| at = up(at));
            if has > 0 && at != ROOT {
                found.push(format!("inode {ino}: the root does not lead there"));
            }
        }
        if !self.inodes.contains_key(&ROOT) {
            found.push("there is no root directory".into());
        }
        self.report.problems.append(&mut found);
    }
}
