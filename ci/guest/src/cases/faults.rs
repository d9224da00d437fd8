// SPDX-License-Identifier: GPL-2.0

//! Memory that is refused, allocation by allocation: each operation is done or not done, never half.
//!
//! `/proc/thread-self/fail-nth` makes the n-th allocation of a task fail. Each operation runs with n = 1, 2, 3
//! and so on until it asks for less than n, in a warm and in a cold cache; then the volume is checked. The short
//! form leaves more and more out as n grows. What runs under it makes system calls only: a fault in this
//! program's own memory would say nothing.

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use std::fs;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use super::Case;
use super::Run;
use super::Skip;
use crate::fs::Small;
use crate::sys;

mod data;
mod names;
mod upgrade;

pub const CASES: &[(&str, Run)] = &[
    ("fault-names", names::come),
    ("fault-removal", names::go),
    ("fault-attributes", data::attributes),
    ("fault-fallocate", data::fallocate),
    ("fault-data", data::written),
    ("fault-mapped", data::mapped),
    ("fault-fsync", data::fsync),
    ("fault-reading", reading),
    ("fault-mount", mount),
    ("upgrade-faults", upgrade::upgrade),
];

/// Whether each allocation has its turn.
static EACH: AtomicBool = AtomicBool::new(false);

/// The allocation whose turn it is after `n`.
fn after(n: u32) -> u32 {
    match EACH.load(Ordering::Relaxed) {
        true => n + 1,
        false => n + 1 + n / 8,
    }
}

/// No operation asks for memory so often.
const MOST: u32 = 3_000;

/// The faults of this thread.
struct FailNth(File);

impl FailNth {
    fn new() -> Result<Self> {
        let Ok(file) = File::options()
            .read(true)
            .write(true)
            .open("/proc/thread-self/fail-nth")
        else {
            return Err(Skip(
                "no /proc/thread-self/fail-nth: it takes CONFIG_FAULT_INJECTION_DEBUG_FS",
            )
            .into());
        };
        let debug = Path::new("/sys/kernel/debug");
        for (knob, value) in [
            // Without these only the few allocations that may not wait would fail
            ("failslab/ignore-gfp-wait", "N"),
            ("fail_page_alloc/ignore-gfp-wait", "N"),
            ("fail_page_alloc/ignore-gfp-highmem", "N"),
            ("fail_page_alloc/min-order", "0"),
            ("failslab/verbose", "0"),
            ("fail_page_alloc/verbose", "0"),
        ] {
            fs::write(debug.join(knob), value).context(knob)?;
        }
        Ok(Self(file))
    }

    /// Runs `run` while allocation `n` fails; whether it was reached.
    fn run(&self, n: u32, run: impl FnOnce() -> i64) -> Result<(i64, bool)> {
        let text = n.to_string();
        let mut left = [0; 16];
        self.0.write_at(text.as_bytes(), 0)?;
        let result = run();
        let len = self.0.read_at(&mut left, 0)?;
        self.0.write_at(b"0", 0)?;
        let left = std::str::from_utf8(&left[..len])?.trim();
        Ok((result, left == "0"))
    }
}

/// The result of a system call, or minus the errno.
fn call(result: impl Into<i64>) -> i64 {
    match result.into() {
        -1 => -i64::from(sys::errno(&io::Error::last_os_error())),
        result => result,
    }
}

type Operation<'a> = Box<dyn FnOnce() -> i64 + 'a>;

/// Runs an operation with every allocation refused once. `prepare` makes what it needs, `check` gets the
/// result (0 and above, or `-ENOMEM`), sees that it is true, and clears away.
fn walk(
    fs: &mut Small,
    name: &str,
    prepare: impl Fn(&Small) -> Result<Operation<'static>>,
    check: impl Fn(&Small, i64) -> Result<()>,
) -> Result<()> {
    let nth = FailNth::new()?;
    let (mut faults, mut failed) = (0, 0);
    for cold in [false, true] {
        let mut n = 1;
        loop {
            let tag = || {
                format!(
                    "{name}, allocation {n}, {}",
                    if cold { "cold" } else { "warm" }
                )
            };
            let run = prepare(fs).with_context(tag)?;
            if cold {
                sys::syncfs(&File::open(&fs.dir)?)?;
                sys::drop_caches()?;
            }
            let (result, hit) = nth.run(n, run)?;
            ensure!(
                result >= 0 || result == -i64::from(libc::ENOMEM),
                "{}: {}",
                tag(),
                io::Error::from_raw_os_error(-result as i32)
            );
            ensure!(hit || result >= 0, "{}: fails without a fault", tag());
            check(fs, result).with_context(tag)?;
            faults += u32::from(hit);
            failed += u32::from(result < 0);
            if !hit {
                break;
            }
            ensure!(n < MOST, "{}: there is no end", tag());
            n = after(n);
        }
    }
    ensure!(faults > 0, "{name}: no fault was reached");
    println!("# {name}: {faults} faults, {failed} of them seen");
    fs.cycle().with_context(|| format!("after {name}"))
}

/// Whether there is something of this name.
fn exists(path: &Path) -> Result<bool> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e).context(path.display().to_string()),
    }
}

/// That `path` is there exactly if `wanted`.
fn there(path: &Path, wanted: bool) -> Result<()> {
    ensure!(
        exists(path)? == wanted,
        "{} is {}there",
        path.display(),
        if wanted { "not " } else { "" }
    );
    Ok(())
}

fn content(path: &Path, wanted: &[u8]) -> Result<()> {
    let found = fs::read(path)?;
    let differs = found.iter().zip(wanted).position(|(a, b)| a != b);
    ensure!(
        found == wanted,
        "{}: {} bytes, not {}; they differ from byte {differs:?} on",
        path.display(),
        found.len(),
        wanted.len()
    );
    Ok(())
}

/// A volume with a directory of several blocks.
fn volume(case: &Case) -> Result<Small> {
    FailNth::new()?;
    EACH.store(case.long, Ordering::Relaxed);
    let fs = case.small(48)?;
    fs::create_dir_all(fs.path("dir/sub"))?;
    fs::create_dir(fs.path("other"))?;
    for n in 0..400 {
        fs::write(
            fs.path(&format!(
                "dir/an entry of a directory of several blocks {n}"
            )),
            b"",
        )?;
    }
    Ok(fs)
}

/// What is read is right or not there.
fn reading(case: &Case) -> Result<()> {
    let mut fs = volume(case)?;
    let entries = fs::read_dir(fs.path("dir"))?.count() as i64;
    crate::damage::fragmented(&fs.path("dir/file"))?;
    let entries = entries + 1 + 2;
    walk(
        &mut fs,
        "readdir",
        |fs| {
            let dir = sys::cstring(fs.path("dir"));
            let mut buffer = vec![0_u8; 4096];
            Ok(Box::new(move || {
                // SAFETY: Valid buffers; what the kernel fills in is read inside its length.
                unsafe {
                    let fd = libc::open(dir.as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY);
                    if fd < 0 {
                        return call(fd);
                    }
                    let mut found = 0;
                    let result = loop {
                        let len = call(libc::syscall(
                            libc::SYS_getdents64,
                            fd,
                            buffer.as_mut_ptr(),
                            buffer.len(),
                        ));
                        if len <= 0 {
                            break len;
                        }
                        let mut at = 0;
                        while at < len as usize {
                            let size = [buffer[at + 16], buffer[at + 17]];
                            at += usize::from(u16::from_le_bytes(size));
                            found += 1;
                        }
                    };
                    libc::close(fd);
                    if result < 0 {
                        result
                    } else {
                        found
                    }
                }
            }))
        },
        |_, result| {
            ensure!(
                result < 0 || result == entries,
                "{result} of {entries} entries"
            );
            Ok(())
        },
    )?;
    walk(
        &mut fs,
        "lookup and read",
        |fs| {
            let path = sys::cstring(fs.path("dir/file"));
            let mut buffer = vec![0_u8; 100_000];
            Ok(Box::new(move || {
                // SAFETY: Valid string and buffer.
                unsafe {
                    let fd = libc::open(path.as_ptr(), libc::O_RDONLY);
                    if fd < 0 {
                        return call(fd);
                    }
                    let len = call(libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) as i64);
                    libc::close(fd);
                    let right = |(at, byte): (usize, &u8)| match at % 8192 {
                        in_piece @ 0..5 => *byte == b"piece"[in_piece],
                        _ => *byte == 0,
                    };
                    match len {
                        1.. if !buffer[..len as usize].iter().enumerate().all(right) => {
                            -i64::from(libc::EBADMSG)
                        }
                        len => len,
                    }
                }
            }))
        },
        |_, result| {
            ensure!(result != 0, "an empty file");
            Ok(())
        },
    )?;
    fs.finish()
}

/// Mounts and unmounts.
fn mount(case: &Case) -> Result<()> {
    let nth = FailNth::new()?;
    let mut fs = volume(case)?;
    fs::write(fs.path("file"), b"there")?;
    for (name, dirty) in [("mount", false), ("mount after a crash", true)] {
        let (mut faults, mut failed) = (0, 0);
        let mut n = 1;
        loop {
            if dirty {
                // What is left is a journal to replay and an orphan
                let open = File::create(fs.path("orphan"))?;
                open.write_all_at(&[1; 30_000], 0)?;
                fs::remove_file(fs.path("orphan"))?;
                sys::syncfs(&open)?;
                fs.crash_image(&case.scratch, "fault-mount-c")?;
            }
            let mut copy = None;
            let at = if dirty {
                copy.insert(Small::attach(&case.kind, &case.scratch, "fault-mount-c")?)
            } else {
                fs.umount()?;
                &mut fs
            };
            let (device, dir) = (sys::cstring(at.device()), sys::cstring(&at.dir));
            let (kind, none) = (sys::cstring(&case.kind), sys::cstring(""));
            let (result, hit) = nth.run(n, || {
                // SAFETY: Valid strings.
                call(unsafe {
                    libc::mount(
                        device.as_ptr(),
                        dir.as_ptr(),
                        kind.as_ptr(),
                        0,
                        none.as_ptr().cast(),
                    )
                })
            })?;
            ensure!(
                result == 0 || hit && result == -i64::from(libc::ENOMEM),
                "{name}, allocation {n}: {result}"
            );
            faults += u32::from(hit);
            failed += u32::from(result < 0);
            if result < 0 {
                at.mount("")
                    .with_context(|| format!("{name}, after allocation {n}"))?;
            } else {
                at.set_mounted();
            }
            content(&at.path("file"), b"there")?;
            if let Some(copy) = copy {
                copy.finish()
                    .with_context(|| format!("{name}, allocation {n}"))?;
            }
            if !hit {
                break;
            }
            ensure!(n < MOST, "{name}: there is no end");
            n = after(n);
        }
        ensure!(faults > 0, "{name}: no fault was reached");
        println!("# {name}: {faults} faults, {failed} of them seen");
        fs.cycle().context(name)?;
    }
    // An umount that meets one does not fail, but may leave a journal to replay
    let mut faults = 0;
    for n in 1..MOST {
        fs::write(fs.path("file"), b"there")?;
        let dir = sys::cstring(&fs.dir);
        // SAFETY: A valid string.
        let (result, hit) = nth.run(n, || call(unsafe { libc::umount2(dir.as_ptr(), 0) }))?;
        ensure!(result == 0 || hit, "umount, allocation {n}: {result}");
        if result < 0 {
            fs.umount()?;
        }
        fs.mount("")
            .with_context(|| format!("after umount, allocation {n}"))?;
        content(&fs.path("file"), b"there").with_context(|| format!("umount, allocation {n}"))?;
        if !hit {
            break;
        }
        faults += 1;
    }
    println!("# umount: {faults} faults");
    fs.finish()
}
