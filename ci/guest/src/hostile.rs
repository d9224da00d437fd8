// SPDX-License-Identifier: GPL-2.0

//! Damaged images. Whatever they hold, the kernel may refuse it or answer with errors, but must not
//! crash, hang or warn: that is seen in its log, by who starts the machine.

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::ChildStdin;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crate::pattern::Rng;
use crate::sys;

#[derive(clap::Args)]
pub struct Args {
    #[arg(long)]
    fs: String,
    #[arg(long, default_value = "/tmp/fstest")]
    scratch: PathBuf,
    /// An image that is sound
    image: PathBuf,
    /// A program that is called with - IN OUT, reads a seed a line, makes a damaged copy for it and answers
    /// with one line; without it, some bytes are changed
    #[arg(long)]
    mutate: Option<PathBuf>,
    #[arg(long, default_value_t = 1)]
    first: u64,
    #[arg(long, default_value_t = 200)]
    number: u64,
    /// Seconds that one image may take
    #[arg(long, default_value_t = 60)]
    limit: u64,
    /// Images that are mounted at the same time
    #[arg(long, default_value_t = 2)]
    jobs: u64,
}

/// How often each outcome was seen.
#[derive(Default)]
struct Seen {
    refused: BTreeMap<i32, u64>,
    errors: BTreeMap<i32, u64>,
    mounted: u64,
    clean: u64,
    /// Where the time went: damaging, mounting, reading, changing, unmounting.
    spent: [Duration; 5],
}

impl Seen {
    fn add(&mut self, other: Self) {
        for (mine, others) in [
            (&mut self.refused, other.refused),
            (&mut self.errors, other.errors),
        ] {
            for (errno, n) in others {
                *mine.entry(errno).or_default() += n;
            }
        }
        self.mounted += other.mounted;
        self.clean += other.clean;
        for (mine, others) in self.spent.iter_mut().zip(other.spent) {
            *mine += others;
        }
    }
}

pub fn run(args: &Args) -> Result<()> {
    fs::create_dir_all(&args.scratch)?;
    // First the sound one: a walk that finds errors there would prove nothing later
    let mut place = Place::new(args, 0)?;
    fs::copy(&args.image, &place.image)?;
    let sound = place.sound(args)?;
    let next = AtomicU64::new(args.first);
    let begin = Instant::now();
    let seen = std::thread::scope(|scope| -> Result<Seen> {
        let mut workers = vec![scope.spawn(|| place.work(args, &next))];
        for number in 1..args.jobs {
            let next = &next;
            workers.push(scope.spawn(move || Place::new(args, number)?.work(args, next)));
        }
        let mut seen = Seen::default();
        for worker in workers {
            seen.add(worker.join().expect("it does not panic")?);
        }
        Ok(seen)
    })?;
    let names = |map: &BTreeMap<i32, u64>| -> String {
        map.iter()
            .map(|(e, n)| format!("{} {n}", io::Error::from_raw_os_error(*e)))
            .collect::<Vec<_>>()
            .join(", ")
    };
    println!(
        "# {} images in {:.1} s: {} mounted, {} of them without an error; {sound} objects in the sound one",
        args.number,
        begin.elapsed().as_secs_f32(),
        seen.mounted,
        seen.clean
    );
    let share = seen
        .spent
        .map(|t| t.as_millis() as u64 / args.number.max(1));
    println!("# ms per image: damage, mount, read, change, umount {share:?}");
    println!("# refused: {}", names(&seen.refused));
    println!("# errors: {}", names(&seen.errors));
    ensure!(
        seen.refused.values().sum::<u64>() + seen.errors.values().sum::<u64>() > 0,
        "no damage was noticed"
    );
    Ok(())
}

/// Where one image after another is damaged and mounted.
struct Place {
    image: PathBuf,
    dir: PathBuf,
    mutator: Option<Mutator>,
}

/// The program that damages images: it looks through the sound one once.
struct Mutator {
    child: Child,
    seeds: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Drop for Mutator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Place {
    fn new(args: &Args, number: u64) -> Result<Self> {
        let image = args.scratch.join(format!("hostile-{number}.img"));
        let dir = args.scratch.join(format!("hostile-{number}"));
        fs::create_dir_all(&dir)?;
        let mutator = match &args.mutate {
            Some(program) => {
                let mut child = Command::new(program)
                    .arg("-")
                    .arg(&args.image)
                    .arg(&image)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .with_context(|| format!("{}", program.display()))?;
                Some(Mutator {
                    seeds: child.stdin.take().context("no pipe")?,
                    answers: BufReader::new(child.stdout.take().context("no pipe")?),
                    child,
                })
            }
            None => None,
        };
        Ok(Self {
            image,
            dir,
            mutator,
        })
    }

    /// Uses the sound image; the number of objects that were seen in it.
    fn sound(&self, args: &Args) -> Result<u32> {
        let mut seen = Seen::default();
        let found = one(args, &self.image, &self.dir, &mut seen).context("the sound image")?;
        ensure!(
            seen.mounted == 1 && seen.errors.is_empty() && found > 0,
            "the sound image: {found} objects, refused {:?}, errors {:?}",
            seen.refused,
            seen.errors
        );
        Ok(found)
    }

    /// Damages and uses images until there are enough.
    fn work(&mut self, args: &Args, next: &AtomicU64) -> Result<Seen> {
        let mut seen = Seen::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= args.first + args.number {
                return Ok(seen);
            }
            let begin = Instant::now();
            let how = self.damage(args, seed)?;
            seen.spent[0] += begin.elapsed();
            // So that the kernel's log tells which image a report in it belongs to
            let said = format!("<7>fstest: {}: seed {seed}: {how}\n", self.dir.display());
            fs::write("/dev/kmsg", &said.as_bytes()[..said.len().min(900)])?;
            let begin = Instant::now();
            one(args, &self.image, &self.dir, &mut seen).with_context(|| format!("seed {seed}"))?;
            let took = begin.elapsed().as_secs();
            ensure!(took <= args.limit, "seed {seed} took {took} s");
        }
    }

    /// Makes the damaged image of `seed`; what was done to it.
    fn damage(&mut self, args: &Args, seed: u64) -> Result<String> {
        if let Some(mutator) = &mut self.mutator {
            writeln!(mutator.seeds, "{seed}")?;
            let mut how = String::new();
            mutator.answers.read_line(&mut how)?;
            if how.is_empty() {
                bail!("seed {seed}: {}", mutator.child.wait()?);
            }
            return Ok(how.trim().into());
        }
        fs::copy(&args.image, &self.image)?;
        let file = File::options().read(true).write(true).open(&self.image)?;
        let blocks = file.metadata()?.len() / 4096;
        let mut rng = Rng::new(seed);
        // Bytes of blocks that are not empty, for the rest is mostly that
        let mut changed = 0;
        for _ in 0..100_000 {
            let block = rng.below(blocks.min(if seed % 2 == 0 { 64 } else { blocks }));
            let mut data = [0; 4096];
            file.read_exact_at(&mut data, block * 4096)?;
            if data.iter().all(|b| *b == 0) {
                continue;
            }
            let byte = rng.next() as u8;
            file.write_all_at(&[byte], block * 4096 + rng.below(4096))?;
            changed += 1;
            if changed > rng.below(12) {
                break;
            }
        }
        Ok(format!("{changed} bytes"))
    }
}

/// Objects that are looked at, and objects that are removed, at most.
const OBJECTS: u32 = 1_000;
const REMOVED: u32 = 200;

/// Mounts an image and uses it; the number of objects that were seen.
fn one(args: &Args, image: &Path, dir: &Path, seen: &mut Seen) -> Result<u32> {
    let mut clock = Instant::now();
    let mut lap = |seen: &mut Seen, phase: usize| {
        seen.spent[phase] += clock.elapsed();
        clock = Instant::now();
    };
    let device = crate::fs::Loop::new(image)?;
    match sys::mount(&device.path, dir, &args.fs, 0, "errors=continue") {
        Ok(()) => {}
        Err(e) => {
            *seen.refused.entry(sys::errno(&e)).or_default() += 1;
            return Ok(0);
        }
    }
    seen.mounted += 1;
    lap(seen, 1);
    let mut walk = Walk {
        errors: BTreeMap::new(),
        left: OBJECTS,
        depth: 0,
    };
    walk.dir(dir);
    let found = OBJECTS - walk.left;
    lap(seen, 2);
    walk.write(dir);
    walk.left = REMOVED;
    walk.remove(dir);
    if let Ok(dir) = File::open(dir) {
        let result = sys::syncfs(&dir);
        walk.note(result);
    }
    lap(seen, 3);
    if walk.errors.is_empty() {
        seen.clean += 1;
    }
    for (errno, n) in walk.errors {
        *seen.errors.entry(errno).or_default() += n;
    }
    for _ in 0..250 {
        match sys::umount(dir, 0) {
            Ok(()) => {
                lap(seen, 4);
                return Ok(found);
            }
            Err(e) if sys::errno(&e) == libc::EBUSY => {
                std::thread::sleep(Duration::from_millis(20))
            }
            Err(e) => return Err(e).context("umount"),
        }
    }
    bail!("umount: busy for ever");
}

struct Walk {
    errors: BTreeMap<i32, u64>,
    left: u32,
    depth: u32,
}

impl Walk {
    fn note<T>(&mut self, result: io::Result<T>) -> Option<T> {
        let errno = match &result {
            Ok(_) => 0,
            Err(e) => sys::errno(e),
        };
        // Of a directory too large to be emptied here
        if errno != 0 && errno != libc::ENOTEMPTY {
            *self.errors.entry(errno).or_default() += 1;
        }
        result.ok()
    }

    /// Lists, stats and reads all below; a damaged tree may have no end, the walk has.
    fn dir(&mut self, dir: &Path) {
        let Some(entries) = self.note(fs::read_dir(dir)) else {
            return;
        };
        for entry in entries {
            let Some(left) = self.left.checked_sub(1) else {
                return;
            };
            self.left = left;
            let Some(entry) = self.note(entry) else {
                return;
            };
            let path = entry.path();
            let Some(meta) = self.note(path.symlink_metadata()) else {
                continue;
            };
            if meta.is_dir() && self.depth < 20 {
                self.depth += 1;
                self.dir(&path);
                self.depth -= 1;
            } else if meta.is_file() {
                self.file(&path, meta.len());
            } else if meta.is_symlink() {
                self.note(fs::read_link(&path));
            }
        }
    }

    fn file(&mut self, path: &Path, size: u64) {
        let Some(file) = self.note(File::open(path)) else {
            return;
        };
        let mut buffer = vec![0; 64 * 1024];
        for at in [0, 65536, size / 2, size.saturating_sub(65536)] {
            self.note(file.read_at(&mut buffer, at));
        }
        let mut at = 0;
        for _ in 0..64 {
            let Ok(data) = sys::seek(&file, at, libc::SEEK_DATA) else {
                break;
            };
            let Ok(hole) = sys::seek(&file, data, libc::SEEK_HOLE) else {
                break;
            };
            at = hole;
        }
    }

    /// New names, and changes to what is there.
    fn write(&mut self, dir: &Path) {
        let entries: Vec<_> = fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .take(40)
            .collect();
        for (n, entry) in entries.iter().enumerate() {
            let path = entry.path();
            let Some(meta) = self.note(path.symlink_metadata()) else {
                continue;
            };
            if meta.is_dir() {
                self.note(fs::create_dir(path.join("new-dir")));
                self.note(fs::write(path.join("new-file"), vec![1; 20_000]));
                self.note(fs::rename(path.join("new-file"), path.join("newer")));
            } else if meta.is_file() {
                let Some(file) = self.note(File::options().write(true).open(&path)) else {
                    continue;
                };
                self.note(file.write_at(&[2; 9000], meta.len() / 2));
                self.note(file.write_at(&[2; 9000], meta.len()));
                if n % 3 == 0 {
                    self.note(file.set_len(meta.len() / 3));
                }
                self.note(file.sync_all());
            }
        }
        for n in 0..20 {
            self.note(fs::write(dir.join(format!("made-{n}")), vec![3; 5000]));
            self.note(std::os::unix::fs::symlink(
                "x".repeat(50 * n + 1),
                dir.join(format!("ln-{n}")),
            ));
        }
    }

    fn remove(&mut self, dir: &Path) {
        let entries: Vec<_> = fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .take(60)
            .collect();
        for entry in entries {
            let Some(left) = self.left.checked_sub(1) else {
                return;
            };
            self.left = left;
            let path = entry.path();
            let Some(meta) = self.note(path.symlink_metadata()) else {
                continue;
            };
            if meta.is_dir() {
                if self.depth < 20 {
                    self.depth += 1;
                    self.remove(&path);
                    self.depth -= 1;
                }
                self.note(fs::remove_dir(&path));
            } else {
                self.note(fs::remove_file(&path));
            }
        }
    }
}
