// SPDX-License-Identifier: GPL-2.0

//! xv6-tree: what is on a volume, told alike of an image and of a directory where the kernel has
//! mounted it; and changes to an image from user space.

use clap::{
    Parser,
    Subcommand, //
};
use kernel::{
    bento::{
        crc32c,
        Ino,
        Kind, //
    },
    user::{
        device::FileDevice,
        Mount,
        MountOptions,
        NewNode,
        RenameMode,
        SetAttr, //
    },
};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{
            FileTypeExt,
            MetadataExt, //
        },
    },
    path::{
        Path,
        PathBuf, //
    },
    process::ExitCode,
    sync::Arc,
};
use xv6::Xv6;
use xv6_utils::failure::{
    Context,
    Result, //
};

/// Look at an xv6 volume, or change it, from user space.
#[derive(Parser)]
#[command(name = "xv6-tree", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print a line for each path: kind, mode, owner, links, size, time, and what the content sums up to
    List {
        /// An image, whose journal is replayed, or a directory
        path: PathBuf,
    },
    /// Change an image at random, then list it
    Change {
        /// The image
        image: PathBuf,
        /// Tells one change from another
        seed: u64,
        /// Sync, and stop as a crash would: with transactions in the journal and files open
        #[arg(long)]
        crash: bool,
    },
}

/// A line of the list, without the path.
struct Line {
    kind: Kind,
    mode: u16,
    owner: (u32, u32),
    links: u32,
    size: u64,
    mtime: (i64, u32),
    rdev: u32,
    content: Vec<u8>,
}

impl Line {
    fn print(&self, path: &str) {
        let sum = crc32c(!0, &self.content);
        // A directory's size is the file system's business.
        let size = if self.kind == Kind::Directory {
            0
        } else {
            self.size
        };
        println!(
            "{:?} {:o} {}:{} {} {size} {}.{:09} {:x} {sum:08x} {path}",
            self.kind,
            self.mode & 0o7777,
            self.owner.0,
            self.owner.1,
            self.links,
            self.mtime.0,
            self.mtime.1,
            self.rdev,
        );
    }
}

type List = BTreeMap<String, Line>;

fn list_directory(dir: &Path, prefix: &str, list: &mut List) -> Result {
    for entry in fs::read_dir(dir).context(dir.display())? {
        let path = entry.context(dir.display())?.path();
        let meta = fs::symlink_metadata(&path).context(path.display())?;
        let name = path.file_name().unwrap_or_default().as_bytes();
        let name = format!("{prefix}{}", name.escape_ascii());
        let is = meta.file_type();
        let kind = Kind::from_mode(meta.mode() as u16).ok_or("unknown kind");
        let kind = kind.context(path.display())?;
        let content = match kind {
            Kind::Regular => fs::read(&path).context(path.display())?,
            Kind::Symlink => {
                let target = fs::read_link(&path).context(path.display())?;
                target.into_os_string().as_bytes().to_vec()
            }
            _ => Vec::new(),
        };
        if is.is_dir() {
            list_directory(&path, &format!("{name}/"), list)?;
        }
        let rdev = match is.is_block_device() || is.is_char_device() {
            true => meta.rdev() as u32,
            false => 0,
        };
        let line = Line {
            kind,
            mode: meta.mode() as u16,
            owner: (meta.uid(), meta.gid()),
            links: meta.nlink() as u32,
            size: meta.size(),
            mtime: (meta.mtime(), meta.mtime_nsec() as u32),
            rdev,
            content,
        };
        list.insert(name, line);
    }
    Ok(())
}

fn list_mount(mount: &Mount<Xv6>, dir: Ino, prefix: &str, list: &mut List) -> Result {
    for entry in mount.list(dir).context("list")? {
        let name = format!("{prefix}{}", entry.name.escape_ascii());
        let is = mount.stat(entry.ino).context(&name)?.attributes;
        let content = match entry.kind {
            Kind::Regular => {
                let mut content = vec![0; is.size as usize];
                mount.read(entry.ino, 0, &mut content).context(&name)?;
                content
            }
            Kind::Symlink => mount.read_link(entry.ino).context(&name)?,
            _ => Vec::new(),
        };
        if entry.kind == Kind::Directory {
            list_mount(mount, entry.ino, &format!("{name}/"), list)?;
        }
        let line = Line {
            kind: entry.kind,
            mode: is.mode,
            owner: (is.uid, is.gid),
            links: is.nlink,
            size: is.size,
            mtime: (is.mtime.sec, is.mtime.nsec),
            rdev: is.rdev,
            content,
        };
        list.insert(name, line);
    }
    Ok(())
}

fn print(list: &List) {
    for (path, line) in list {
        line.print(path);
    }
}

fn mount(image: &Path) -> Result<Mount<Xv6>> {
    let device = FileDevice::open(image).context(image.display())?;
    Mount::mount(Arc::new(device), &MountOptions::default()).context(image.display())
}

/// Small, fast and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn bytes(&mut self, n: u64) -> Vec<u8> {
        (0..n).map(|_| self.below(256) as u8).collect()
    }
}

/// Changes something of everything.
fn change(mount: &Mount<Xv6>, seed: u64) -> kernel::error::Result {
    let mut random = Random(seed);
    let root = mount.root();
    let dir = mount
        .mkdir(root, format!("user-{seed}").as_bytes(), 0o2775)?
        .ino();
    for i in 0..60 {
        let name = format!("file {i} {}", "x".repeat(random.below(200) as usize));
        let mut new = NewNode::new(Kind::Regular, 0o640);
        new.uid = i;
        let file = mount.create(dir, name.as_bytes(), &new)?.ino();
        for _ in 0..random.below(6) {
            let (offset, len) = (random.below(300_000), 1 + random.below(40_000));
            mount.write(file, offset, &random.bytes(len))?;
        }
        match random.below(8) {
            0 => mount.punch_hole(file, random.below(100_000), 1 + random.below(100_000))?,
            1 => mount.allocate(file, random.below(400_000), 100_000, true)?,
            2 => mount.allocate(file, random.below(400_000), 100_000, false)?,
            3 => {
                let change = SetAttr {
                    size: Some(random.below(400_000)),
                    ..SetAttr::default()
                };
                mount.set_attr(file, &change)?;
            }
            4 => mount.link(file, root, format!("link-{seed}-{i}").as_bytes())?,
            5 => mount.rename(dir, name.as_bytes(), dir, b"last", RenameMode::Replace)?,
            _ => {}
        }
    }
    mount.create(dir, b"short link", &NewNode::symlink(b"target"))?;
    mount.create(dir, b"long link", &NewNode::symlink(&[b'l'; 3000]))?;
    mount.create(dir, b"fifo", &NewNode::new(Kind::Fifo, 0o600))?;
    mount.create(dir, b"\x01\xff", &NewNode::new(Kind::Socket, 0o600))?;
    // What others have left: names go, and come elsewhere.
    for entry in mount.list(root)? {
        match (entry.kind, random.below(4)) {
            (Kind::Directory, 0) => {
                mount
                    .rename(root, &entry.name, dir, &entry.name, RenameMode::NoReplace)
                    .or_else(|error| match error {
                        kernel::error::code::EINVAL => Ok(()),
                        error => Err(error),
                    })?;
            }
            (Kind::Directory, _) => {
                for inner in mount.list(entry.ino)? {
                    if inner.kind != Kind::Directory && random.below(3) == 0 {
                        mount.unlink(entry.ino, &inner.name)?;
                    }
                }
            }
            (_, 0) => mount.unlink(root, &entry.name)?,
            _ => {}
        }
    }
    Ok(())
}

fn run(args: &Args) -> Result {
    let mut list = List::new();
    match &args.command {
        Command::List { path } if path.is_dir() => list_directory(path, "", &mut list)?,
        Command::List { path } => {
            let mount = mount(path)?;
            list_mount(&mount, mount.root(), "", &mut list)?;
            mount.umount().context("umount")?;
        }
        Command::Change { image, seed, crash } => {
            let mount = mount(image)?;
            change(&mount, *seed).context("change")?;
            // An open file without a name: the next mount frees it.
            let open = mount
                .tmpfile(mount.root(), &NewNode::new(Kind::Regular, 0o600))
                .context("tmpfile")?;
            mount.write(open.ino(), 0, &[1; 100_000]).context("write")?;
            mount.sync().context("sync")?;
            list_mount(&mount, mount.root(), "", &mut list)?;
            match crash {
                true => core::mem::forget(open),
                false => {
                    drop(open);
                    mount.umount().context("umount")?;
                }
            }
        }
    }
    print(&list);
    Ok(())
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xv6-tree: {failure}");
            ExitCode::FAILURE
        }
    }
}
