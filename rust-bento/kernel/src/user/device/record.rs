// SPDX-License-Identifier: GPL-2.0

//! A device that remembers what was done to it, and every state in which a crash could leave it.

use super::{
    check_range,
    memory::blocks_of,
    BlockData,
    Device,
    MemDevice, //
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
        }
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
        self.log().events.push(Event::Flush);
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
    /// says which of the writes in flight reached the medium: it is asked for each, from the oldest
    /// (0) on.
    pub fn state(&mut self, end: usize, mut survives: impl FnMut(usize) -> bool) -> MemDevice {
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
            if survives(asked) {
                event.apply(&device);
            }
        }
        device
    }
}

impl Event {
    fn is_write(&self) -> bool {
        matches!(self, Self::Write(..) | Self::Zero(..))
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
