// SPDX-License-Identifier: GPL-2.0

//! What a mount does that the suite of all file systems does not ask for: its beginning, its end,
//! and what lies between FUSE and the mount in user space.

mod common;

use common::{
    can_mount,
    is_mounted,
    World, //
};
use rustix::{
    fs::{
        seek,
        utimensat,
        AtFlags,
        SeekFrom,
        Timespec,
        Timestamps,
        CWD, //
    },
    io::Errno,
    process::Signal, //
};
use std::{
    collections::BTreeSet,
    fs,
    io::{
        Read,
        Seek,
        Write, //
    },
    os::unix::fs::{
        FileExt,
        MetadataExt, //
    },
    process::{
        Command,
        Stdio, //
    },
    thread,
    time::Duration, //
};

#[test]
fn umount_ends_the_server_and_leaves_a_clean_volume() {
    if !can_mount() {
        return;
    }
    let world = World::new();
    let server = world.serve("");
    fs::create_dir(world.point().join("dir")).expect("mkdir");
    fs::write(world.point().join("dir/file"), b"content").expect("write");
    server.umount();
    assert!(world.is_clean());
    world.check();
    let server = world.serve("");
    let content = fs::read(world.point().join("dir/file")).expect("read");
    assert_eq!(content, b"content");
    server.umount();
}

#[test]
fn signals_unmount() {
    if !can_mount() {
        return;
    }
    for signal in [Signal::INT, Signal::TERM] {
        let world = World::new();
        let mut server = world.serve("");
        fs::write(world.point().join("file"), b"content").expect("write");
        server.signal(signal);
        assert!(server.wait().success());
        assert!(!is_mounted(&world.point()));
        assert!(world.is_clean());
        world.check();
    }
}

#[test]
fn a_signal_lets_open_files_work_on() {
    if !can_mount() {
        return;
    }
    let world = World::new();
    let mut server = world.serve("");
    let mut file = fs::File::create_new(world.point().join("file")).expect("create");
    file.write_all(b"before").expect("write");
    server.signal(Signal::TERM);
    while is_mounted(&world.point()) {
        thread::sleep(Duration::from_millis(5));
    }
    file.write_all(b" and after").expect("write");
    file.sync_all().expect("fsync");
    assert!(server.is_running());
    drop(file);
    assert!(server.wait().success());
    assert!(world.is_clean());
    let server = world.serve("");
    let content = fs::read(world.point().join("file")).expect("read");
    assert_eq!(content, b"before and after");
    server.umount();
}

#[test]
fn a_second_signal_does_not_wait() {
    if !can_mount() {
        return;
    }
    let world = World::new();
    let mut server = world.serve("");
    let file = fs::File::create_new(world.point().join("file")).expect("create");
    // Without a name and open: it must be freed all the same.
    fs::remove_file(world.point().join("file")).expect("unlink");
    file.write_all_at(&[7; 100_000], 0).expect("write");
    file.sync_all().expect("fsync");
    server.signal(Signal::TERM);
    while is_mounted(&world.point()) {
        thread::sleep(Duration::from_millis(5));
    }
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    assert!(file.metadata().is_err() || file.read_at(&mut [0; 10], 0).is_err());
    assert!(world.is_clean());
    assert_eq!(world.check().orphans, 0);
}

#[test]
fn what_fsync_promised_is_there_after_a_kill() {
    if !can_mount() {
        return;
    }
    let world = World::new();
    let mut server = world.serve("");
    let file = fs::File::create_new(world.point().join("file")).expect("create");
    file.write_all_at(b"promised", 5000).expect("write");
    file.sync_all().expect("fsync");
    server.signal(Signal::KILL);
    server.wait();
    drop(file);
    drop(server);
    assert!(!world.is_clean());
    world.check();
    let server = world.serve("");
    let content = fs::read(world.point().join("file")).expect("read");
    assert_eq!(&content[5000..], b"promised");
    server.umount();
    assert!(world.is_clean());
}

#[test]
fn in_the_background_it_returns_when_it_is_mounted() {
    if !can_mount() {
        return;
    }
    let world = World::new();
    let log = world.path("log");
    let output = Command::new(env!("CARGO_BIN_EXE_bento-fuse"))
        .arg(world.image())
        .arg(world.point())
        .args(["-o", &format!("log={}", log.display())])
        .stdin(Stdio::null())
        .output()
        .expect("server");
    assert!(output.status.success());
    assert!(is_mounted(&world.point()));
    fs::write(world.point().join("file"), b"content").expect("write");
    let busy = fs::File::open(world.point()).expect("open");
    rustix::mount::unmount(world.point(), rustix::mount::UnmountFlags::DETACH).expect("umount");
    drop(busy);
    // Nobody waits for it: its lock goes when it does.
    for _ in 0..1000 {
        if kernel::user::device::FileDevice::open(world.image()).is_ok() {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert!(world.is_clean());
    assert!(log.exists());
}

#[test]
fn a_read_only_mount_writes_nothing() {
    if !can_mount() {
        return;
    }
    let world = World::new();
    let server = world.serve("");
    fs::write(world.point().join("file"), b"content").expect("write");
    server.umount();
    let before = fs::read(world.image()).expect("image");
    let server = world.serve("ro");
    assert_eq!(
        fs::read(world.point().join("file")).expect("read"),
        b"content"
    );
    let refused = fs::write(world.point().join("file"), b"x").expect_err("read-only");
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    server.umount();
    assert!(fs::read(world.image()).expect("image") == before);
}

#[test]
fn a_read_only_mount_replays_what_a_crash_left() {
    if !can_mount() {
        return;
    }
    let world = World::new();
    let mut server = world.serve("");
    let file = fs::File::create_new(world.point().join("file")).expect("create");
    file.sync_all().expect("fsync");
    server.signal(Signal::KILL);
    server.wait();
    drop(file);
    drop(server);
    let server = world.serve("ro");
    assert!(world.point().join("file").exists());
    server.umount();
}

/// The kernel has the data in its cache, and the server does not.
#[test]
fn holes_are_found_behind_unwritten_pages() {
    if !can_mount() {
        return;
    }
    let world = World::new();
    let server = world.serve("");
    let mut file = fs::File::create_new(world.point().join("file")).expect("create");
    file.write_all_at(&[1; 4096], 1 << 20).expect("write");
    assert_eq!(seek(&file, SeekFrom::Data(0)), Ok(1 << 20));
    assert_eq!(seek(&file, SeekFrom::Hole(1 << 20)), Ok((1 << 20) + 4096));
    assert_eq!(seek(&file, SeekFrom::Data(2 << 20)), Err(Errno::NXIO));
    file.rewind().expect("seek");
    let mut content = Vec::new();
    file.read_to_end(&mut content).expect("read");
    assert_eq!(content[1 << 20..], [1; 4096]);
    drop(file);
    server.umount();
}

/// More searches at a time than the server has threads.
#[test]
fn many_searches_do_not_block_the_server() {
    if !can_mount() {
        return;
    }
    let world = World::new();
    let server = world.serve("threads=2");
    thread::scope(|scope| {
        for number in 0..8 {
            let path = world.point().join(format!("file-{number}"));
            scope.spawn(move || {
                let file = fs::File::create_new(path).expect("create");
                for round in 1..20 {
                    let at = round << 16;
                    file.write_all_at(&[1; 4096], at).expect("write");
                    assert_eq!(seek(&file, SeekFrom::Data(at - 4096)), Ok(at));
                }
            });
        }
    });
    server.umount();
    world.check();
}

#[test]
fn times_before_1970_keep_their_nanoseconds() {
    if !can_mount() {
        return;
    }
    let world = World::new();
    let server = world.serve("");
    let path = world.point().join("file");
    fs::write(&path, b"").expect("write");
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: time(-1, 500_000_000),
        last_modification: time(-100, 7),
    };
    utimensat(CWD, &path, &times, AtFlags::empty()).expect("utimensat");
    server.umount();
    let server = world.serve("");
    let stat = fs::metadata(&path).expect("stat");
    assert_eq!((stat.atime(), stat.atime_nsec()), (-1, 500_000_000));
    assert_eq!((stat.mtime(), stat.mtime_nsec()), (-100, 7));
    server.umount();
}

#[test]
fn space_of_an_unlinked_file_returns_when_it_is_closed() {
    if !can_mount() {
        return;
    }
    let world = World::new();
    let server = world.serve("");
    let free = || rustix::fs::statvfs(world.point()).expect("statvfs");
    let path = world.point().join("file");
    let file = fs::File::create_new(&path).expect("create");
    file.sync_all().expect("fsync");
    let before = free();
    file.write_all_at(&[1; 1 << 20], 0).expect("write");
    file.sync_all().expect("fsync");
    fs::remove_file(&path).expect("unlink");
    let mut byte = [0];
    assert_eq!(file.read_at(&mut byte, 1000).expect("read"), 1);
    assert_eq!(byte, [1]);
    // The directory may have given a block back.
    assert!(free().f_bfree + 200 <= before.f_bfree);
    drop(file);
    let after = free();
    assert!(after.f_bfree >= before.f_bfree);
    assert_eq!(after.f_ffree, before.f_ffree + 1);
    server.umount();
    world.check();
}

/// Threads that make, write, rename and remove in the same directories.
#[test]
fn threads_do_not_disturb_each_other() {
    if !can_mount() {
        return;
    }
    const ROUNDS: u32 = 40;
    let world = World::with_blocks(65536);
    let server = world.serve("allow_other");
    let shared = world.point().join("shared");
    fs::create_dir(&shared).expect("mkdir");
    thread::scope(|scope| {
        for number in 0..6u8 {
            let shared = &shared;
            let own = world.point().join(format!("own-{number}"));
            scope.spawn(move || {
                fs::create_dir(&own).expect("mkdir");
                for round in 0..ROUNDS {
                    let name = format!("file-{number}-{round}");
                    let content = vec![number; 1000 * round as usize];
                    fs::write(own.join(&name), &content).expect("write");
                    if round % 8 == 0 {
                        let file = fs::File::open(own.join(&name)).expect("open");
                        file.sync_all().expect("fsync");
                    }
                    fs::rename(own.join(&name), shared.join(&name)).expect("rename");
                    assert!(fs::read(shared.join(&name)).expect("read") == content);
                    if round % 3 == 0 {
                        fs::remove_file(shared.join(&name)).expect("unlink");
                    }
                }
            });
        }
    });
    let left: BTreeSet<_> = fs::read_dir(&shared)
        .expect("readdir")
        .map(|entry| entry.expect("entry").file_name())
        .collect();
    assert_eq!(left.len() as u32, 6 * (ROUNDS - ROUNDS.div_ceil(3)));
    server.umount();
    assert!(world.is_clean());
    world.check();
}
