// SPDX-License-Identifier: GPL-2.0

//! The programs as they are called: options, exit codes, what they leave alone.

use kernel::user::device::{
    Device,
    FileDevice, //
};
use std::{
    fs,
    path::{
        Path,
        PathBuf, //
    },
    process::Command,
};
use xv6::layout::*;
use xv6_utils::{
    fsck::{
        check,
        FsckOptions,
        Mode,
        Ui, //
    },
    image,
};

const MKFS: &str = env!("CARGO_BIN_EXE_mkfs-xv6");
const FSCK: &str = env!("CARGO_BIN_EXE_fsck-xv6");
const MUTATE: &str = env!("CARGO_BIN_EXE_xv6-mutate");
const POPULATE: &str = env!("CARGO_BIN_EXE_xv6-populate");

struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// An image of 64 MiB.
    fn image(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        assert_eq!(run(MKFS, &["-q", text(&path), "64M"]).0, 0);
        path
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The exit code, and what was printed.
fn run(program: &str, args: &[&str]) -> (i32, String) {
    let output = Command::new(program).args(args).output().unwrap();
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), said)
}

fn super_block(path: &Path) -> SuperBlock {
    let device = FileDevice::open_read_only(path).unwrap();
    image::load(&image::read(&device, SUPER_BLOCK).unwrap()[..], 0).unwrap()
}

#[test]
fn mkfs_options() {
    let scratch = Scratch::new();
    let path = scratch.path("image");
    let uuid = "01234567-89ab-cdef-0123-456789abcdef";
    let args = [
        "-L",
        "name",
        "-U",
        uuid,
        "-N",
        "1000",
        "-J",
        "size=5",
        "-E",
        "root_owner=7:8,hash_seed=00000000-0000-0005-0000-000000000006",
        text(&path),
        "40M",
    ];
    let (code, said) = run(MKFS, &args);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(uuid));
    let s = super_block(&path);
    assert_eq!(&s.label[..5], b"name\0");
    assert_eq!(s.uuid[..4], [1, 0x23, 0x45, 0x67]);
    assert_eq!(s.hash_key.map(|word| word.get()), [5, 6]);
    assert_eq!(s.group_inodes.get(), 1008);
    assert_eq!(s.journal_blocks.get(), 1280);
    // The last block is for a copy of the super block.
    assert_eq!(s.blocks.get(), 10239);
    assert_eq!(fs::metadata(&path).unwrap().len(), 40 << 20);
    assert_eq!(run(FSCK, &["-f", "-n", text(&path)]).0, 0);
}

#[test]
fn mkfs_dry_run_and_force() {
    let scratch = Scratch::new();
    let path = scratch.path("image");
    assert_eq!(run(MKFS, &["-n", text(&path), "64M"]).0, 0);
    assert!(!path.exists());
    assert_eq!(run(MKFS, &[text(&path)]).0, 1, "no size");
    assert!(!path.exists());

    let path = scratch.image("image");
    let uuid = super_block(&path).uuid;
    let (code, said) = run(MKFS, &[text(&path)]);
    assert_eq!(code, 1);
    assert!(said.contains("it holds an xv6 file system"), "{said}");
    assert_eq!(run(MKFS, &["-F", "-n", text(&path)]).0, 0);
    assert_eq!(super_block(&path).uuid, uuid);
    assert_eq!(run(MKFS, &["-F", text(&path)]).0, 0);
    assert_ne!(super_block(&path).uuid, uuid);
}

#[test]
fn mkfs_refuses() {
    let scratch = Scratch::new();
    let path = scratch.path("image");
    let (code, said) = run(MKFS, &[text(&path), "4M"]);
    assert_eq!(code, 1);
    assert!(said.contains("too small"), "{said}");
    assert!(!path.exists());
    assert_eq!(run(MKFS, &["--no-such-option"]).0, 1);
    assert_eq!(run(MKFS, &[text(scratch.0.path()), "64M"]).0, 1);
    // An image in use by another program.
    let path = scratch.image("used");
    let _open = FileDevice::open(&path).unwrap();
    let (code, said) = run(MKFS, &["-F", text(&path)]);
    assert_eq!(code, 1);
    assert!(said.contains("in use"), "{said}");
    let (code, said) = run(FSCK, &["-y", text(&path)]);
    assert_eq!(code, 8);
    assert!(said.contains("in use"), "{said}");
}

#[test]
fn fsck_exit_codes() {
    let scratch = Scratch::new();
    let path = scratch.image("image");
    let path = text(&path);
    assert_eq!(run(FSCK, &[path]).0, 0);
    assert_eq!(run(FSCK, &["-a", "-C0", path]).0, 0);
    assert_eq!(run(FSCK, &["-f", "-C", "-y", path]).0, 0);
    assert_eq!(run(FSCK, &["-n", "-y", path]).0, 16);
    assert_eq!(run(FSCK, &[]).0, 16);
    assert_eq!(run(FSCK, &["no such file"]).0, 8);

    let device = FileDevice::open(path).unwrap();
    device.zero(SUPER_BLOCK, 1).unwrap();
    drop(device);
    assert_eq!(run(FSCK, &["-y", path]).0, 1, "the copy takes its place");

    let device = FileDevice::open(path).unwrap();
    device.zero(SUPER_BLOCK, 1).unwrap();
    device.zero(device.blocks() - 1, 1).unwrap();
    drop(device);
    let (code, said) = run(FSCK, &["-y", path]);
    assert_eq!(code, 8);
    assert!(said.contains("no xv6 file system"), "{said}");
}

#[test]
fn damage_from_end_to_end() {
    let scratch = Scratch::new();
    let base = scratch.image("base");
    assert_eq!(run(POPULATE, &["--crashed", text(&base)]).0, 0);
    assert_eq!(run(FSCK, &["-f", "-n", text(&base)]).0, 0);
    let mut codes = Vec::new();
    for seed in 0..12 {
        let path = scratch.path("damaged");
        let (code, how) = run(MUTATE, &[&seed.to_string(), text(&base), text(&path)]);
        assert_eq!(code, 0, "{how}");
        let look = run(FSCK, &["-f", "-n", text(&path)]).0;
        // Nobody to ask: nothing is repaired.
        assert_eq!(run(FSCK, &["-f", text(&path)]).0, look, "{how}");
        let (code, said) = run(FSCK, &["-f", "-y", text(&path)]);
        match look {
            0 => assert_eq!(code, 0, "{how}{said}"),
            4 => assert_eq!(code, 1, "{how}{said}"),
            _ => assert_eq!(code, 8, "{how}{said}"),
        }
        if code != 8 {
            assert_eq!(run(FSCK, &["-f", "-n", text(&path)]).0, 0, "{how}{said}");
        }
        codes.push(look);
    }
    assert!(codes.contains(&4), "{codes:?}");
}

/// A user who wants to stop at pass 3.
struct Impatient(u32);

impl Ui for Impatient {
    fn line(&mut self, _text: &str) {}
    fn progress(&mut self, pass: u32, _done: u64, _total: u64) {
        self.0 = pass;
    }
    fn is_cancelled(&self) -> bool {
        self.0 >= 3
    }
}

#[test]
fn cancelled_check_writes_nothing() {
    let scratch = Scratch::new();
    let path = scratch.image("image");
    let device = FileDevice::open(&path).unwrap();
    let geometry = super_block_of(&device).geometry();
    let mut bitmap = image::read(&device, geometry.block_bitmap(0)).unwrap();
    bitmap[4000] ^= 1;
    device.write(geometry.block_bitmap(0), &bitmap[..]).unwrap();
    let before = fs::read(&path).unwrap();
    let options = FsckOptions {
        mode: Mode::Repair,
        force: true,
        verbose: false,
    };
    let failure = check(&device, &options, &mut Impatient(0), &mut |_| true).unwrap_err();
    assert!(failure.to_string().contains("cancelled"));
    assert!(fs::read(&path).unwrap() == before);
}

fn super_block_of(device: &dyn Device) -> SuperBlock {
    image::load(&image::read(device, SUPER_BLOCK).unwrap()[..], 0).unwrap()
}
