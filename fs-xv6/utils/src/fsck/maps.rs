// SPDX-License-Identifier: GPL-2.0

//! What was found: of each block whether it is used, of each inode what it is.
//!
//! Memory is taken for those groups only in which something is.

use xv6::layout::{
    Geometry,
    GROUP_BLOCKS, //
};

const WORDS: usize = (GROUP_BLOCKS as usize).div_ceil(64);

/// The words that have the bits of a run of blocks in one group: the first block of the run in each,
/// and the bits.
fn words(start: u64, len: u64) -> impl Iterator<Item = (u64, u64)> {
    let end = start.saturating_add(len);
    let mut next = start;
    std::iter::from_fn(move || {
        let block = next;
        let left = end.checked_sub(block).filter(|left| *left > 0)?;
        let bit = block % GROUP_BLOCKS % 64;
        let count = left.min(64 - bit);
        next = block + count;
        Some((block, (u64::MAX >> (64 - count)) << bit))
    })
}

/// A bit for each block of the volume.
pub struct BlockMap {
    groups: Vec<Option<Box<[u64; WORDS]>>>,
    any: bool,
}

impl BlockMap {
    /// All bits clear.
    pub fn new(geometry: &Geometry) -> Self {
        Self {
            groups: vec![None; geometry.groups() as usize],
            any: false,
        }
    }

    fn place(block: u64) -> (usize, usize, u64) {
        let bit = block % GROUP_BLOCKS;
        (
            (block / GROUP_BLOCKS) as usize,
            (bit / 64) as usize,
            1 << (bit % 64),
        )
    }

    /// The bit of a block; clear behind the end of the volume.
    pub fn get(&self, block: u64) -> bool {
        let (group, word, mask) = Self::place(block);
        match self.groups.get(group) {
            Some(Some(words)) => words.get(word).is_some_and(|word| word & mask != 0),
            _ => false,
        }
    }

    /// Sets the bit of a block, and gives what it was.
    pub fn set(&mut self, block: u64) -> bool {
        let (group, word, mask) = Self::place(block);
        self.any = true;
        let Some(group) = self.groups.get_mut(group) else {
            return false;
        };
        let words = group.get_or_insert_with(|| Box::new([0; WORDS]));
        let Some(word) = words.get_mut(word) else {
            return false;
        };
        let was = *word & mask != 0;
        *word |= mask;
        was
    }

    /// Sets the bits of a run of blocks in one group; in `twice` those of the blocks whose bit was
    /// set already.
    pub fn claim(&mut self, start: u64, len: u64, twice: &mut Self) {
        for (block, mask) in words(start, len) {
            let Some(word) = self.word_mut(block) else {
                continue;
            };
            let both = *word & mask;
            *word |= mask;
            if both != 0 {
                twice.any = true;
                if let Some(word) = twice.word_mut(block) {
                    *word |= both;
                }
            }
        }
        self.any = true;
    }

    /// Whether the bit of any block of a run is set.
    pub fn has_any(&self, start: u64, len: u64) -> bool {
        words(start, len).any(|(block, mask)| self.word(block) & mask != 0)
    }

    /// Whether the bits of all blocks of a run are set.
    pub fn has_all(&self, start: u64, len: u64) -> bool {
        words(start, len).all(|(block, mask)| self.word(block) & mask == mask)
    }

    /// The word that has the bit of a block.
    fn word(&self, block: u64) -> u64 {
        let (group, word, _) = Self::place(block);
        match self.groups.get(group) {
            Some(Some(words)) => words.get(word).copied().unwrap_or(0),
            _ => 0,
        }
    }

    fn word_mut(&mut self, block: u64) -> Option<&mut u64> {
        let (group, word, _) = Self::place(block);
        let group = self.groups.get_mut(group)?;
        group
            .get_or_insert_with(|| Box::new([0; WORDS]))
            .get_mut(word)
    }

    /// Clears the bit of a block.
    pub fn clear(&mut self, block: u64) {
        let (group, word, mask) = Self::place(block);
        if let Some(Some(words)) = self.groups.get_mut(group) {
            if let Some(word) = words.get_mut(word) {
                *word &= !mask;
            }
        }
    }

    /// Whether a bit was ever set.
    pub fn any(&self) -> bool {
        self.any
    }

    /// Whether a bit of a group is set.
    pub fn any_in(&self, group: u64) -> bool {
        match self.groups.get(group as usize) {
            Some(Some(words)) => words.iter().any(|&word| word != 0),
            _ => false,
        }
    }
}

/// What was found of an inode.
#[derive(Clone, Copy, Debug, Default)]
pub struct Info {
    /// Its kind as in `d_type`; zero if it is not in use.
    pub kind: u8,
    /// Links that its record tells, at most 65,535.
    pub nlink: u16,
    /// Names that were found; of a directory, its subdirectories.
    pub found: u16,
}

/// What was found of each inode.
pub struct InodeMap {
    geometry: Geometry,
    groups: Vec<Option<Box<[Info]>>>,
}

impl InodeMap {
    /// No inode in use.
    pub fn new(geometry: &Geometry) -> Self {
        Self {
            geometry: *geometry,
            groups: vec![None; geometry.groups() as usize],
        }
    }

    /// Whether `ino` can be the number of an inode.
    pub fn is_ino(&self, ino: u64) -> bool {
        (1..=self.geometry.max_ino()).contains(&ino)
    }

    /// What is known of an inode.
    pub fn get(&self, ino: u64) -> Info {
        if !self.is_ino(ino) {
            return Info::default();
        }
        let group = self.geometry.group_of_ino(ino) as usize;
        match self.groups.get(group) {
            Some(Some(infos)) => infos
                .get(self.geometry.ino_bit(ino))
                .copied()
                .unwrap_or_default(),
            _ => Info::default(),
        }
    }

    /// Whether an inode is in use.
    pub fn in_use(&self, ino: u64) -> bool {
        self.get(ino).kind != 0
    }

    /// Changes what is known of an inode.
    pub fn update(&mut self, ino: u64, change: impl FnOnce(&mut Info)) {
        if !self.is_ino(ino) {
            return;
        }
        let group = self.geometry.group_of_ino(ino) as usize;
        let bit = self.geometry.ino_bit(ino);
        let len = self.geometry.group_inodes as usize;
        if let Some(group) = self.groups.get_mut(group) {
            let infos = group.get_or_insert_with(|| vec![Info::default(); len].into());
            if let Some(info) = infos.get_mut(bit) {
                change(info);
            }
        }
    }

    /// The inodes in use of a group, in ascending order.
    pub fn used_in(&self, group: u64) -> impl Iterator<Item = (u64, Info)> + '_ {
        let infos = match self.groups.get(group as usize) {
            Some(Some(infos)) => &infos[..],
            _ => &[],
        };
        infos
            .iter()
            .enumerate()
            .filter(|(_, info)| info.kind != 0)
            .map(move |(bit, info)| (self.geometry.ino_at(group, bit), *info))
    }

    /// An inode that is not in use and not reserved, the first of the volume.
    pub fn find_free(&self) -> Option<u64> {
        (xv6::layout::FIRST_INO..=self.geometry.max_ino()).find(|&ino| !self.in_use(ino))
    }
}
