// SPDX-License-Identifier: GPL-2.0

//! States of an upgrade that are not what a version writes: their bytes, and what is behind sums
//! that are right.

use kernel::{
    bento::{
        crc32c,
        FileSystem,
        Need,
        StateReader,
        StateWriter,
        Variant,
        Versioned,
        STATE_HEADER,
        STATE_RECORD,
        STATE_SIZE_MAX, //
    },
    error::{
        code::*,
        Result, //
    },
    user::{
        device::MemDevice,
        Mount,
        MountOptions, //
    },
};
use std::{
    cell::RefCell,
    sync::Arc, //
};
use xv6::Xv6;

/// Commands that are taken, at most: more records than a state may have.
const MOST: usize = 100;

/// A record, as it stands in a state.
struct Record {
    /// Where it begins.
    at: usize,
    kind: u16,
    version: u16,
    need: Need,
    content: Vec<u8>,
}

thread_local! {
    static TOLD: RefCell<Vec<Record>> = const { RefCell::new(Vec::new()) };
}

/// A predecessor that hands over what [`TOLD`] says.
struct Told;

impl Variant<Xv6> for Told {
    const NAME: &'static str = "xv6-told";
    const VERSION: u32 = 3;
    const STATE_SIZE: usize = STATE_SIZE_MAX;

    fn export(_fs: &Xv6, state: &mut StateWriter<'_>) -> Result {
        TOLD.with_borrow(|told| {
            told.iter().try_for_each(|record| {
                state.put(record.kind, record.version, record.need, &record.content)
            })
        })
    }
}

type Predecessor = Versioned<Xv6, Told>;

/// The bytes of an input; zeroes behind their end.
struct Input<'i>(&'i [u8]);

impl Input<'_> {
    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        let mut bytes = bytes.to_vec();
        bytes.resize(len, 0);
        bytes
    }

    fn byte(&mut self) -> u8 {
        self.bytes(1)[0]
    }

    fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }
}

/// Makes a state of the input. The first byte says whether it begins as xv6 writes it, and which
/// sums are mended at the end.
fn build(input: &mut Input<'_>, fs: &Xv6) -> Vec<u8> {
    let how = input.byte();
    let mut room = vec![0; STATE_HEADER + STATE_SIZE_MAX];
    let mut writer = StateWriter::new(&mut room, Xv6::FORMAT, Xv6::STATE_WRITES).expect("room");
    if how & 1 != 0 {
        fs.export(&mut writer).expect("export");
    }
    let mut changes = Vec::new();
    for _ in 0..MOST {
        if input.0.is_empty() {
            break;
        }
        match input.byte() {
            command @ 0..=95 => {
                let need = match command & 1 {
                    0 => Need::Optional,
                    _ => Need::Mandatory,
                };
                let (kind, version) = (input.byte() % 4, input.byte() % 3);
                let len = match command {
                    0..=7 => usize::from(input.word()),
                    _ => usize::from(input.byte() % 64),
                };
                let content = input.bytes(len);
                // There is no room for the longest: the writer says so.
                let _ = writer.put(kind.into(), version.into(), need, &content);
            }
            command => changes.push((command, input.word(), input.bytes(4))),
        }
    }
    let mut state = writer.finish().expect("state").to_vec();
    for (command, at, value) in changes {
        let at = usize::from(at);
        match command {
            96..=103 => state.truncate(at % (state.len() + 1)),
            104..=111 => state.resize(state.len() + at % 64, value[0]),
            _ => {
                let at = at % (state.len() + 1);
                let size = [1, 2, 4, 4][usize::from(command % 4)];
                if let Some(field) = state.get_mut(at..at + size) {
                    field.copy_from_slice(&value[..size]);
                }
            }
        }
    }
    mend(&mut state, how & 2 != 0, how & 4 != 0);
    state
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// The records that stand in a state, as far as their lengths make sense.
fn records(state: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    let mut at = STATE_HEADER;
    while let Some(len) = field(state, at + 8) {
        let len = u32::from_le_bytes(len) as usize;
        let start = at + STATE_RECORD;
        let Some(content) = state.get(start..start + len) else {
            break;
        };
        let word = |offset| field(state, at + offset).map_or(0, u16::from_le_bytes);
        records.push(Record {
            at,
            kind: word(0),
            version: word(2),
            need: match word(4) {
                0 => Need::Optional,
                _ => Need::Mandatory,
            },
            content: content.to_vec(),
        });
        at = (start + len).next_multiple_of(8);
    }
    records
}

/// Mends the sums of records, and length, number of records and sum of the whole.
fn mend(state: &mut [u8], each: bool, whole: bool) {
    let records = records(state);
    for record in records.iter().filter(|_| each) {
        let (head, sum) = (record.at, record.at + 12);
        let value = crc32c(crc32c(!0, &state[head..sum]), &record.content);
        state[sum..sum + 4].copy_from_slice(&value.to_le_bytes());
    }
    if whole && state.len() >= STATE_HEADER {
        let len = state.len() as u32;
        state[12..16].copy_from_slice(&len.to_le_bytes());
        state[16..20].copy_from_slice(&(records.len() as u32).to_le_bytes());
        state[20..24].fill(0);
        let sum = crc32c(!0, state);
        state[20..24].copy_from_slice(&sum.to_le_bytes());
    }
}

fn mount(device: &Arc<MemDevice>) -> Mount<Predecessor> {
    Mount::mount(device.clone(), &MountOptions::default()).expect("mount")
}

/// What goes on after an upgrade, or after one that was refused.
fn go_on<F: FileSystem>(mount: Mount<F>) {
    // Where a directory goes, a hint of the state tells.
    for name in [&b"one"[..], b"two", b"three"] {
        mount.mkdir(mount.root(), name, 0o755).expect("mkdir");
    }
    assert_eq!((mount.breaches(), mount.damage()), (0, 0));
    mount.umount().expect("umount");
}

/// A state is read, or refused; and if it is whole an upgrade is made with what it says.
///
/// A state that is not whole is refused with `EBADMSG`; so is an upgrade, after which the old
/// version goes on. After either the volume works and is whole.
pub fn import(data: &[u8], volume: &MemDevice) -> Arc<MemDevice> {
    let device = Arc::new(volume.clone());
    let mount = mount(&device);
    let state = build(&mut Input(data), mount.fs().inner());
    let told = match StateReader::new(&state, Xv6::FORMAT) {
        Ok(reader) => {
            while reader.take(1).is_some() {}
            let _ = reader.finish();
            records(&state)
        }
        Err(error) => {
            assert_eq!(error, EBADMSG, "a state that is not whole");
            Vec::new()
        }
    };
    TOLD.set(told);
    match mount.upgrade::<Xv6>() {
        Ok(mount) => go_on(mount),
        Err(refused) => {
            assert_eq!(refused.error, EBADMSG, "an upgrade that is refused");
            go_on(refused.mount);
        }
    }
    device
}
