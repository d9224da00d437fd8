// SPDX-License-Identifier: GPL-2.0

//! Each sort of damage by itself: found, named, repaired, and nothing else is lost.

mod common;

use common::{
    fresh,
    populated, //
};
use kernel::{
    bento::Kind,
    user::{
        device::{
            Device,
            MemDevice, //
        },
        Mount,
        MountOptions,
        NewNode,
        RenameMode,
        SetAttr, //
    }, //
};
use rustix::time::{
    clock_gettime,
    ClockId, //
};
use std::sync::Arc;
use xv6::{
    layout::*,
    Xv6, //
};
use xv6_utils::{
    fsck,
    fsck::{
        FsckOptions,
        Mode,
        Report, //
    },
    groups,
    image,
    populate::Leave, //
};

const LOOK: FsckOptions = FsckOptions {
    mode: Mode::Look,
    force: true,
    verbose: false,
};

/// A volume under the knife.
struct Patient {
    device: Arc<MemDevice>,
    geometry: Geometry,
    seed: u32,
}

impl Patient {
    fn new() -> Self {
        Self::on(populated(Leave::Clean))
    }

    fn on(device: MemDevice) -> Self {
        let device = Arc::new(device);
        let data = image::read(&*device, SUPER_BLOCK).unwrap();
        let super_block: SuperBlock = image::load(&data[..], 0).unwrap();
        Self {
            device,
            geometry: super_block.geometry(),
            seed: super_block.seed(),
        }
    }

    fn mount(&self) -> Mount<Xv6> {
        let device: Arc<dyn Device> = self.device.clone();
        Mount::mount(device, &MountOptions::default()).unwrap()
    }

    /// The inode at the end of a path from the root.
    fn ino(&self, path: &str) -> u64 {
        let mount = self.mount();
        let mut ino = mount.root();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            ino = mount.lookup(ino, name.as_bytes()).unwrap().ino();
        }
        mount.umount().unwrap();
        ino
    }

    fn names(&self, path: &str) -> Vec<String> {
        let ino = self.ino(path);
        let mount = self.mount();
        let entries = mount.list(ino).unwrap();
        mount.umount().unwrap();
        let name = |name: &[u8]| name.escape_ascii().to_string();
        entries.iter().map(|entry| name(&entry.name)).collect()
    }

    fn record(&self, ino: u64) -> RawInode {
        let (block, offset) = self.geometry.inode_place(ino);
        image::inode_at(
            &image::read(&*self.device, block).unwrap(),
            offset / INODE_SIZE,
        )
        .unwrap()
    }

    /// Changes a record, and mends its checksum.
    fn change(&self, ino: u64, change: impl FnOnce(&mut RawInode)) {
        let (block, offset) = self.geometry.inode_place(ino);
        let mut raw = self.record(ino);
        change(&mut raw);
        image::seal_inode(self.seed, &mut raw);
        self.edit(block, false, |data| image::store(data, offset, &raw));
    }

    /// Changes a block, and mends its checksum if that is wanted.
    fn edit(&self, block: u64, mend: bool, change: impl FnOnce(&mut [u8])) {
        let mut data = image::read(&*self.device, block).unwrap();
        change(&mut data[..]);
        if mend {
            image::seal(self.seed, &mut data);
        }
        self.device.write(block, &data[..]).unwrap();
    }

    fn dir_root(&self, ino: u64) -> DirRoot {
        image::load(&self.record(ino).root, 0).unwrap()
    }

    fn extent(&self, ino: u64, index: usize) -> RawExtent {
        image::load(&self.record(ino).root, index * size_of::<RawExtent>()).unwrap()
    }

    fn fsck(&self, mode: Mode) -> Report {
        fsck(&*self.device, &FsckOptions { mode, ..LOOK }).unwrap()
    }

    /// A look finds `text` among the problems and writes nothing; a repair repairs; then all is
    /// well, and the file system says so too.
    #[track_caller]
    fn heals(&self, text: &str) -> Report {
        let before = (*self.device).clone();
        let look = self.fsck(Mode::Look);
        assert_eq!(look.exit_code(), 4, "{look:#?}");
        assert!(
            look.lines.iter().any(|line| line.contains(text)),
            "no `{text}`: {:#?}",
            look.lines
        );
        for block in 0..before.blocks() {
            let (was, is) = (
                image::read(&before, block),
                image::read(&*self.device, block),
            );
            assert!(was.unwrap() == is.unwrap(), "block {block} was written");
        }
        let report = self.fsck(Mode::Repair);
        assert_eq!(report.exit_code(), 1, "{report:#?}");
        assert_eq!(report.lines, look.lines);
        let again = self.fsck(Mode::Look);
        assert_eq!(again.lines, Vec::<String>::new());
        let mount = self.mount();
        assert_eq!(mount.damage(), 0);
        mount.umount().unwrap();
        report
    }
}

#[test]
fn super_block_lost() {
    let p = Patient::new();
    p.edit(SUPER_BLOCK, false, |data| data.fill(0));
    p.heals("the super block has a wrong magic");
}

#[test]
fn copy_lost() {
    let p = Patient::new();
    p.edit(p.geometry.super_block(1), false, |data| data[200] ^= 1);
    let report = p.heals("copy of the super block");
    assert_eq!(report.problems, 1);
}

/// A volume of one group has its copy in the block behind its end.
#[test]
fn super_block_of_one_group() {
    // Of the sizes the last leaves a part of a second group that has no room for its own metadata.
    for blocks in [
        MIN_BLOCKS + 1,
        9000,
        GROUP_BLOCKS,
        GROUP_BLOCKS + 1,
        GROUP_BLOCKS + 100,
    ] {
        let p = Patient::on(fresh(blocks));
        assert_eq!(p.geometry.groups(), 1);
        let mount = p.mount();
        mount.mkdir(mount.root(), b"dir", 0o755).unwrap();
        mount.umount().unwrap();
        let copy = p.geometry.blocks;
        assert!(copy < blocks);
        p.edit(copy, false, |data| data.fill(0));
        let report = p.heals("copy of the super block");
        assert_eq!(report.problems, 1);
        p.edit(SUPER_BLOCK, false, |data| data.fill(0));
        p.heals(&format!("the copy in block {copy} takes its place"));
        assert_eq!(p.names(""), ["dir"]);
    }
}

/// Where there is no block behind the end, or what is there is not the device's last block, there is
/// no copy, and nothing to complain of.
#[test]
fn no_place_for_a_copy() {
    assert_eq!(fresh(MIN_BLOCKS).blocks(), MIN_BLOCKS);
    let small = fresh(9000);
    let large = MemDevice::new(10_000);
    for from in [&small, &fresh(MIN_BLOCKS)] {
        for block in 0..from.blocks() {
            let data = image::read(from, block).unwrap();
            large.write(block, &data[..]).unwrap();
        }
        let report = fsck(&large, &LOOK).unwrap();
        assert_eq!(report.lines, Vec::<String>::new());
    }
}

#[test]
fn no_super_block_at_all() {
    let device = MemDevice::new(5000);
    let failure = fsck(&device, &LOOK).unwrap_err().to_string();
    assert!(failure.contains("no xv6 file system"), "{failure}");
}

#[test]
fn foreign_super_blocks_are_refused() {
    let fields = [
        (std::mem::offset_of!(SuperBlock, version), "version"),
        (std::mem::offset_of!(SuperBlock, incompat), "incompatible"),
        (std::mem::offset_of!(SuperBlock, ro_compat), "read-only"),
    ];
    for (offset, text) in fields {
        let p = Patient::new();
        let mut data = image::read(&*p.device, SUPER_BLOCK).unwrap();
        data[offset + 1] = 1;
        image::seal_super(&mut data);
        p.device.write(SUPER_BLOCK, &data[..]).unwrap();
        let failure = fsck(&*p.device, &LOOK).unwrap_err().to_string();
        assert!(failure.contains(text), "{failure}");
    }
}

#[test]
fn descriptors_lost() {
    let p = Patient::new();
    p.edit(SUPER_BLOCK + 1, false, |data| data.fill(0xff));
    p.heals("group descriptors");
    assert!(!p.names("many").is_empty());
}

#[test]
fn fresh_flag_of_a_group_in_use() {
    let p = Patient::new();
    let (block, offset) = p.geometry.descriptor(0);
    p.edit(block, true, |data| data[offset] |= 3);
    p.heals("does not know that the inode bitmap was written");
}

#[test]
fn bitmaps_lost() {
    let p = Patient::new();
    let names = p.names("many");
    p.edit(p.geometry.block_bitmap(0), false, |data| data.fill(0));
    p.edit(p.geometry.inode_bitmap(0), false, |data| data.fill(0));
    p.heals("inode bitmap has a wrong magic");
    assert_eq!(p.names("many"), names);
    assert!(!p.names("").contains(&"lost+found".to_string()));
}

#[test]
fn used_block_marked_as_free() {
    let p = Patient::new();
    let block = p.dir_root(p.ino("many")).block.get();
    let bitmap = p.geometry.block_bitmap(p.geometry.group_of(block));
    let bit = (block % GROUP_BLOCKS) as usize;
    p.edit(bitmap, true, |data| {
        assert!(groups::bit(data, BITMAP_HEADER, bit));
        data[BITMAP_HEADER + bit / 8] &= !(1 << (bit % 8));
    });
    p.heals("1 blocks in use are marked as free");
}

#[test]
fn free_block_marked_as_used() {
    let p = Patient::new();
    let block = p.geometry.group_end(0) - 1;
    let bit = (block % GROUP_BLOCKS) as usize;
    p.edit(p.geometry.block_bitmap(0), true, |data| {
        groups::set_bit(data, BITMAP_HEADER, bit);
    });
    p.heals("1 blocks are free but marked as in use");
}

#[test]
fn used_inode_marked_as_free() {
    let p = Patient::new();
    let ino = p.ino("dir0/dir0/file1");
    let bit = p.geometry.ino_bit(ino);
    let bitmap = p.geometry.inode_bitmap(p.geometry.group_of_ino(ino));
    p.edit(bitmap, true, |data| {
        data[BITMAP_HEADER + bit / 8] &= !(1 << (bit % 8));
    });
    p.heals("in use, but marked as free");
    assert_eq!(p.ino("dir0/dir0/file1"), ino);
}

#[test]
fn totals_wrong() {
    let p = Patient::new();
    let mut data = image::read(&*p.device, SUPER_BLOCK).unwrap();
    let mut s: SuperBlock = image::load(&data[..], 0).unwrap();
    s.free_blocks = (s.free_blocks.get() - 1).into();
    s.free_inodes = (s.free_inodes.get() + 1).into();
    data = image::super_block_data(&s);
    p.device.write(SUPER_BLOCK, &data[..]).unwrap();
    let report = p.heals("free blocks, there are");
    assert_eq!(report.problems, 2);
}

#[test]
fn record_with_a_wrong_checksum_only() {
    let p = Patient::new();
    let ino = p.ino("file0");
    let (block, offset) = p.geometry.inode_place(ino);
    p.edit(block, false, |data| data[offset] ^= 1);
    p.heals("wrong checksum, its blocks are right");
    assert_eq!(p.ino("file0"), ino);
}

#[test]
fn record_destroyed() {
    let p = Patient::new();
    let ino = p.ino("file0");
    let (block, offset) = p.geometry.inode_place(ino);
    p.edit(block, false, |data| {
        data[offset..offset + INODE_SIZE].fill(0x55);
    });
    p.heals("no inode is in its place");
    // All its names are gone.
    assert!(!p.names("").contains(&"file0".to_string()));
    assert!(!p.names("links").iter().any(|name| name.starts_with("hard")));
}

#[test]
fn wrong_link_counts() {
    let p = Patient::new();
    let (file, dir) = (p.ino("file1"), p.ino("dir1"));
    p.change(file, |raw| raw.nlink = 3.into());
    p.change(dir, |raw| raw.nlink = 2.into());
    let report = p.heals("says 3 links, has 1");
    assert_eq!(report.problems, 2);
}

#[test]
fn nlink_zero_with_a_name() {
    let p = Patient::new();
    let ino = p.ino("file1");
    p.change(ino, |raw| raw.nlink = 0.into());
    p.heals("says 0 links, has 1");
    assert_eq!(p.ino("file1"), ino);
}

#[test]
fn wrong_number_of_blocks() {
    let p = Patient::new();
    p.change(p.ino("file1"), |raw| raw.blocks = 999.into());
    p.heals("says 999 blocks");
}

#[test]
fn two_files_claim_the_same_blocks() {
    let p = Patient::new();
    let (first, second) = (p.ino("dir0/file0"), p.ino("dir0/file1"));
    let (first, second) = (first.min(second), first.max(second));
    let shared = p.extent(first, 0);
    p.change(second, |raw| image::store(&mut raw.root, 0, &shared));
    p.heals("become holes");
    assert_eq!(p.extent(first, 0), shared);
    assert_ne!(p.extent(second, 0).block, shared.block);
}

#[test]
fn file_claims_a_directory() {
    let p = Patient::new();
    let (file, dir) = (p.ino("dir0/file0"), p.ino("many"));
    let names = p.names("many");
    let node = p.dir_root(dir).block;
    p.change(file, |raw| {
        let mut extent: RawExtent = image::load(&raw.root, 0).unwrap();
        extent.block = node;
        extent.len = 1.into();
        image::store(&mut raw.root, 0, &extent);
    });
    p.heals("become holes");
    assert_eq!(p.names("many"), names);
}

#[test]
fn extents_out_of_range() {
    let p = Patient::new();
    let places = [
        0,
        SUPER_BLOCK,
        p.geometry.inode_table(0),
        p.geometry.blocks - 1,
        u64::MAX,
    ];
    for place in places {
        let p = Patient::new();
        p.change(p.ino("file1"), |raw| {
            let mut extent: RawExtent = image::load(&raw.root, 0).unwrap();
            extent.block = place.into();
            extent.len = 4.into();
            image::store(&mut raw.root, 0, &extent);
        });
        p.heals("impossible Extent");
    }
}

#[test]
fn extent_node_lost() {
    let p = Patient::new();
    let ino = p.ino("fragmented");
    assert_eq!(p.record(ino).depth.get(), 2, "deep enough to test with");
    let blocks = p.record(ino).blocks.get();
    let top = p.extent(ino, 0).block.get();
    let data = image::read(&*p.device, top).unwrap();
    let leaf: RawExtent = image::load(&data[..], NODE_HEADER + 16).unwrap();
    p.edit(leaf.block.get(), false, |data| data.fill(0));
    p.heals("has a wrong magic");
    let left = p.record(ino).blocks.get();
    assert!(left < blocks && left > blocks / 2, "{left} of {blocks}");
}

#[test]
fn extent_root_node_lost() {
    let p = Patient::new();
    let ino = p.ino("fragmented");
    let (blocks, top) = (p.record(ino).blocks.get(), p.extent(ino, 0).block.get());
    p.edit(top, false, |data| data.fill(0));
    p.heals("has a wrong magic");
    // The leaves name their owner: nothing is lost but the node, of which there is a new one.
    assert_eq!(p.record(ino).blocks.get(), blocks);
}

#[test]
fn directory_root_node_lost() {
    let p = Patient::new();
    let before = p.names("many");
    let root = p.dir_root(p.ino("many"));
    assert!(root.level.get() > 0);
    p.edit(root.block.get(), false, |data| data.fill(0));
    p.heals("has a wrong magic");
    assert_eq!(p.names("many"), before);
    assert!(!p.names("").contains(&"lost+found".to_string()));
}

#[test]
fn directory_leaf_lost() {
    let p = Patient::new();
    let dir = p.ino("many");
    let before = p.names("many");
    let root = p.dir_root(dir);
    assert!(root.level.get() > 0);
    let data = image::read(&*p.device, root.block.get()).unwrap();
    let index: DirIndex = image::load(&data[..], NODE_HEADER + 16).unwrap();
    p.edit(index.block.get(), false, |data| data.fill(0));
    p.heals("has a wrong magic");
    // Each file is still there, under its name or in lost+found.
    let (kept, found) = (p.names("many"), p.names("lost+found"));
    assert!(!found.is_empty() && kept.len() + found.len() == before.len());
    assert!(kept.iter().all(|name| before.contains(name)));
}

#[test]
fn leaf_with_a_wrong_checksum_only() {
    let p = Patient::new();
    let before = p.names("links");
    let block = p.dir_root(p.ino("links")).block.get();
    p.edit(block, false, |data| data[HEADER_CHECKSUM] ^= 1);
    p.heals("has a wrong checksum");
    assert_eq!(p.names("links"), before);
}

/// The first entry of a directory of one leaf, and where it stands.
fn first_entry(p: &Patient, path: &str) -> (u64, DirEntry) {
    let root = p.dir_root(p.ino(path));
    assert_eq!(root.level.get(), 0);
    let block = root.block.get();
    let data = image::read(&*p.device, block).unwrap();
    (block, image::load(&data[..], NODE_HEADER).unwrap())
}

fn set_first_entry(p: &Patient, block: u64, entry: &DirEntry) {
    p.edit(block, true, |data| image::store(data, NODE_HEADER, entry));
}

#[test]
fn wrong_hash() {
    let p = Patient::new();
    let before = p.names("links");
    let (block, mut entry) = first_entry(&p, "links");
    entry.key = (entry.key.get() - SLOTS).into();
    set_first_entry(&p, block, &entry);
    p.heals("has a wrong key");
    assert_eq!(p.names("links"), before);
}

#[test]
fn entry_of_an_inode_not_in_use() {
    let p = Patient::new();
    let (block, mut entry) = first_entry(&p, "links");
    entry.ino = p.geometry.max_ino().into();
    set_first_entry(&p, block, &entry);
    p.heals("names an inode that is not in use");
}

#[test]
fn entry_of_a_reserved_inode() {
    let p = Patient::new();
    let (block, mut entry) = first_entry(&p, "links");
    entry.ino = LOG_INO.into();
    set_first_entry(&p, block, &entry);
    p.heals("names an inode that cannot be");
}

#[test]
fn entry_of_another_kind() {
    let p = Patient::new();
    let before = p.names("links");
    let (block, mut entry) = first_entry(&p, "links");
    entry.kind = Kind::Fifo.dtype();
    set_first_entry(&p, block, &entry);
    p.heals("is of another kind");
    assert_eq!(p.names("links"), before);
}

#[test]
fn wrong_number_of_entries() {
    let p = Patient::new();
    p.change(p.ino("many"), |raw| {
        let mut root: DirRoot = image::load(&raw.root, 0).unwrap();
        root.entries = 1.into();
        image::store(&mut raw.root, 0, &root);
    });
    p.heals("says 1 entries");
}

#[test]
fn wrong_parent() {
    let p = Patient::new();
    let other = p.ino("dir2");
    p.change(p.ino("dir0/dir1"), |raw| {
        let mut root: DirRoot = image::load(&raw.root, 0).unwrap();
        root.parent = other.into();
        image::store(&mut raw.root, 0, &root);
    });
    p.heals("is its parent");
}

#[test]
fn name_removed() {
    let p = Patient::new();
    let ino = p.ino("dir3");
    // The root directory without its tree: all that it held is found again.
    let before = p.names("");
    p.change(ROOT_INO, |raw| {
        let root = DirRoot {
            parent: ROOT_INO.into(),
            ..DirRoot::default()
        };
        image::store(&mut raw.root, 0, &root);
    });
    p.heals("no way leads there");
    let found = p.names("lost+found");
    assert!(found.contains(&format!("#{ino}")));
    // A file with names elsewhere needs none here.
    assert_eq!(found.len(), before.len() - 1);
}

/// Where no inode is free for `lost+found`, what lost its name waits until there is one.
#[test]
fn name_removed_on_a_full_volume() {
    let p = Patient::new();
    let files = p.names("many").len();
    let mount = p.mount();
    let new = NewNode::new(Kind::Regular, 0o644);
    let mut made = 0;
    while mount
        .create(mount.root(), format!("filler-{made}").as_bytes(), &new)
        .is_ok()
    {
        made += 1;
    }
    mount.umount().unwrap();
    p.change(p.ino("many"), |raw| {
        let root = DirRoot {
            parent: ROOT_INO.into(),
            ..DirRoot::default()
        };
        image::store(&mut raw.root, 0, &root);
    });
    for _ in 0..2 {
        let report = p.fsck(Mode::Repair);
        assert_eq!(report.exit_code(), 4, "{report:#?}");
        let text = format!("{files} inodes stay without a name");
        assert!(
            report.lines.iter().any(|line| line.contains(&text)),
            "{:#?}",
            report.lines
        );
    }
    let mount = p.mount();
    mount.unlink(mount.root(), b"filler-0").unwrap();
    mount.umount().unwrap();
    assert_eq!(p.fsck(Mode::Repair).exit_code(), 1);
    assert_eq!(p.fsck(Mode::Look).lines, Vec::<String>::new());
    assert_eq!(p.names("lost+found").len(), files);
}

#[test]
fn root_lost() {
    let p = Patient::new();
    p.change(ROOT_INO, |raw| raw.mode = 0.into());
    p.heals("the root directory is lost");
    assert_eq!(p.names(""), ["lost+found"]);
}

#[test]
fn directories_in_a_circle() {
    let p = Patient::new();
    let (outer, inner) = (p.ino("dir0"), p.ino("dir0/dir0"));
    // An entry of the root and one of the inner directory: `dir0/dir0/dir0` becomes `dir0` itself,
    // and the root's own entry of it something else.
    let turn = |dir: u64, from: u64, to: u64, kind: Kind| {
        let block = p.dir_root(dir).block.get();
        p.edit(block, true, |data| {
            let mut offset = NODE_HEADER;
            loop {
                let mut entry: DirEntry = image::load(data, offset).unwrap();
                if entry.ino.get() == from {
                    entry.ino = to.into();
                    entry.kind = kind.dtype();
                    image::store(data, offset, &entry);
                    break;
                }
                let size = size_of::<DirEntry>() + usize::from(entry.name_len);
                offset += size.next_multiple_of(8);
            }
        });
    };
    let file = p.ino("file4");
    let inmost = p.ino("dir0/dir0/dir0");
    turn(inner, inmost, outer, Kind::Directory);
    turn(ROOT_INO, outer, file, Kind::Regular);
    p.heals("lies within itself");
    assert!(p.names("lost+found").len() >= 2);
}

#[test]
fn journal_super_block_lost() {
    let p = Patient::new();
    let data = image::read(&*p.device, SUPER_BLOCK).unwrap();
    let s: SuperBlock = image::load(&data[..], 0).unwrap();
    p.edit(s.journal_start.get(), false, |data| data.fill(0));
    p.heals("journal's super block has a wrong magic");
}

#[test]
fn orphan_bit_of_a_free_inode() {
    let p = Patient::new();
    let bit = p.geometry.group_inodes as usize - 1;
    p.edit(p.geometry.inode_bitmap(1), true, |data| {
        groups::set_bit(data, ORPHAN_BITS, bit);
    });
    p.heals("orphans that are none");
}

#[test]
fn preen_repairs_counts_only() {
    let p = Patient::new();
    p.change(p.ino("file1"), |raw| raw.blocks = 999.into());
    // A volume that says that it is clean is not looked at without force.
    let quick = fsck(
        &*p.device,
        &FsckOptions {
            mode: Mode::Preen,
            ..FsckOptions::default()
        },
    );
    assert!(quick.unwrap().skipped);
    assert_eq!(p.fsck(Mode::Preen).exit_code(), 1);
    assert_eq!(p.fsck(Mode::Look).exit_code(), 0);

    p.change(p.ino("file1"), |raw| raw.nlink = 9.into());
    p.change(p.ino("file2"), |raw| raw.blocks = 999.into());
    assert_eq!(p.fsck(Mode::Preen).exit_code(), 4);
    assert_eq!(p.fsck(Mode::Look).problems, 2, "nothing was written");
}

/// Preening at boot: what a crash left is replayed, and the check left to the mount; but a volume
/// that was unmounted and is not clean is checked.
#[test]
fn preen_after_a_crash() {
    let device = populated(Leave::Crashed);
    let preen = FsckOptions {
        mode: Mode::Preen,
        ..FsckOptions::default()
    };
    let report = fsck(&device, &preen).unwrap();
    assert!(report.skipped && report.replayed > 0 && report.exit_code() == 0);
    let report = fsck(&device, &preen).unwrap();
    assert!(!report.skipped && report.orphans == 2 && report.exit_code() == 0);
    assert!(fsck(&device, &preen).unwrap().skipped);
}

#[test]
fn error_mark_is_taken_away() {
    let p = Patient::new();
    let data = image::read(&*p.device, SUPER_BLOCK).unwrap();
    let mut s: SuperBlock = image::load(&data[..], 0).unwrap();
    s.state = (STATE_CLEAN | STATE_ERROR).into();
    p.device
        .write(SUPER_BLOCK, &image::super_block_data(&s)[..])
        .unwrap();
    p.heals("marked as damaged");
}

/// Where a truncation to this size was interrupted by a crash.
const CUT: u64 = 25 * 2 * BLOCK_SIZE as u64 + 50;

/// Leaves `fragmented` as a crash in the middle of a truncation does: the size is stored, and the
/// inode an orphan. Gives the inode.
fn interrupted_truncation(p: &Patient) -> u64 {
    let ino = p.ino("fragmented");
    p.change(ino, |raw| raw.size = CUT.into());
    let bit = p.geometry.ino_bit(ino);
    let bitmap = p.geometry.inode_bitmap(p.geometry.group_of_ino(ino));
    p.edit(bitmap, true, |data| {
        groups::set_bit(data, ORPHAN_BITS, bit);
        let mut header: BitmapHeader = image::load(data, 0).unwrap();
        header.orphans = 1.into();
        image::store(data, 0, &header);
    });
    ino
}

/// A leaf of the file's tree.
fn some_leaf(p: &Patient, ino: u64, index: usize) -> u64 {
    let top = image::read(&*p.device, p.extent(ino, 0).block.get()).unwrap();
    let at = NODE_HEADER + index * size_of::<RawExtent>();
    let leaf: RawExtent = image::load(&top[..], at).unwrap();
    leaf.block.get()
}

/// When the file grows again it has nothing but zeroes behind the size.
#[track_caller]
fn old_data_stays_away(p: &Patient) {
    let ino = p.ino("fragmented");
    let mount = p.mount();
    assert_eq!(mount.stat(ino).unwrap().attributes.size, CUT);
    let grow = SetAttr {
        size: Some(1 << 22),
        ..SetAttr::default()
    };
    mount.set_attr(ino, &grow).unwrap();
    let mut data = vec![1; (1 << 22) - CUT as usize];
    assert_eq!(mount.read(ino, CUT, &mut data), Ok(data.len()));
    let shown = data.iter().position(|&byte| byte != 0);
    assert_eq!(shown, None, "old data behind the size");
    mount.umount().unwrap();
    assert_eq!(p.fsck(Mode::Look).lines, Vec::<String>::new());
}

#[test]
fn unfinished_truncation() {
    let p = Patient::new();
    interrupted_truncation(&p);
    let report = p.fsck(Mode::Repair);
    assert_eq!(report.orphans, 1);
    old_data_stays_away(&p);
}

#[test]
fn unfinished_truncation_of_a_damaged_tree() {
    for index in [0, 1] {
        let p = Patient::new();
        let ino = interrupted_truncation(&p);
        p.edit(some_leaf(&p, ino, index), false, |data| data.fill(0));
        p.heals("has a wrong magic");
        old_data_stays_away(&p);
    }
}

#[test]
fn unfinished_truncation_of_a_tree_that_is_found_again() {
    let p = Patient::new();
    let ino = interrupted_truncation(&p);
    let top = p.extent(ino, 0).block.get();
    p.edit(top, false, |data| data.fill(0));
    p.heals("has a wrong magic");
    old_data_stays_away(&p);
}

#[test]
fn unfinished_truncation_that_nothing_tells_of() {
    let p = Patient::new();
    let ino = interrupted_truncation(&p);
    let bitmap = p.geometry.inode_bitmap(p.geometry.group_of_ino(ino));
    p.edit(bitmap, false, |data| data.fill(0));
    p.heals("behind its end");
    old_data_stays_away(&p);
}

/// Where the record is damaged it is the size that is wrong: the data is kept.
#[test]
fn damaged_size() {
    let p = Patient::new();
    let ino = p.ino("fragmented");
    let before = p.record(ino);
    let (block, offset) = p.geometry.inode_place(ino);
    p.edit(block, false, |data| {
        let size = offset + std::mem::offset_of!(RawInode, size);
        image::store(data, size, &CUT.to_le());
    });
    p.heals("behind its end");
    let after = p.record(ino);
    assert_eq!(after.blocks, before.blocks);
    assert!(after.size.get() >= before.size.get());
}

/// What was allocated behind the end holds no data, and stays.
#[test]
fn preallocation_behind_the_end() {
    let p = Patient::new();
    let ino = p.ino("preallocated");
    p.change(ino, |raw| raw.size = (BLOCK_SIZE as u64).into());
    p.heals("3 blocks of data behind its end");
    // Of 300 those stay that were not written.
    assert_eq!(p.record(ino).blocks.get(), 297);
}

/// A wrong bit of a record costs the inode at most if it tells what the inode is, or where its
/// blocks are.
#[test]
fn one_bit_of_a_record() {
    use std::mem::offset_of;
    let vital = [
        (offset_of!(RawInode, mode), 2),
        (offset_of!(RawInode, depth), 2),
        (offset_of!(RawInode, ino), 8),
        (offset_of!(RawInode, generation), 4),
        (offset_of!(RawInode, root_count), 2),
        (offset_of!(RawInode, root), ROOT_SIZE),
    ];
    let base = Patient::new();
    let inodes = base.fsck(Mode::Look).inodes;
    for path in ["holes", "dir0", "links/soft500", "fifo"] {
        let ino = base.ino(path);
        let (block, offset) = base.geometry.inode_place(ino);
        for at in 0..INODE_SIZE {
            let is_size = (offset_of!(RawInode, size)..)
                .take(8)
                .any(|byte| byte == at);
            if vital
                .iter()
                .any(|&(from, size)| (from..from + size).contains(&at))
                || is_size && path.contains("soft")
            {
                continue;
            }
            let p = Patient::on((*base.device).clone());
            p.edit(block, false, |data| data[offset + at] ^= 1 << (at % 8));
            let report = p.fsck(Mode::Repair);
            assert_eq!(
                (report.left, report.inodes),
                (0, inodes),
                "{path}: byte {at}: {report:#?}"
            );
            assert_eq!(p.fsck(Mode::Look).lines, Vec::<String>::new());
            assert_eq!(p.record(ino).root, base.record(ino).root, "{path}: {at}");
        }
    }
}

/// A bit of a leaf of a directory costs the entry that it is in, and no other.
#[test]
fn one_bit_of_a_directory_leaf() {
    let base = Patient::new();
    let names = base.names("links");
    let block = base.dir_root(base.ino("links")).block.get();
    let data = image::read(&*base.device, block).unwrap();
    let used = usize::from(u16::from_le_bytes([data[LEAF_USED], data[LEAF_USED + 1]]));
    for at in (NODE_HEADER..used).step_by(3) {
        let p = Patient::on((*base.device).clone());
        p.edit(block, false, |data| data[at] ^= 1 << (at % 8));
        let report = p.fsck(Mode::Repair);
        assert_eq!(report.left, 0);
        assert_eq!(p.fsck(Mode::Look).lines, Vec::<String>::new());
        let now = p.names("links");
        let kept = names.iter().filter(|name| now.contains(name)).count();
        assert!(kept + 1 >= names.len(), "byte {at}: {report:#?}: {now:?}");
    }
}

/// Where the descriptors are lost, nothing tells that a damaged bitmap was ever written: the inodes
/// are looked for all the same.
#[test]
fn descriptors_and_an_inode_bitmap_lost() {
    for zeroed in [false, true] {
        let p = Patient::new();
        let all = p.fsck(Mode::Look).inodes;
        for group in 0..p.geometry.groups() {
            let q = Patient::on((*p.device).clone());
            q.edit(SUPER_BLOCK + 1, false, |data| data.fill(0xff));
            q.edit(q.geometry.inode_bitmap(group), false, |data| match zeroed {
                true => data.fill(0),
                false => data[100] ^= 1,
            });
            let report = q.heals("group descriptors");
            assert_eq!(report.inodes, all, "{report:#?}");
            assert!(!q.names("").contains(&"lost+found".to_string()));
        }
    }
}

/// Names beyond the greatest number of links go: an inode that lost some would be without links
/// while it has names.
#[test]
fn more_names_than_links() {
    let p = Patient::on(fresh(3 * GROUP_BLOCKS));
    let mount = p.mount();
    let new = NewNode::new(Kind::Regular, 0o644);
    let dir = mount.mkdir(mount.root(), b"dir", 0o755).unwrap().ino();
    let ino = mount.create(dir, b"0", &new).unwrap().ino();
    for i in 1..MAX_LINKS {
        mount.link(ino, dir, format!("{i}").as_bytes()).unwrap();
    }
    let other = mount.mkdir(mount.root(), b"other", 0o755).unwrap().ino();
    mount.create(other, b"one more", &new).unwrap();
    mount.umount().unwrap();
    let (block, mut entry) = first_entry(&p, "other");
    entry.ino = ino.into();
    set_first_entry(&p, block, &entry);
    p.heals("too many names");
    let links = p.names("dir").len() + p.names("other").len();
    assert_eq!(links, MAX_LINKS as usize);
    assert_eq!(p.record(ino).nlink.get(), MAX_LINKS);
}

/// Every inode claims all blocks, six times over: that takes a while, but no hours.
#[test]
fn everybody_claims_everything() {
    let p = Patient::on(fresh(2 * GROUP_BLOCKS));
    let mount = p.mount();
    let new = NewNode::new(Kind::Regular, 0o644);
    let mut inodes = Vec::new();
    for i in 0..6000 {
        let name = format!("{i}");
        let inode = mount.create(mount.root(), name.as_bytes(), &new).unwrap();
        inodes.push(inode.ino());
    }
    mount.umount().unwrap();
    let start = p.geometry.data_start(0) + 500;
    let len = p.geometry.group_end(0) - start;
    for &ino in &inodes {
        p.change(ino, |raw| {
            for i in 0..ROOT_ENTRIES as u64 {
                let extent = RawExtent {
                    file_block: ((i * len) as u32).into(),
                    len: (len as u32).into(),
                    block: start.into(),
                };
                image::store(&mut raw.root, i as usize * size_of::<RawExtent>(), &extent);
            }
            raw.root_count = (ROOT_ENTRIES as u16).into();
            raw.size = (ROOT_ENTRIES as u64 * len * BLOCK_SIZE as u64).into();
            raw.blocks = (ROOT_ENTRIES as u64 * len).into();
        });
    }
    let spent = || clock_gettime(ClockId::ThreadCPUTime).tv_sec;
    let before = spent();
    p.heals("belong to another inode");
    assert!(spent() - before < 10);
    // The first has all of it, once.
    assert_eq!(p.record(inodes[0]).blocks.get(), len);
    assert_eq!(p.record(inodes[1]).blocks.get(), 0);
}

/// Of one tree some problems are told, and the others counted: memory for them is bounded.
#[test]
fn many_problems_of_one_file() {
    let p = Patient::new();
    let ino = p.ino("fragmented");
    let leaves = p.record(ino).blocks.get().div_ceil(NODE_ENTRIES as u64);
    for index in 0..leaves as usize {
        p.edit(some_leaf(&p, ino, index), true, |data| {
            let count = image::load::<BlockHeader>(data, 0).unwrap().count.get();
            for i in 0..usize::from(count) {
                let at = NODE_HEADER + i * size_of::<RawExtent>();
                let mut extent: RawExtent = image::load(data, at).unwrap();
                extent.block = 0.into();
                image::store(data, at, &extent);
            }
        });
    }
    let report = p.heals("impossible Extent");
    let told = |text: &str| {
        report
            .lines
            .iter()
            .filter(|line| line.contains(text))
            .count()
    };
    assert_eq!(told("impossible Extent"), 100);
    assert_eq!(told("1500 more problems of its tree"), 1);
}

/// Whatever names are taken in lost+found, and instead of it, there is another one for what lost its
/// own.
#[test]
fn every_name_in_lost_found_is_taken() {
    let p = Patient::on(fresh(9000));
    let mount = p.mount();
    let new = NewNode::new(Kind::Regular, 0o644);
    let root = mount.root();
    let dir = mount.mkdir(root, b"dir", 0o755).unwrap().ino();
    let ino = mount.create(dir, b"file", &new).unwrap().ino();
    let tails = |name: &str| {
        let room = 256 - name.len();
        let name = name.to_string();
        (0..room).map(move |tail| format!("{name}{}", "~".repeat(tail)))
    };
    let found = mount.mkdir(root, b"found", 0o755).unwrap().ino();
    for name in tails(&format!("#{ino}")) {
        mount.create(found, name.as_bytes(), &new).unwrap();
    }
    for name in tails("lost+found") {
        mount.create(root, name.as_bytes(), &new).unwrap();
    }
    mount.umount().unwrap();
    let lose = |p: &Patient| {
        p.change(p.ino("dir"), |raw| {
            let root = DirRoot {
                parent: ROOT_INO.into(),
                ..DirRoot::default()
            };
            image::store(&mut raw.root, 0, &root);
        });
    };
    let q = Patient::on((*p.device).clone());
    lose(&q);
    q.heals("no name: it gets one in lost+found");

    let mount = p.mount();
    for name in tails("lost+found") {
        mount.unlink(root, name.as_bytes()).unwrap();
    }
    let (from, to) = (b"found", b"lost+found");
    mount
        .rename(root, from, root, to, RenameMode::NoReplace)
        .unwrap();
    mount.umount().unwrap();
    let before = p.names("lost+found").len();
    lose(&p);
    p.heals("no name: it gets one in lost+found");
    assert_eq!(p.names("lost+found").len(), before + 1);
}
