// SPDX-License-Identifier: GPL-2.0

//! Checks and repairs a volume.
//!
//! All passes work on an [`Overlay`]: repairs stay in memory, and later passes see them. What
//! becomes of them is decided at the end: written, or forgotten (`-n`). So a check that only looks
//! replays the journal too, and a check that is interrupted has changed nothing, but for a sound
//! journal that it has replayed.
//!
//! 1. inodes, and the blocks that they claim; 1b. nodes that damaged trees have lost, blocks
//!    claimed twice, damaged files;
//! 2. names; 3. what has no name, loops, parents; 4. link counts; 5. bitmaps, copies, totals.
//!
//! What a pass repairs it repairs whole: a damaged tree is built anew from what was good in it.

mod bitmaps;
mod check;
mod connect;
mod damage;
mod directory;
mod extents;
mod groups;
mod inodes;
mod log;
mod maps;
mod names;
mod orphans;
mod salvage;
mod shared;
mod super_block;
mod volume;

pub use log::{
    Silent,
    Ui, //
};

use crate::{
    failure::{
        Context,
        Result, //
    },
    image,
    random, //
};
use bitmaps::Free;
use check::Check;
use kernel::{
    error::code::EUCLEAN,
    user::{
        device::{
            Device,
            Overlay, //
        },
        journal::{
            self,
            JournalState, //
        }, //
    },
};
use log::Log;
use volume::Volume;
use xv6::layout::{
    SuperBlock,
    STATE_CLEAN,
    STATE_ERROR,
    SUPER_BLOCK, //
};

/// What is done about problems.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is written.
    #[default]
    Look,
    /// All is repaired.
    Repair,
    /// All is repaired if no problem needs a person's attention, else nothing.
    Preen,
}

/// How to check.
#[derive(Clone, Copy, Debug, Default)]
pub struct FsckOptions {
    /// What is done about problems.
    pub mode: Mode,
    /// Check a volume that was left clean, too.
    pub force: bool,
    /// Say more.
    pub verbose: bool,
}

/// What was found, and done.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Problems.
    pub problems: u64,
    /// Problems that are still there.
    pub left: u64,
    /// The problems' texts, up to some thousand.
    pub lines: Vec<String>,
    /// Nothing was looked at, since the volume was left clean.
    pub skipped: bool,
    /// Transactions that were in the journal.
    pub replayed: u32,
    /// Orphans that were freed or cut.
    pub orphans: u64,
    /// Inodes in use.
    pub inodes: u64,
    /// Of how many.
    pub inodes_total: u64,
    /// Blocks in use.
    pub blocks: u64,
    /// Of how many.
    pub blocks_total: u64,
}

impl Report {
    /// The exit code that fsck(8) asks for.
    pub fn exit_code(&self) -> u8 {
        match (self.problems, self.left) {
            (0, _) => 0,
            (_, 0) => 1,
            _ => 4,
        }
    }
}

/// Checks the volume on `device`. `agree` is asked before repairs are written in [`Mode::Repair`]:
/// for a person who wants to see the problems first.
///
/// # Errors
///
/// A sentence if the volume cannot be checked.
pub fn check(
    device: &dyn Device,
    options: &FsckOptions,
    ui: &mut dyn Ui,
    agree: &mut dyn FnMut(u64) -> bool,
) -> Result<Report> {
    let mut log = Log::new(ui, options.verbose);
    let overlay = Overlay::new(device);
    let mut report = Report::default();

    super_block::find(&overlay, &mut log)?;
    report.replayed = replay(&overlay, &mut log)?;
    if options.mode != Mode::Look && log.found == 0 && overlay.is_changed() {
        // As a mount would. If the repairs were written with it and that was interrupted, the next
        // replay would put old blocks among repaired ones.
        let first = super_block::find(&overlay, &mut log)?;
        overlay
            .commit(&[first.journal_start.get()])
            .context("cannot replay the journal")?;
    }
    // The replay may have written it.
    let super_block = super_block::find(&overlay, &mut log)?;
    let state = super_block.state.get();
    let quiet = log.found == 0 && state & STATE_ERROR == 0;
    let settled = state & STATE_CLEAN != 0 && report.replayed == 0;
    let mut volume = Volume::new(overlay, super_block);
    // Who preens at boot wants the journal replayed; orphans are then the mount's. But a volume
    // that has nothing in its journal and is not clean either was unmounted after damage was met.
    let preened = options.mode == Mode::Preen && report.replayed > 0;
    if quiet && !options.force && (settled || preened) {
        report.skipped = true;
    } else {
        if state & STATE_ERROR != 0 {
            log.minor(format_args!(
                "the volume is marked as damaged since it was last checked"
            ));
        }
        let (checked, free) = passes(volume, &mut log, &mut report)?;
        volume = checked;
        finish(&mut volume, &mut log, free)?;
    }
    report.problems = log.found;
    let write = match options.mode {
        Mode::Look => false,
        Mode::Preen => log.major == 0,
        Mode::Repair => log.found == 0 || agree(log.found),
    };
    report.left = match write {
        true => log.unfixable,
        false => log.found,
    };
    report.lines = std::mem::take(&mut log.lines);
    if write && volume.overlay.is_changed() {
        let last = [volume.journal.start, SUPER_BLOCK];
        volume
            .overlay
            .commit(&last)
            .context("cannot write the repairs")?;
    }
    Ok(report)
}

/// Checks the volume on `device`, and asks nobody.
///
/// # Errors
///
/// A sentence if the volume cannot be checked.
pub fn fsck(device: &dyn Device, options: &FsckOptions) -> Result<Report> {
    check(device, options, &mut Silent, &mut |_| true)
}

/// Replays the journal into the overlay. Gives the number of transactions.
fn replay(overlay: &Overlay<'_>, log: &mut Log<'_>) -> Result<u32> {
    let super_block = super_block::find(overlay, log)?;
    let start = super_block.journal_start.get();
    let len = super_block.journal_blocks.get();
    let restart = |log: &mut Log<'_>| {
        log.note(format_args!("an empty journal is made"));
        // A random number, so that nothing in the log is taken for a part of the next transaction.
        let [a, b, c]: [u8; 3] = random::bytes()?;
        let sequence = u32::from_le_bytes([a, b, c, 0]);
        journal::remake(overlay, start, len, super_block.uuid, sequence)
            .context("cannot write the journal's super block")
    };
    let state = journal::look(overlay, start, len).context("cannot read the journal")?;
    if let JournalState::Damaged(field) = state {
        log.major(format_args!(
            "the journal's super block has a wrong {field}: what the journal held is lost"
        ));
        restart(log)?;
        return Ok(0);
    }
    let transactions = match journal::replay(overlay, start, len) {
        Ok(replayed) => {
            if replayed.transactions > 0 {
                log.note(format_args!(
                    "{} transactions replayed, {} blocks",
                    replayed.transactions, replayed.blocks
                ));
            }
            replayed.transactions
        }
        Err(EUCLEAN) => {
            log.major(format_args!(
                "the journal is damaged: part of what it held is lost"
            ));
            restart(log)?;
            1
        }
        Err(error) => return Err(error).context("cannot replay the journal"),
    };
    if let JournalState::Aborted(errno) = state {
        log.minor(format_args!(
            "the journal was aborted with error number {errno}"
        ));
        restart(log)?;
    }
    Ok(transactions)
}

/// All passes. Gives what is free.
fn passes<'d>(
    volume: Volume<'d>,
    log: &mut Log<'_>,
    report: &mut Report,
) -> Result<(Volume<'d>, Free)> {
    let geometry = volume.geometry;
    let mut check = Check::new(volume, log);
    check.read_descriptors()?;
    report.orphans = check.finish_orphans()?;
    check.check_inodes()?;
    check.salvage()?;
    check.settle_files()?;
    check.check_reserved()?;
    check.check_names()?;
    check.connect()?;
    check.check_links()?;
    let free = check.check_bitmaps()?;
    report.inodes_total = geometry.max_ino();
    report.inodes = report.inodes_total - free.inodes;
    report.blocks_total = geometry.blocks;
    report.blocks = report.blocks_total - free.blocks;
    Ok((check.volume, free))
}

/// The super block: totals and state.
fn finish(volume: &mut Volume<'_>, log: &mut Log<'_>, free: Free) -> Result {
    let old: SuperBlock = volume.super_block;
    let mut new = old;
    if old.state.get() & STATE_CLEAN != 0 {
        let totals = [
            ("blocks", old.free_blocks.get(), free.blocks),
            ("inodes", old.free_inodes.get(), free.inodes),
        ];
        for (what, says, is) in totals.iter().filter(|(_, says, is)| says != is) {
            log.minor(format_args!(
                "the super block says {says} free {what}, there are {is}"
            ));
        }
    }
    if old.state.get() & !(STATE_CLEAN | STATE_ERROR) != 0 {
        log.minor(format_args!(
            "the super block has the unknown state {:#x}",
            old.state
        ));
    }
    new.free_blocks = free.blocks.into();
    new.free_inodes = free.inodes.into();
    new.state = match log.unfixable {
        0 => STATE_CLEAN,
        _ => STATE_ERROR,
    }
    .into();
    let data = image::super_block_data(&new);
    if volume.read(SUPER_BLOCK)?[..] != data[..] {
        volume.write(SUPER_BLOCK, &data)?;
    }
    volume.super_block = new;
    Ok(())
}
