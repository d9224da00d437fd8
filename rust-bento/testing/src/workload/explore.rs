// SPDX-License-Identifier: GPL-2.0

//! Every state in which a crash can leave a volume.
//!
//! A device may keep what is written in a cache that loses power, until it is flushed. So at each
//! flush, and at the end, any part of what was written since the flush before may have reached the
//! medium. Where there are few writes all their subsets are looked at, else those that are most
//! telling and some others.

use super::{
    history::History,
    model::Model,
    op::Op,
    player::{
        judge,
        Player,
        World, //
    },
    Random,
    Verdict, //
};
use kernel::{
    bento::FileSystem,
    user::device::{
        MemDevice,
        Reached,
        RecordingDevice, //
    },
};
use std::{
    any::Any,
    panic::{
        catch_unwind,
        AssertUnwindSafe, //
    },
    sync::Arc,
};

/// How hard to look.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// States at each flush.
    pub states: usize,
    /// Of these, how many with torn writes.
    pub torn: usize,
    /// For what is chosen at random.
    pub seed: u64,
}

/// What was looked at.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Sequences of operations.
    pub workloads: usize,
    /// Places at which a crash came: flushes and ends.
    pub cuts: usize,
    /// Of these, how many of which every state was looked at, torn ones left out.
    pub exhausted: usize,
    /// States.
    pub states: usize,
    /// What was wrong, and how to find it again.
    pub violations: Vec<String>,
}

impl Report {
    /// Both together.
    pub fn merge(&mut self, other: Self) {
        self.workloads += other.workloads;
        self.cuts += other.cuts;
        self.exhausted += other.exhausted;
        self.states += other.states;
        self.violations.extend(other.violations);
    }
}

/// What happens to each write in flight.
#[derive(Clone, Copy, Debug)]
enum Choice {
    /// Those of set bits reach the medium.
    Subset(u64),
    /// The first so many.
    First(usize),
    /// All but one.
    Without(usize),
    /// One.
    Only(usize),
    /// Each by chance.
    Random(u64),
    /// Each in part, by chance.
    Torn(u64),
}

impl Choice {
    fn reached(self, write: usize) -> Reached {
        let chance = |seed| Random(seed ^ (write as u64) << 20).next();
        match self {
            Self::Subset(bits) => (bits >> write & 1 != 0).into(),
            Self::First(count) => (write < count).into(),
            Self::Without(one) => (write != one).into(),
            Self::Only(one) => (write == one).into(),
            Self::Random(seed) => (chance(seed) & 1 != 0).into(),
            Self::Torn(seed) => match chance(seed) {
                word if word % 3 == 0 => (word & 8 != 0).into(),
                word => Reached::Sectors((word >> 8) as u8),
            },
        }
    }

    /// Bytes that are written at once.
    fn unit(self) -> usize {
        match self {
            Self::Torn(_) => 512,
            _ => 4096,
        }
    }

    /// At most so many choices for so many writes; whether they are all.
    fn choose(writes: usize, effort: &Effort, random: &mut Random) -> (Vec<Self>, bool) {
        let all = u32::try_from(writes).ok().and_then(|w| 1u64.checked_shl(w));
        let mut choices: Vec<Self> = match all.filter(|all| *all <= effort.states as u64) {
            Some(all) => (0..all).map(Self::Subset).collect(),
            None => {
                let mut telling = vec![Self::First(0), Self::First(writes)];
                telling.extend((0..writes).map(Self::Without));
                telling.extend((0..writes).map(Self::Only));
                telling.extend((1..writes).map(Self::First));
                while telling.len() > effort.states.max(2) {
                    let at = 2 + random.below(telling.len() as u64 - 2) as usize;
                    telling.swap_remove(at);
                }
                let more = effort.states.saturating_sub(telling.len());
                telling.extend((0..more).map(|_| Self::Random(random.next())));
                telling
            }
        };
        let exhausted = all.is_some_and(|all| all == choices.len() as u64);
        if writes > 0 {
            choices.extend((0..effort.torn).map(|_| Self::Torn(random.next())));
        }
        (choices, exhausted)
    }
}

/// Runs a sequence of operations on a volume that holds what `model` says, and judges what crashes
/// can leave of it.
pub fn explore<F: FileSystem>(
    world: &World,
    (start, model): (&MemDevice, &Model),
    sequence: &[Op],
    effort: &Effort,
) -> Report {
    let mut report = Report {
        workloads: 1,
        ..Report::default()
    };
    let (device, history, begin) = match play::<F>(world, (start, model), sequence) {
        Ok(played) => played,
        Err(how) => {
            report.violations.push(format!("{sequence:?}: {how}"));
            return report;
        }
    };
    let log = device.recorded();
    let mut random = Random(effort.seed);
    let mut crashes = log.crashes();
    let ends: Vec<usize> = log
        .flushes()
        .filter(|at| *at >= begin)
        .chain([log.len()])
        .collect();
    for end in ends {
        let promised = log.mark(end).unwrap_or(0) as usize;
        let (choices, exhausted) = Choice::choose(log.in_flight(end), effort, &mut random);
        report.cuts += 1;
        report.exhausted += usize::from(exhausted);
        for choice in choices {
            report.states += 1;
            let left = crashes.state(end, |write| choice.reached(write));
            let at = (end, promised);
            let judged = guarded(|| judge::<F>(world, &left, &history, at, choice.unit()));
            if let Err(how) = judged {
                let what = format!("{sequence:?}: crash at {end}, {choice:?}: {how}");
                report.violations.push(what);
            }
        }
    }
    report
}

/// Runs a sequence. Gives the device, what was to be expected, and where in the device's log it
/// began.
fn play<F: FileSystem>(
    world: &World,
    (start, model): (&MemDevice, &Model),
    sequence: &[Op],
) -> Verdict<(Arc<RecordingDevice>, History, usize)> {
    guarded(|| {
        let mut player = Player::<F>::on(world, start, model.clone())?;
        let begin = player.device().events();
        for op in sequence {
            player.step(op)?;
        }
        let (device, history) = player.into_parts();
        Ok((device, history, begin))
    })
}

/// Takes a panic for what is wrong.
pub fn guarded<T>(act: impl FnOnce() -> Verdict<T>) -> Verdict<T> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| Err(message(&*panic)))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panic: {}", text.unwrap_or_default())
}
