// SPDX-License-Identifier: GPL-2.0

//! What is refused: with a sentence, a status, and nothing written.

mod common;

use common::{
    can_mount,
    World, //
};
use kernel::user::device::{
    Device,
    FileDevice, //
};
use rustix::fs::{
    fcntl_lock,
    FlockOperation, //
};
use std::{
    fs,
    io::{
        BufRead,
        BufReader, //
    },
    os::unix::fs::{
        FileExt,
        PermissionsExt, //
    },
    path::Path,
    process::{
        Command,
        Stdio, //
    },
};

/// Expects that an image is refused with such a sentence, and stays as it is.
fn refuses(world: &World, image: &Path, options: &str, sentence: &str) {
    let before = fs::read(image).ok();
    let (status, said) = world.refused(image, options);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains(sentence), "not `{sentence}` but: {said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert!(said.starts_with("bento-fuse: "), "{said}");
    assert!(fs::read(image).ok() == before, "{said}: written to");
}

#[test]
fn what_is_no_volume() {
    let world = World::new();
    let other = world.path("other");
    refuses(&world, &other, "", "No such file");
    fs::write(&other, b"").expect("write");
    refuses(&world, &other, "", "is empty");
    fs::write(&other, vec![0; 1 << 20]).expect("write");
    refuses(&world, &other, "", "cannot be mounted: ");
    fs::write(&other, vec![0xa5; 1 << 20]).expect("write");
    refuses(&world, &other, "", "cannot be mounted: ");
    refuses(&world, &world.point(), "", "neither an image file nor");
    refuses(&world, Path::new("/dev/null"), "", "neither an image file");
}

#[test]
fn a_volume_that_was_cut_off() {
    let world = World::new();
    for blocks in [1, 2, 100, 16383] {
        let image = fs::OpenOptions::new()
            .write(true)
            .open(world.image())
            .expect("image");
        image.set_len(blocks * 4096).expect("set_len");
        refuses(&world, &world.image(), "", "cannot be mounted: ");
        image.set_len(16384 * 4096).expect("set_len");
    }
}

#[test]
fn a_damaged_super_block() {
    let world = World::new();
    let image = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(world.image())
        .expect("image");
    let mut byte = [0];
    image.read_exact_at(&mut byte, 4096 + 100).expect("read");
    image
        .write_all_at(&[byte[0] ^ 0x40], 4096 + 100)
        .expect("write");
    refuses(&world, &world.image(), "", "cannot be mounted: ");
}

#[test]
fn bad_options_and_mount_points() {
    let world = World::new();
    let image = world.image();
    refuses(&world, &image, "colour=red", "unknown option 'colour'");
    refuses(&world, &image, "threads=0", "threads=0: expected a number");
    refuses(&world, &image, "impl=none", "impl=none");
    fs::remove_dir(world.point()).expect("rmdir");
    refuses(&world, &image, "", "No such file");
    fs::write(world.point(), b"").expect("write");
    refuses(&world, &image, "", "not a directory");
}

#[test]
fn a_second_server() {
    if !can_mount() {
        return;
    }
    let world = World::new();
    let server = world.serve("");
    fs::write(world.point().join("file"), b"content").expect("write");
    let second = world.path("second");
    fs::create_dir(&second).expect("mkdir");
    for options in ["rw", "ro"] {
        let output = Command::new(env!("CARGO_BIN_EXE_bento-fuse"))
            .args(["-f", "-o", options])
            .arg(world.image())
            .arg(&second)
            .output()
            .expect("server");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("is in use"), "{said}");
    }
    let content = fs::read(world.point().join("file")).expect("read");
    assert_eq!(content, b"content");
    server.umount();
    assert!(world.is_clean());
}

/// A virtual machine has a lock of the other kind than this project's programs.
#[test]
fn an_image_with_a_record_lock() {
    // In this process the lock would not be in the way of the server's own: it is another process.
    let world = World::new();
    let image = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(world.image())
        .expect("image");
    fcntl_lock(&image, FlockOperation::NonBlockingLockShared).expect("lock");
    let (status, said) = world.refused(&world.image(), "");
    assert_eq!(status, Some(1));
    assert!(said.contains("is in use"), "{said}");
}

#[test]
fn a_server_in_the_background_hands_its_status_on() {
    let world = World::new();
    let output = Command::new(env!("CARGO_BIN_EXE_bento-fuse"))
        .arg(world.path("none"))
        .arg(world.point())
        .output()
        .expect("server");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("No such file"), "{said}");
}

/// Root may write to anything, so another user asks.
#[test]
fn an_image_that_may_only_be_read() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: becoming another user needs root");
        return;
    }
    let world = World::new();
    for (path, mode) in [
        (world.path(""), 0o755),
        (world.point(), 0o777),
        (world.image(), 0o444),
    ] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    }
    use std::os::unix::process::CommandExt;
    let program = world.path("bento-fuse");
    fs::copy(env!("CARGO_BIN_EXE_bento-fuse"), &program).expect("copy");
    let mut child = Command::new(program)
        .arg("-f")
        .arg(world.image())
        .arg(world.point())
        .uid(65534)
        .gid(65534)
        .stderr(Stdio::piped())
        .spawn()
        .expect("server");
    let mut said = String::new();
    let stderr = child.stderr.take().expect("piped");
    BufReader::new(stderr).read_line(&mut said).expect("read");
    assert_eq!(child.wait().expect("wait").code(), Some(1));
    assert!(said.contains("-o ro mounts it for reading"), "{said}");
    // The image was not touched, so it can be opened and is whole.
    let device = FileDevice::open_read_only(world.image()).expect("image");
    assert_eq!(device.blocks(), 16384);
    assert!(world.is_clean());
}
