// SPDX-License-Identifier: GPL-2.0

//! Damage that is met while the volume is in use: what `errors=` says, and what is left of it for fsck.

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use std::fs;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::time::Duration;

use super::expect;
use super::Case;
use super::Run;
use super::Skip;
use crate::damage;
use crate::fs as testfs;
use crate::fs::Small;
use crate::sys;

pub const CASES: &[(&str, Run)] = &[
    ("damage-continue", go_on),
    ("damage-remount-ro", stop),
    ("damage-shutdown-is-none", shut_down),
    ("damage-block-count", miscounted),
];

/// A volume with a broken file and a sound one, not mounted.
fn broken(case: &Case) -> Result<Small> {
    if case.kind != "xv6" {
        return Err(Skip("only xv6's blocks are known here").into());
    }
    let mut fs = case.small(32)?;
    fs::write(fs.path("sound"), b"sound")?;
    damage::fragmented(&fs.path("broken"))?;
    fs.umount()?;
    damage::break_block(fs.device().as_ref(), damage::EXTENTS)?;
    Ok(fs)
}

/// What the kernel logs of the mount while `run` runs.
fn logged<T>(what: &str, run: impl FnOnce() -> Result<T>) -> Result<(T, Vec<String>)> {
    let mark = format!("fstest: {what} {:?}", std::time::Instant::now());
    fs::write("/dev/kmsg", &mark)?;
    let value = run()?;
    let log = testfs::run("dmesg", &[])?;
    let (_, after) = log.rsplit_once(&mark).context("no mark in the log")?;
    Ok((
        value,
        after
            .lines()
            .filter(|line| line.contains("bento (") && line.contains("damaged"))
            .map(String::from)
            .collect(),
    ))
}

/// Every way to meet the damage, each more than once.
fn meet(fs: &Small) -> Result<()> {
    let path = fs.path("broken");
    for _ in 0..3 {
        let file = File::open(&path)?;
        let mut buffer = [0; 5];
        match file.read_at(&mut buffer, 0) {
            Err(e) if [libc::EUCLEAN, libc::EIO].contains(&sys::errno(&e)) => {}
            other => bail!("buffered read: {other:?}"),
        }
        expect(
            sys::seek(&file, 0, libc::SEEK_HOLE),
            libc::EUCLEAN,
            "SEEK_HOLE",
        )?;
        let direct = File::options()
            .read(true)
            .custom_flags(libc::O_DIRECT)
            .open(&path)?;
        let mut block = sys::Aligned::new(4096);
        expect(
            direct.read_at(&mut block, 0),
            libc::EUCLEAN,
            "O_DIRECT read",
        )?;
        sys::drop_caches()?;
    }
    ensure!(fs::read(fs.path("sound"))? == b"sound");
    Ok(())
}

/// What fsck says when it is not told to look at a clean volume, too; it must find something.
fn noticed(device: &str) -> Result<String> {
    let output = Command::new("fsck.xv6").args(["-n", device]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.code() == Some(4),
        "fsck -n: {}: {text}",
        output.status
    );
    Ok(text)
}

/// fsck takes the damage and its mark away, and the sound file stays.
fn repair(mut fs: Small) -> Result<()> {
    let output = Command::new("fsck.xv6")
        .args(["-y", fs.device()])
        .output()?;
    ensure!(
        output.status.code() == Some(1),
        "fsck -y: {}",
        output.status
    );
    fs.mount("")?;
    ensure!(fs::read(fs.path("sound"))? == b"sound");
    fs.finish()
}

/// `errors=continue`: the operation fails, the rest goes on, and the volume is marked at once.
fn go_on(case: &Case) -> Result<()> {
    let mut fs = broken(case)?;
    fs.mount("errors=continue")?;
    let ((), said) = logged("continue", || meet(&fs))?;
    ensure!(said.len() == 1, "logged {} times: {said:#?}", said.len());
    fs::write(fs.path("new"), b"new")?;
    expect(
        File::options()
            .write(true)
            .open(fs.path("broken"))?
            .set_len(1),
        libc::EUCLEAN,
        "truncate",
    )?;
    // A crash soon afterwards does not forget it
    std::thread::sleep(Duration::from_millis(500));
    sys::syncfs(&File::open(&fs.dir)?)?;
    fs.crash_image(&case.scratch, "continue-c")?;
    let image = case.scratch.join("continue-c.img").display().to_string();
    let text = noticed(&image).context("after a crash")?;
    ensure!(text.contains("marked as damaged"), "after a crash: {text}");
    // Nor does an unmount, nor a mount on which the damage is not met
    for round in ["first", "second"] {
        fs.umount()?;
        let text = noticed(fs.device()).context(round)?;
        ensure!(text.contains("marked as damaged"), "{round}: {text}");
        fs.mount("errors=continue")?;
        ensure!(fs::read(fs.path("new"))? == b"new");
    }
    fs.umount()?;
    repair(fs)
}

/// `errors=remount-ro`: nothing is written from then on, and the journal tells the next mount why.
fn stop(case: &Case) -> Result<()> {
    let mut fs = broken(case)?;
    fs.mount("errors=remount-ro")?;
    let mut open = File::options().append(true).open(fs.path("sound"))?;
    fs::write(fs.path("new"), b"new")?;
    sys::syncfs(&File::open(&fs.dir)?)?;
    let ((), said) = logged("remount-ro", || meet(&fs))?;
    ensure!(said.len() == 1, "logged {} times: {said:#?}", said.len());
    expect(File::create(fs.path("more")), libc::EROFS, "create")?;
    expect(fs::create_dir(fs.path("dir")), libc::EROFS, "mkdir")?;
    expect(fs::remove_file(fs.path("new")), libc::EROFS, "unlink")?;
    expect(
        fs::rename(fs.path("new"), fs.path("other")),
        libc::EROFS,
        "rename",
    )?;
    expect(open.write(b"x"), libc::EROFS, "write")?;
    expect(open.set_len(0), libc::EROFS, "truncate")?;
    expect(
        sys::fallocate(&open, 0, 0, 1 << 20),
        libc::EROFS,
        "fallocate",
    )?;
    expect(fs.remount(0, ""), libc::EROFS, "remount rw")?;
    ensure!(fs::read(fs.path("new"))? == b"new");
    ensure!(fs::read(fs.path("sound"))? == b"sound");
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let dir = fs.dir.display().to_string();
    let line = mounts
        .lines()
        .find(|line| line.contains(&dir))
        .context("no line in mountinfo")?;
    ensure!(line.contains("emergency_ro"), "{line}");
    drop(open);
    fs.umount()?;
    let text = noticed(fs.device()).context("after umount")?;
    ensure!(text.contains("aborted"), "after umount: {text}");
    // A read-only mount changes nothing about that
    fs.mount_flags(libc::MS_RDONLY, "")?;
    ensure!(fs::read(fs.path("new"))? == b"new");
    fs.umount()?;
    let text = noticed(fs.device()).context("after a read-only mount")?;
    ensure!(text.contains("aborted"), "after a read-only mount: {text}");
    // One that writes takes it from the journal to the volume
    fs.mount("")?;
    fs.umount()?;
    let text = noticed(fs.device()).context("after another mount")?;
    ensure!(
        text.contains("marked as damaged"),
        "after another mount: {text}"
    );
    repair(fs)
}

/// A shutdown is asked for: it is no reason for fsck to look.
fn shut_down(case: &Case) -> Result<()> {
    const FS_IOC_SHUTDOWN: u64 = sys::ioc(2, b'X', 125, 4);
    let mut fs = case.small(32)?;
    fs::write(fs.path("file"), b"file")?;
    let dir = File::open(&fs.dir)?;
    sys::syncfs(&dir)?;
    let mut how = 2_u32;
    sys::ioctl(&dir, FS_IOC_SHUTDOWN, &mut how).context("FS_IOC_SHUTDOWN")?;
    drop(dir);
    fs.umount()?;
    testfs::fsck(&case.kind, fs.device())?;
    fs.mount("")?;
    ensure!(fs::read(fs.path("file"))? == b"file");
    fs.finish()
}

/// A record that counts fewer blocks than the file has: to free them is refused, and the count does not
/// wrap around.
fn miscounted(case: &Case) -> Result<()> {
    if case.kind != "xv6" {
        return Err(Skip("only xv6's records are known here").into());
    }
    for counted in [1, 0] {
        let mut fs = case.small(32)?;
        fs::write(fs.path("sound"), b"sound")?;
        fs::write(fs.path("broken"), vec![b'x'; 10 * 4096])?;
        let ino = fs::metadata(fs.path("broken"))?.ino();
        fs.umount()?;
        damage::count_blocks(fs.device().as_ref(), ino, counted)?;
        fs.mount("errors=continue")?;
        let path = fs.path("broken");
        if counted == 0 {
            expect(fs::metadata(&path), libc::EUCLEAN, "stat")?;
        } else {
            let file = File::options().write(true).open(&path)?;
            expect(file.set_len(5 * 4096), libc::EUCLEAN, "truncate")?;
            let says = file.metadata()?.blocks();
            ensure!(says <= 80, "{says} sectors");
        }
        fs.umount()?;
        let text = noticed(fs.device())?;
        ensure!(text.contains(&format!("says {counted} blocks")), "{text}");
        repair(fs)?;
    }
    Ok(())
}
