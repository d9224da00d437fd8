// SPDX-License-Identifier: GPL-2.0

//! Damage that knows the format: fields of metadata blocks are changed, and checksums mended, so
//! that what lies behind the checks of checksums is reached.

use kernel::{
    bento::Kind,
    error::Result,
    user::{
        device::{
            BlockData,
            Device,
            MemDevice,
            BLOCK_SIZE, //
        },
        Mount,
        NewNode, //
    },
};
use xv6::{
    layout::*,
    Xv6, //
};
use xv6_utils::{
    image,
    mutate::What, //
};

/// Bytes of one patch.
const PATCH: usize = 12;
/// Patches that are taken, at most.
const MOST: usize = 8;

/// Puts something of everything on a volume: an index of directory leaves, an extent tree of two
/// levels, holes, links, an orphan, a run that is preallocated.
pub fn furnish(mount: &Mount<Xv6>) -> Result {
    let root = mount.root();
    let file = NewNode::new(Kind::Regular, 0o644);
    let many = mount.mkdir(root, b"many", 0o755)?.ino();
    for i in 0..120 {
        let name = format!("{i:0>100}");
        mount.create(many, name.as_bytes(), &file)?;
    }
    let links = mount.mkdir(root, b"links", 0o755)?.ino();
    let first = mount.create(links, b"first", &file)?.ino();
    for i in 0..5 {
        mount.link(first, links, format!("link {i}").as_bytes())?;
    }
    mount.create(links, b"short", &NewNode::symlink(b"target"))?;
    mount.create(links, b"long", &NewNode::symlink(&[b'x'; 3000]))?;
    mount.create(links, b"fifo", &NewNode::new(Kind::Fifo, 0o600))?;
    let mut dir = root;
    for depth in 0..4 {
        dir = mount
            .mkdir(dir, format!("dir{depth}").as_bytes(), 0o755)?
            .ino();
    }
    let fragmented = mount.create(root, b"fragmented", &file)?.ino();
    for i in 0..200 {
        mount.write(fragmented, i * 2 * BLOCK_SIZE as u64, b"x")?;
    }
    let keep = mount.create(root, b"preallocated", &file)?.ino();
    mount.allocate(keep, 0, 50 * BLOCK_SIZE as u64, true)?;
    mount.write(keep, 10 * BLOCK_SIZE as u64, &[1; 3 * BLOCK_SIZE])?;
    mount.tmpfile(root, &file)?.pin();
    mount.sync()?;
    mount.unlink(links, b"short")?;
    mount.commit()
}

/// Damages a volume as the bytes say. Each patch: which sort of block and which of it, what to do,
/// where, and a value.
pub fn apply(device: &MemDevice, blocks: &[(u64, What)], patches: &[u8]) {
    let mut sorts: Vec<What> = Vec::new();
    for (_, what) in blocks {
        if !sorts.contains(what) {
            sorts.push(*what);
        }
    }
    let seed = super_block(device).map_or(0, |super_block| super_block.seed());
    for patch in patches.chunks_exact(PATCH).take(MOST) {
        let [sort, number, how, size, low, high, value @ ..] = patch else {
            continue;
        };
        let sort = sorts[usize::from(*sort) % sorts.len()];
        let of_sort: Vec<u64> = blocks
            .iter()
            .filter(|(_, what)| *what == sort)
            .map(|(block, _)| *block)
            .collect();
        let block = of_sort[usize::from(*number) % of_sort.len()];
        let Ok(mut data) = image::read(device, block) else {
            continue;
        };
        let offset = usize::from(u16::from_le_bytes([*low, *high])) % BLOCK_SIZE;
        let mut bytes = [0; 8];
        bytes[..6].copy_from_slice(value);
        let value = u64::from_le_bytes(bytes);
        match how % 16 {
            0 => data.fill(0),
            1 => {
                let other = of_sort[value as usize % of_sort.len()];
                if let Ok(other) = image::read(device, other) {
                    data = other;
                }
            }
            // Where headers and first entries stand, more often.
            2..=7 => put(&mut data, offset % 160, *size, value),
            8 => put(&mut data, offset, *size, !0),
            _ => put(&mut data, offset, *size, value),
        }
        // One in four shows by its checksum.
        if how >> 6 != 0 {
            mend(&mut data, sort, seed);
        }
        device.write(block, &data[..]).unwrap_or_default();
    }
}

fn super_block(device: &MemDevice) -> Option<SuperBlock> {
    image::load(&image::read(device, SUPER_BLOCK).ok()?[..], 0)
}

/// Changes one, two, four or eight bytes.
fn put(data: &mut BlockData, offset: usize, size: u8, value: u64) {
    let size = 1 << (size % 4);
    if let Some(field) = data.get_mut(offset..offset + size) {
        field.copy_from_slice(&value.to_le_bytes()[..size]);
    }
}

fn mend(data: &mut BlockData, what: What, seed: u32) {
    match what {
        What::Super => image::seal_super(data),
        What::Headed(_) => image::seal(seed, data),
        What::Inodes => {
            for slot in 0..INODES_PER_BLOCK as usize {
                if let Some(mut raw) = image::inode_at(data, slot).filter(|raw| raw.mode.get() != 0)
                {
                    image::seal_inode(seed, &mut raw);
                    image::store(&mut data[..], slot * INODE_SIZE, &raw);
                }
            }
        }
        // Its checksums are jbd2's: they stay broken.
        What::Journal => {}
    }
}
