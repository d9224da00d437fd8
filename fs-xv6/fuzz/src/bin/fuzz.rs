// SPDX-License-Identifier: GPL-2.0

//! `fuzz TARGET [--seconds N] [--seed N] [FILE...]`: runs a target without libFuzzer.
//!
//! With files it runs each once: that is how a failure is looked at again. Else it runs the corpus
//! and then changes to it, made by chance and without knowing what code they reach.

use rustix::process::{
    getrlimit,
    setrlimit,
    Resource,
    Rlimit, //
};
use std::{
    env, fs,
    path::PathBuf,
    process::ExitCode,
    time::{
        Duration,
        Instant, //
    },
};
use xv6_fuzz::{
    Target,
    TARGETS, //
};
use xv6_utils::random::Seeded;

/// No input may take longer.
const LIMIT: Duration = Duration::from_secs(20);
/// Nor more memory than this, in bytes.
const MEMORY: u64 = 2 << 30;
/// The longest input.
const MOST: u64 = 512;

fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    let name = args.next().unwrap_or_default();
    let Some((_, target)) = TARGETS.iter().find(|(known, _)| *known == name) else {
        eprintln!("usage: fuzz image|operations|state [--seconds N] [--seed N] [FILE...]");
        return ExitCode::from(2);
    };
    let (mut seconds, mut seed, mut files) = (10, 1, Vec::new());
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|text| text.parse().ok());
        match (arg.as_str(), &mut seconds, &mut seed) {
            ("--seconds", seconds, _) => *seconds = number().unwrap_or(10),
            ("--seed", _, seed) => *seed = number().unwrap_or(1),
            _ => files.push(PathBuf::from(arg)),
        }
    }
    let memory = Rlimit {
        current: Some(MEMORY),
        maximum: getrlimit(Resource::As).maximum,
    };
    setrlimit(Resource::As, memory).expect("setrlimit");
    let only = !files.is_empty();
    if !only {
        let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(&name);
        let entries = fs::read_dir(corpus).expect("corpus");
        files.extend(entries.flatten().map(|entry| entry.path()));
        files.sort();
    }
    let corpus: Vec<Vec<u8>> = files
        .iter()
        .map(|file| fs::read(file).expect("read"))
        .collect();
    for (file, data) in files.iter().zip(&corpus) {
        once(*target, data, &file.display().to_string());
    }
    let mut count = corpus.len();
    if !only {
        let (start, mut random) = (Instant::now(), Seeded::new(seed));
        while start.elapsed() < Duration::from_secs(seconds) {
            let data = mutate(&corpus, &mut random);
            once(*target, &data, &format!("input {count} of seed {seed}"));
            count += 1;
        }
    }
    println!(
        "{name}: {count} inputs, of these {} of the corpus",
        corpus.len()
    );
    ExitCode::SUCCESS
}

/// Runs one input. What fails is left in a file.
fn once(target: Target, data: &[u8], name: &str) {
    let start = Instant::now();
    let result = std::panic::catch_unwind(|| target(data));
    let elapsed = start.elapsed();
    if result.is_err() || elapsed > LIMIT {
        let left = env::temp_dir().join(format!("fuzz-{}.bin", std::process::id()));
        let saved = fs::write(&left, data);
        eprintln!(
            "{name} failed after {elapsed:?}, see {} ({saved:?})",
            left.display()
        );
        std::process::exit(1);
    }
}

/// A piece of the corpus with a piece of another, and some bytes changed.
fn mutate(corpus: &[Vec<u8>], random: &mut Seeded) -> Vec<u8> {
    let mut data = random.pick(corpus).cloned().unwrap_or_default();
    if random.below(3) == 0 {
        let other = random.pick(corpus).cloned().unwrap_or_default();
        data.truncate(random.below(data.len() as u64 + 1) as usize);
        data.extend_from_slice(&other[random.below(other.len() as u64 + 1) as usize..]);
    }
    for _ in 0..1 + random.below(12) {
        let at = random.below(data.len() as u64 + 1) as usize;
        match random.below(4) {
            0 => data.insert(at, random.word() as u8),
            1 if at < data.len() => drop(data.remove(at)),
            _ => {
                if let Some(byte) = data.get_mut(at) {
                    *byte = match random.below(3) {
                        0 => *byte ^ 1 << random.below(8),
                        _ => random.word() as u8,
                    };
                }
            }
        }
    }
    data.truncate(MOST as usize);
    data
}
