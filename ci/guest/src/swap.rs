// SPDX-License-Identifier: GPL-2.0

//! Three programs live on a mount while its version is replaced through sysfs. What `make demo` shows.
//!
//! One appends numbered records, each with fsync, and keeps their number in a mapped file; one streams
//! a file past the cache; one creates, reads and deletes. Each looks at all that it reads. For windows
//! with a swap and without one each tells the longest time in which it got nothing done.

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use clap::ValueEnum;
use std::fs;
use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::os::linux::fs::MetadataExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::Instant;

use crate::pattern;
use crate::sys;
use crate::upgrade::write_name;

const WINDOW: Duration = Duration::from_secs(2);
/// The mapped file.
const MAP: usize = 64 << 10;
const STREAM: u64 = 4 << 20;
const PIECE: usize = 64 << 10;

/// What a program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Program {
    Append,
    Stream,
    Churn,
}

fn record(number: u64) -> String {
    format!("record {number:08}\n")
}

/// What a program counts: how often it got something done, and the longest time between two such.
#[derive(Default)]
struct Meter {
    done: AtomicU64,
    longest: AtomicU64,
    stop: AtomicBool,
}

/// Does the program's work until standard input ends. Each line there asks for what was done since the
/// last one, and for the longest gap, in nanoseconds.
pub fn program(program: Program, dir: &Path) -> Result<()> {
    let meter = Meter::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in std::io::stdin().lines() {
                println!(
                    "{} {}",
                    meter.done.swap(0, Relaxed),
                    meter.longest.swap(0, Relaxed)
                );
            }
            meter.stop.store(true, Relaxed);
        });
        work(program, dir, &meter)
    })
}

fn work(program: Program, dir: &Path, meter: &Meter) -> Result<()> {
    let flags = libc::O_RDWR | libc::O_CREAT;
    let log = sys::open(dir.join("log"), flags | libc::O_APPEND, 0o644)?;
    let mapped = sys::open(dir.join("mapped"), flags, 0o644)?;
    mapped.set_len(MAP as u64)?;
    let mut map = sys::Map::shared(&mapped, MAP)?;
    let stream = sys::open(dir.join("stream"), libc::O_RDONLY | libc::O_DIRECT, 0)?;
    let mut piece = sys::Aligned::new(PIECE);
    let mut last = Instant::now();
    for n in 0_u64.. {
        if meter.stop.load(Relaxed) {
            break;
        }
        match program {
            Program::Append => {
                (&log).write_all(record(n).as_bytes())?;
                log.sync_all()?;
                map.write(n as usize * 8 % MAP, &(n + 1).to_le_bytes());
            }
            Program::Stream => {
                let at = n * PIECE as u64 % STREAM;
                stream.read_exact_at(&mut piece, at)?;
                ensure!(
                    pattern::first_wrong(1, at, &piece, false).is_none(),
                    "read at {at}"
                );
            }
            Program::Churn => {
                let (path, data) = (
                    dir.join(format!("file-{}", n % 50)),
                    pattern::bytes(n, 0, 5000),
                );
                fs::write(&path, &data)?;
                ensure!(fs::read(&path)? == data, "{}", path.display());
                fs::remove_file(&path)?;
            }
        }
        let now = Instant::now();
        meter
            .longest
            .fetch_max((now - last).as_nanos() as u64, Relaxed);
        meter.done.fetch_add(1, Relaxed);
        last = now;
    }
    Ok(())
}

/// A program that runs.
struct Running {
    what: Program,
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn start(what: Program, dir: &Path) -> Result<Self> {
        let name = what.to_possible_value().context("no name")?;
        let mut child = Command::new("/proc/self/exe")
            .args(["program", name.get_name()])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let answers = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self {
            what,
            child,
            answers,
        })
    }

    /// How often it got something done since this was last called, and the longest gap.
    fn read(&mut self) -> Result<(u64, Duration)> {
        let mut line = String::new();
        self.child
            .stdin
            .as_mut()
            .context("no input")?
            .write_all(b"\n")?;
        self.answers.read_line(&mut line)?;
        let (done, longest) = line.trim().split_once(' ').context("it has ended")?;
        Ok((done.parse()?, Duration::from_nanos(longest.parse()?)))
    }

    fn end(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        ensure!(self.child.wait()?.success(), "{:?} failed", self.what);
        Ok(())
    }
}

/// The directory in sysfs of the mount that `dir` is in.
fn object(dir: &Path) -> Result<PathBuf> {
    let device = fs::metadata(dir)?.st_dev();
    let (major, minor) = (libc::major(device), libc::minor(device));
    let device = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}"))?;
    Ok(Path::new("/sys/fs/bento/mounts").join(device.file_name().context("no name")?))
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// Replaces the version by each of `names` in turn while the programs run. Gives the number of records.
pub fn show(dir: &Path, names: &[&str]) -> Result<u64> {
    let object = object(dir)?;
    let value = |file| fs::read_to_string(object.join(file)).context(file);
    fs::write(dir.join("stream"), pattern::bytes(1, 0, STREAM as usize))?;
    File::open(dir)?.sync_all()?;
    let mut programs = Vec::new();
    for what in Program::value_variants() {
        programs.push(Running::start(*what, dir)?);
    }
    let mut window = |records: &mut u64| -> Result<Vec<(u64, Duration)>> {
        std::thread::sleep(WINDOW);
        let read = programs
            .iter_mut()
            .map(Running::read)
            .collect::<Result<Vec<_>>>()?;
        *records += read[0].0;
        Ok(read)
    };
    let mut records = 0;
    window(&mut records)?;
    for name in names {
        let without = window(&mut records)?;
        let from = value("implementation")?;
        write_name(&object.join("upgrade"), name).with_context(|| format!("to {name}"))?;
        let with = window(&mut records)?;
        ensure!(value("implementation")?.trim() == *name);
        let pause: u64 = value("last_pause_ns")?.trim().parse()?;
        let wait: u64 = value("last_longest_wait_ns")?.trim().parse()?;
        println!(
            "# {} -> {name}: pause {}, longest wait at the gate {}, {} retries",
            from.trim(),
            ms(Duration::from_nanos(pause)),
            ms(Duration::from_nanos(wait)),
            value("last_retries")?.trim()
        );
        for ((what, without), with) in Program::value_variants().iter().zip(without).zip(with) {
            ensure!(with.0 > 0, "{what:?} did nothing");
            println!(
                "#   {:8} longest gap {} with the swap, {} in {} s without",
                format!("{what:?}").to_lowercase(),
                ms(with.1),
                ms(without.1),
                WINDOW.as_secs()
            );
        }
    }
    for program in programs {
        program.end()?;
    }
    let records = check(dir, records)?;
    println!("# {records} records, none is missing");
    Ok(records)
}

/// Whether all records are there, at least so many, and the mapping tells their number.
pub fn check(dir: &Path, promised: u64) -> Result<u64> {
    let log = fs::read_to_string(dir.join("log"))?;
    let mut records = 0;
    for line in log.split_inclusive('\n') {
        ensure!(
            line == record(records),
            "`{line}` in place of record {records}"
        );
        records += 1;
    }
    ensure!(records >= promised, "{records} records of {promised}");
    let map = fs::read(dir.join("mapped"))?;
    let last = map.chunks_exact(8).filter_map(|b| b.try_into().ok());
    let last = last.map(u64::from_le_bytes).max();
    ensure!(
        last == Some(records),
        "the mapping says {last:?} of {records}"
    );
    Ok(records)
}
