// SPDX-License-Identifier: GPL-2.0

//! One version of xv6 takes over from another: two builds of the same source in one process.

mod common;

use common::{
    format,
    fsck,
    mount,
    pattern,
    BLOCKS, //
};
use kernel::{
    bento::{
        Credits,
        FileSystem,
        Ino,
        Need,
        StateReader,
        StateWriter,
        Variant,
        Versioned,
        Volume,
        VolumeInfo,
        STATE_HEADER, //
    },
    error::{
        code::*,
        Error,
        Result, //
    },
    user::{
        Mount,
        NewNode, //
    },
};
use std::ops::RangeInclusive;
use xv6::Xv6;

const FILE: NewNode<'static> = NewNode {
    mode: 0o100_644,
    uid: 1,
    gid: 2,
    rdev: 0,
    target: &[],
};

struct Next;

impl Variant<Xv6> for Next {
    const NAME: &'static str = "xv6-next";
    const VERSION: u32 = 2;
}

type Xv6Next = Versioned<Xv6, Next>;

fn read<F: FileSystem>(mount: &Mount<F>, ino: Ino) -> Vec<u8> {
    let mut data = vec![0; mount.stat(ino).unwrap().attributes.size as usize];
    assert_eq!(mount.read(ino, 0, &mut data), Ok(data.len()));
    data
}

fn upgrade<F: FileSystem, G: FileSystem>(mount: Mount<F>) -> Mount<G> {
    mount
        .upgrade::<G>()
        .unwrap_or_else(|refused| panic!("{:?}", refused.error))
}

#[test]
fn files_stay_over_a_chain_of_upgrades() {
    let device = format(BLOCKS);
    let mut now = mount(&device);
    let root = now.root();
    let mut files = Vec::new();
    // Without a name, and open
    let nameless = now.create(root, b"nameless", &FILE).unwrap().pin();
    now.unlink(root, b"nameless").unwrap();
    for round in 0..50_u64 {
        let next = upgrade::<Xv6, Xv6Next>(now);
        let name = format!("file-{round}");
        let ino = next.create(root, name.as_bytes(), &FILE).unwrap().pin();
        let data = pattern(round, 5_000);
        assert_eq!(next.write(ino, 0, &data), Ok(data.len()));
        next.write(nameless, round * 10, b"0123456789").unwrap();
        now = upgrade::<Xv6Next, Xv6>(next);
        files.push((ino, data));
    }
    for (ino, data) in &files {
        assert!(read(&now, *ino) == *data, "inode {ino}");
        now.unpin(*ino, 1);
    }
    assert_eq!(read(&now, nameless).len(), 500);
    now.unpin(nameless, 1);
    let inos: std::collections::BTreeSet<_> = files.iter().map(|(ino, _)| ino).collect();
    assert_eq!(inos.len(), files.len(), "an inode was made twice");
    common::umount(now);
    fsck(&*device);
}

macro_rules! bad {
    ($type:ident, { $($item:tt)* }) => {
        struct $type;
        impl Variant<Xv6> for $type {
            const NAME: &'static str = "bad";
            const VERSION: u32 = 9;
            $($item)*
        }
    };
}

bad!(OtherFormat, {
    const FORMAT: &'static str = "other";
});
bad!(OtherState, {
    const STATE_READS: RangeInclusive<u32> = 5..=6;
});
bad!(OtherLimits, {
    fn probe(volume: &Volume) -> Result<VolumeInfo> {
        Ok(VolumeInfo {
            max_links: 2,
            ..Xv6::probe(volume)?
        })
    }
});
bad!(Greedy, {
    fn credits(fs: &Xv6) -> Credits {
        Credits {
            rename: u32::MAX,
            ..fs.credits()
        }
    }
});
bad!(OtherTree, {
    fn credits(fs: &Xv6) -> Credits {
        Credits {
            tree_depth: 1,
            ..fs.credits()
        }
    }
});
bad!(NoImport, {
    fn import(_fs: &mut Xv6, _state: &StateReader<'_>) -> Result {
        Err(ENODATA)
    }
});
bad!(Ignorant, {
    fn import(_fs: &mut Xv6, _state: &StateReader<'_>) -> Result {
        Ok(())
    }
});
bad!(Talkative, {
    fn export(fs: &Xv6, state: &mut StateWriter<'_>) -> Result {
        fs.export(state)?;
        state.put(77, 1, Need::Optional, &[0; 100])
    }
});

fn refused<V: Variant<Xv6>>(mount: Mount<Xv6>, error: Error) -> Mount<Xv6> {
    match mount.upgrade::<Versioned<Xv6, V>>() {
        Ok(_) => panic!("it was not refused"),
        Err(refused) => {
            assert_eq!(refused.error, error);
            refused.mount
        }
    }
}

#[test]
fn a_successor_that_does_not_fit_is_refused() {
    let device = format(BLOCKS);
    let now = mount(&device);
    let root = now.root();
    let file = now.create(root, b"file", &FILE).unwrap().pin();
    now.write(file, 0, b"content").unwrap();
    let now = refused::<OtherFormat>(now, EINVAL);
    let now = refused::<OtherState>(now, EPROTONOSUPPORT);
    let now = refused::<OtherLimits>(now, EOPNOTSUPP);
    let now = refused::<Greedy>(now, EOPNOTSUPP);
    let now = refused::<OtherTree>(now, EOPNOTSUPP);
    let now = refused::<NoImport>(now, ENODATA);
    let now = refused::<Ignorant>(now, EBADMSG);
    assert_eq!(read(&now, file), b"content");
    now.create(root, b"after", &FILE).unwrap();
    // What says too much can be switched to, and not away from.
    let talks = upgrade::<Xv6, Versioned<Xv6, Talkative>>(now);
    let Err(refused) = talks.upgrade::<Xv6>() else {
        panic!("it was not refused");
    };
    assert_eq!(refused.error, EBADMSG);
    assert_eq!(read(&refused.mount, file), b"content");
    refused.mount.unpin(file, 1);
    refused.mount.umount().unwrap();
    fsck(&*device);
}

/// A state of xv6, and one record that it does not know.
fn state(need: Need) -> Vec<u8> {
    let device = format(BLOCKS);
    let mount = mount(&device);
    let mut room = vec![0xff; 1024];
    let mut writer = StateWriter::new(&mut room, "xv6", Xv6::STATE_WRITES).unwrap();
    mount.fs().export(&mut writer).unwrap();
    writer.put(500, 3, need, b"unknown").unwrap();
    let bytes = writer.finish().unwrap().to_vec();
    common::umount(mount);
    bytes
}

#[test]
fn a_state_that_is_not_whole_is_not_read() {
    let good = state(Need::Optional);
    assert!(StateReader::new(&good, "xv6").is_ok());
    assert!(StateReader::new(&good, "xv").is_err());
    assert!(StateReader::new(&good, "xv66").is_err());
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let error = StateReader::new(&bad, "xv6").err();
        assert_eq!(error, Some(EBADMSG), "bit {bit}");
    }
    for len in 0..good.len() {
        assert!(
            StateReader::new(&good[..len], "xv6").is_err(),
            "{len} bytes"
        );
    }
    let mut long = good;
    long.extend([0; 8]);
    assert!(StateReader::new(&long, "xv6").is_err(), "too long");
}

#[test]
fn an_unknown_record_counts_if_it_is_mandatory() {
    for (need, result) in [(Need::Optional, Ok(())), (Need::Mandatory, Err(EBADMSG))] {
        let bytes = state(need);
        let reader = StateReader::new(&bytes, "xv6").unwrap();
        assert!(reader.take(1).is_some() && reader.take(1).is_none());
        assert!(reader.take(2).is_some());
        assert_eq!(reader.finish(), result);
        assert_eq!(
            reader.take(500).map(|record| record.content),
            Some(&b"unknown"[..])
        );
        assert_eq!(reader.finish(), Ok(()));
    }
}

#[test]
fn a_state_has_the_room_that_was_promised() {
    let device = format(BLOCKS);
    let mount = mount(&device);
    let mut exact = vec![0; STATE_HEADER + Xv6::STATE_SIZE];
    let mut writer = StateWriter::new(&mut exact, "xv6", 1).unwrap();
    assert_eq!(mount.fs().export(&mut writer), Ok(()));
    assert_eq!(writer.put(9, 1, Need::Optional, &[]), Err(E2BIG));
    assert!(StateWriter::new(&mut [0; STATE_HEADER - 1], "xv6", 1).is_err());
    common::umount(mount);
}
