// SPDX-License-Identifier: GPL-2.0

//! A device that remembers what was done to it, and every state in which a crash could leave it.

use super::{
    check_range,
    memory::blocks_of,
    BlockData,
    Device,
    MemDevice,
    SECTOR_SIZE, //
};
use crate::{
    bento::Block,
    error::Result, //
};
use std::sync::{
    Arc,
    Mutex,
    MutexGuard,
    PoisonError, //
};

/// A device in memory that records its writes and flushes.
pub struct RecordingDevice {
    now: MemDevice,
    log: Mutex<Log>,
    honest: bool,
}

/// How much of a write in flight reached the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// Nothing.
    Nothing,
    /// All of it.
    All,
    /// The sectors whose bits are set, the first one's the lowest: the write is torn. What zeroes
    /// or discards blocks is not torn: it is done if any bit is set.
    Sectors(u8),
}

impl From<bool> for Reached {
    fn from(all: bool) -> Self {
        match all {
            true => Self::All,
            false => Self::Nothing,
        }
    }
}

/// What was done to a [`RecordingDevice`].
#[derive(Clone)]
pub struct Log {
    start: MemDevice,
    events: Vec<Event>,
}

/// Something that was done.
#[derive(Clone)]
enum Event {
    /// One block was written: blocks reach the medium each by itself.
    Write(Block, Arc<BlockData>),
    /// Blocks were zeroed or discarded.
    Zero(Block, u64),
    /// What was done before is durable.
    Flush,
    /// The test has seen something happen.
    Mark(u64),
}

impl RecordingDevice {
    /// A device with this content.
    pub fn new(start: &MemDevice) -> Self {
        Self {
            now: start.clone(),
            log: Mutex::new(Log {
                start: start.clone(),
                events: Vec::new(),
            }),
            honest: true,
        }
    }

    /// A device that says that it flushed and did not, as broken ones do: a test that looks for
    /// lost writes has to find some on it.
    pub fn lying(start: &MemDevice) -> Self {
        Self {
            honest: false,
            ..Self::new(start)
        }
    }

    /// What a crash now leaves. Each write in flight reaches the medium or not, by itself and by
    /// `seed`, and some only in part: writes are lost, reordered and torn.
    pub fn crash(&self, seed: u64) -> MemDevice {
        let log = self.log();
        let end = log.len();
        let state = log.crashes().state(end, |write| {
            // A hash, of which any bits will do.
            let hash = (seed ^ (write as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
                .wrapping_mul(0xbf58_476d_1ce4_e5b9);
            match hash >> 62 {
                0 => Reached::Nothing,
                1 => Reached::Sectors((hash >> 40) as u8),
                _ => Reached::All,
            }
        });
        state
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a mark: what it stands for is true of every state from here on.
    pub fn mark(&self, mark: u64) {
        self.log().events.push(Event::Mark(mark));
    }

    /// Number of events so far.
    pub fn events(&self) -> usize {
        self.log().events.len()
    }

    /// What is on it now, flushed or not.
    pub fn content(&self) -> MemDevice {
        self.now.clone()
    }

    /// What was done so far.
    pub fn recorded(&self) -> Log {
        self.log().clone()
    }
}

impl Device for RecordingDevice {
    fn blocks(&self) -> u64 {
        self.now.blocks()
    }

    fn read(&self, block: Block, out: &mut [u8]) -> Result {
        self.now.read(block, out)
    }

    fn write(&self, block: Block, data: &[u8]) -> Result {
        check_range(self.blocks(), block, data.len())?;
        let mut log = self.log();
        for (at, data) in (block..).zip(blocks_of(data)) {
            log.events.push(Event::Write(at, Arc::new(*data)));
        }
        self.now.write(block, data)
    }

    fn flush(&self) -> Result {
        if self.honest {
            self.log().events.push(Event::Flush);
        }
        Ok(())
    }

    fn discard(&self, block: Block, len: u64) -> Result {
        self.zero(block, len)
    }

    fn zero(&self, block: Block, len: u64) -> Result {
        let mut log = self.log();
        log.events.push(Event::Zero(block, len));
        self.now.zero(block, len)
    }
}

impl Log {
    /// Number of events: a crash can come behind each.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing was done.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The places of the flushes.
    pub fn flushes(&self) -> impl Iterator<Item = usize> + '_ {
        let events = self.events.iter().enumerate();
        events.filter_map(|(at, event)| matches!(event, Event::Flush).then_some(at))
    }

    /// The newest mark before a crash behind `end` events.
    pub fn mark(&self, end: usize) -> Option<u64> {
        self.events[..end]
            .iter()
            .rev()
            .find_map(|event| match event {
                Event::Mark(mark) => Some(*mark),
                _ => None,
            })
    }

    /// Writes that a crash behind `end` events may lose: those since the last flush.
    pub fn in_flight(&self, end: usize) -> usize {
        let events = self.events[..end].iter().rev();
        events
            .take_while(|event| !matches!(event, Event::Flush))
            .filter(|event| event.is_write())
            .count()
    }

    /// Goes through the states that crashes could leave, from the first event on.
    pub fn crashes(&self) -> Crashes<'_> {
        Crashes {
            log: self,
            durable: self.start.clone(),
            at: 0,
        }
    }
}

/// See [`Log::crashes`].
pub struct Crashes<'l> {
    log: &'l Log,
    /// The device with all events up to a flush.
    durable: MemDevice,
    at: usize,
}

impl Crashes<'_> {
    /// The device after a crash behind `end` events, no fewer than in the call before. `survives`
    /// says how much of each write in flight reached the medium: it is asked from the oldest (0)
    /// on.
    pub fn state<R: Into<Reached>>(
        &mut self,
        end: usize,
        mut survives: impl FnMut(usize) -> R,
    ) -> MemDevice {
        let events = &self.log.events[..end];
        let flushed = events.iter().rposition(|e| matches!(e, Event::Flush));
        if let Some(flushed) = flushed.filter(|flushed| *flushed > self.at) {
            for event in &events[self.at..flushed] {
                event.apply(&self.durable);
            }
            self.at = flushed;
        }
        let device = self.durable.clone();
        let in_flight = events[self.at..].iter().filter(|e| e.is_write());
        for (asked, event) in in_flight.enumerate() {
            event.apply_part(&device, survives(asked).into());
        }
        device
    }
}

impl Event {
    fn is_write(&self) -> bool {
        matches!(self, Self::Write(..) | Self::Zero(..))
    }

    fn apply_part(&self, device: &MemDevice, reached: Reached) {
        match (self, reached) {
            (_, Reached::Nothing | Reached::Sectors(0)) => {}
            (Self::Write(block, data), Reached::Sectors(sectors)) => {
                let mut torn = device.block(*block);
                let sector = data
                    .chunks_exact(SECTOR_SIZE)
                    .zip(torn.chunks_exact_mut(SECTOR_SIZE));
                for (at, (new, old)) in sector.enumerate() {
                    if sectors >> at & 1 != 0 {
                        old.copy_from_slice(new);
                    }
                }
                device.insert(*block, Arc::new(torn));
            }
            _ => self.apply(device),
        }
    }

    fn apply(&self, device: &MemDevice) {
        match self {
            Self::Write(block, data) => device.insert(*block, data.clone()),
            // Within the device: the same call has been answered before.
            Self::Zero(block, len) => device.zero(*block, *len).unwrap_or_default(),
            Self::Flush | Self::Mark(_) => {}
        }
    }
}
