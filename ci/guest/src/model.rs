// SPDX-License-Identifier: GPL-2.0

//! What a record allows to be found after a crash, and whether it is what is there.

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::pattern;
use crate::record::Line;

/// Blocks of files with an odd version are written with holes between them.
pub const BLOCK: u64 = 4096;

/// Whether block `block` of the file is left a hole.
pub fn is_hole(name: &str, version: u64, block: u64) -> bool {
    version % 2 == 1 && pattern::Rng::new(pattern::key(name, version) ^ block).below(4) == 0
}

/// One state that may be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Absent,
    File {
        version: u64,
        least: u64,
        most: u64,
        solid: u64,
    },
}

/// What may be found under one name.
#[derive(Clone, Debug)]
struct Allowed {
    states: Vec<State>,
    /// The last line was a promise: nothing has been begun since.
    settled: bool,
    /// As the load sees it.
    version: u64,
    size: u64,
}

impl Allowed {
    fn absent() -> Self {
        Self {
            states: vec![State::Absent],
            settled: true,
            version: 0,
            size: 0,
        }
    }

    fn may(&mut self, state: State) {
        self.settled = false;
        if !self.states.contains(&state) {
            self.states.push(state);
        }
    }

    fn add(&mut self, line: &Line) {
        match *line {
            Line::Start => {}
            Line::Create { version, size, .. } => {
                self.may(State::File {
                    version,
                    least: 0,
                    most: size,
                    solid: 0,
                });
                (self.version, self.size) = (version, size);
            }
            Line::Append { version, size, .. } => {
                let solid = if self.settled { self.size } else { 0 };
                self.may(State::File {
                    version,
                    least: solid,
                    most: size,
                    solid,
                });
                (self.version, self.size) = (version, size);
            }
            Line::Replace { version, size, .. } => {
                self.may(State::File {
                    version,
                    least: size,
                    most: size,
                    solid: size,
                });
                (self.version, self.size) = (version, size);
            }
            Line::Cut { size, .. } => {
                let version = self.version;
                if self.settled {
                    // What is cut off inside a block may be zeros before the size is smaller
                    let (least, most) = (self.size, self.size);
                    self.may(State::File {
                        version,
                        least,
                        most,
                        solid: size.min(most),
                    });
                    self.settled = true;
                }
                self.may(if self.settled {
                    State::File {
                        version,
                        least: size,
                        most: size,
                        solid: size,
                    }
                } else {
                    State::File {
                        version,
                        least: 0,
                        most: self.size,
                        solid: 0,
                    }
                });
                self.size = size;
            }
            Line::Delete { .. } => {
                self.may(State::Absent);
                (self.version, self.size) = (0, 0);
            }
            Line::Whole { version, size, .. } => {
                self.states = vec![State::File {
                    version,
                    least: size,
                    most: size,
                    solid: size,
                }];
                self.settled = true;
                (self.version, self.size) = (version, size);
            }
            Line::Gone { .. } => *self = Self::absent(),
        }
    }
}

/// Figures of a check, so that an empty one is seen.
#[derive(Debug, Default)]
pub struct Found {
    pub names: u64,
    pub promised: u64,
    pub bytes: u64,
}

/// Compares the tree under `root` with the record's lines.
pub fn check(root: &Path, lines: &[Line]) -> Result<Found> {
    let mut names: BTreeMap<&str, Allowed> = BTreeMap::new();
    for line in lines {
        let name = match line {
            Line::Start => continue,
            Line::Create { name, .. }
            | Line::Append { name, .. }
            | Line::Replace { name, .. }
            | Line::Cut { name, .. }
            | Line::Delete { name }
            | Line::Whole { name, .. }
            | Line::Gone { name } => name,
        };
        names.entry(name).or_insert_with(Allowed::absent).add(line);
    }
    let mut found = Found::default();
    let mut wrong = Vec::new();
    for (name, allowed) in &names {
        found.names += 1;
        if allowed.settled && allowed.states != [State::Absent] {
            found.promised += 1;
        }
        match check_name(root, name, &allowed.states) {
            Ok(bytes) => found.bytes += bytes,
            Err(e) => {
                let history: Vec<String> = lines
                    .iter()
                    .map(|line| line.to_string())
                    .filter(|line| line.split(' ').nth(1) == Some(name))
                    .collect();
                let last = &history[history.len().saturating_sub(6)..];
                wrong.push(format!("{name}: {e:#}; record: {}", last.join(", ")));
            }
        }
    }
    let newest = lines.iter().filter_map(Line::version).max().unwrap_or(0);
    if let Err(e) = check_strangers(root, &names, newest) {
        wrong.push(format!("{e:#}"));
    }
    if !wrong.is_empty() {
        for line in wrong.iter().take(20) {
            println!("# {line}");
        }
        bail!(
            "{} of {} names are not as promised",
            wrong.len(),
            names.len()
        );
    }
    Ok(found)
}

fn check_name(root: &Path, name: &str, states: &[State]) -> Result<u64> {
    let path = root.join(name);
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            ensure!(
                states.contains(&State::Absent),
                "is not there, but {states:?}"
            );
            return Ok(0);
        }
        Err(e) => bail!("open: {e}"),
    };
    let size = file.metadata()?.len();
    let mut data = vec![0; usize::try_from(size)?];
    file.read_exact_at(&mut data, 0).context("read")?;
    let mut reasons = Vec::new();
    for state in states {
        match matches(name, &data, *state) {
            Ok(()) => return Ok(size),
            Err(e) => reasons.push(format!("{state:?}: {e:#}")),
        }
    }
    bail!("size {size} fits no state: {}", reasons.join("; "))
}

fn matches(name: &str, data: &[u8], state: State) -> Result<()> {
    let State::File {
        version,
        least,
        most,
        solid,
    } = state
    else {
        bail!("it exists");
    };
    let size = data.len() as u64;
    ensure!((least..=most).contains(&size), "size {size}");
    let key = pattern::key(name, version);
    for (block, bytes) in (0..).zip(data.chunks(BLOCK as usize)) {
        let at = block * BLOCK;
        if is_hole(name, version, block) {
            let wrong = bytes.iter().position(|b| *b != 0);
            ensure!(wrong.is_none(), "a hole has data in block {block}");
            continue;
        }
        let firm = usize::try_from(solid.saturating_sub(at))?.min(bytes.len());
        if let Some(at) = pattern::first_wrong(key, at, &bytes[..firm], false) {
            let from = usize::try_from(at % BLOCK)?;
            let have = &bytes[from..bytes.len().min(from + 16)];
            bail!("wrong byte at {at}, which was promised: {have:02x?}");
        }
        if let Some(at) = pattern::first_wrong(key, at + firm as u64, &bytes[firm..], true) {
            bail!("foreign byte at {at}");
        }
    }
    Ok(())
}

/// Files that the record does not know. Temporary ones may be there, with nothing foreign in them: a
/// thread numbers the versions of all its files in one go, and the record hears of a temporary
/// file's when it is renamed.
fn check_strangers(root: &Path, names: &BTreeMap<&str, Allowed>, newest: u64) -> Result<()> {
    for dir in std::fs::read_dir(root).with_context(|| format!("{}", root.display()))? {
        let dir = dir?;
        for entry in std::fs::read_dir(dir.path())? {
            let entry = entry?;
            let name = format!(
                "{}/{}",
                dir.file_name().to_string_lossy(),
                entry.file_name().to_string_lossy()
            );
            if let Some(base) = name.strip_suffix(".tmp") {
                ensure!(names.contains_key(base), "{name}: not in the record");
                let data = std::fs::read(entry.path())?;
                let fits = (1..=newest + 1).any(|version| {
                    let state = State::File {
                        version,
                        least: 0,
                        most: u64::MAX,
                        solid: 0,
                    };
                    matches(base, &data, state).is_ok()
                });
                ensure!(fits, "{name}: foreign data");
            } else {
                ensure!(
                    names.contains_key(name.as_str()),
                    "{name}: not in the record"
                );
            }
        }
    }
    Ok(())
}
