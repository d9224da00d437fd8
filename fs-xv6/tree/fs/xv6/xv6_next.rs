// SPDX-License-Identifier: GPL-2.0

//! xv6 once more, as other versions of itself: to test the replacement of a mounted version.
//!
//! `xv6-next` is a good successor. The others are bad, each in one way that its name tells: they
//! can be registered, and an upgrade to them is refused at the step where they are wrong.

use core::ops::RangeInclusive;
use kernel::{
    bento::{
        crc32c,
        Credits,
        FileSystem,
        Need,
        OptionSpec,
        OptionValue,
        Options,
        Registration,
        StateReader,
        StateWriter,
        Variant,
        Versioned,
        Volume,
        VolumeInfo,
        STATE_RECORD,
        STATE_SIZE_MAX, //
    },
    prelude::*, //
};

#[path = "xv6.rs"]
pub mod xv6;

use xv6::Xv6;

module! {
    type: Xv6NextModule,
    name: "xv6_next",
    authors: ["Bento"],
    description: "xv6 as other versions of itself, for tests",
    license: "GPL",
    params: {
        spoil: u8 {
            default: 0,
            description: "Fault in xv6-bad-bytes' state: see spoil() in xv6_next.rs",
        },
    },
}

/// The same as xv6, but for its version, and for an option that xv6 does not know.
struct Next;

impl Variant<Xv6> for Next {
    const NAME: &'static str = "xv6-next";
    const VERSION: u32 = Xv6::VERSION + 1;
    const OPTIONS: &'static [OptionSpec] = &[OptionSpec {
        name: "testing",
        value: OptionValue::Flag,
    }];
}

/// Declares a version that is wrong in one way.
macro_rules! bad {
    ($type:ident, $name:literal, { $($item:tt)* }) => {
        struct $type;

        impl Variant<Xv6> for $type {
            const NAME: &'static str = $name;
            const VERSION: u32 = 1000;
            $($item)*
        }
    };
}

bad!(OtherFormat, "xv6-bad-format", {
    const FORMAT: &'static str = "xv6-other";
});
bad!(OtherState, "xv6-bad-state", {
    const STATE_READS: RangeInclusive<u32> = 7..=9;
});
bad!(Feature, "xv6-bad-feature", {
    fn probe(volume: &Volume) -> Result<VolumeInfo> {
        Err(volume.refuse(
            EINVAL,
            format_args!("a feature that this version does not know"),
        ))
    }
});
bad!(Limits, "xv6-bad-limits", {
    fn probe(volume: &Volume) -> Result<VolumeInfo> {
        let info = Xv6::probe(volume)?;
        Ok(VolumeInfo {
            max_links: 2,
            ..info
        })
    }
});
bad!(TooManyCredits, "xv6-bad-credits", {
    fn credits(fs: &Xv6) -> Credits {
        Credits {
            create: u32::MAX,
            ..fs.credits()
        }
    }
});
bad!(OtherTree, "xv6-bad-tree", {
    fn credits(fs: &Xv6) -> Credits {
        let credits = fs.credits();
        Credits {
            half_node: credits.half_node.saturating_sub(1),
            ..credits
        }
    }
});
bad!(Stage, "xv6-bad-stage", {
    fn stage(volume: &Volume, _options: &Options) -> Result<Xv6> {
        Err(volume.corrupt(format_args!(
            "this version finds damage where there is none"
        )))
    }
});
bad!(NoMemory, "xv6-bad-memory", {
    fn stage(volume: &Volume, options: &Options) -> Result<Xv6> {
        Xv6::stage(volume, options).and(Err(ENOMEM))
    }
});
bad!(Import, "xv6-bad-import", {
    fn import(fs: &mut Xv6, state: &StateReader<'_>) -> Result {
        fs.import(state).and(Err(ENODATA))
    }
});
// It takes nothing, so a record that it has to know stays behind.
bad!(Unknown, "xv6-bad-unknown", {
    fn import(_fs: &mut Xv6, _state: &StateReader<'_>) -> Result {
        Ok(())
    }
});
// These two can be switched to, and not away from.
bad!(TooLong, "xv6-bad-export", {
    fn export(fs: &Xv6, state: &mut StateWriter<'_>) -> Result {
        fs.export(state)?;
        state.put(1000, 1, Need::Optional, &[0; 64])
    }
});
bad!(Stranger, "xv6-bad-record", {
    const STATE_SIZE: usize = 1024;

    fn export(fs: &Xv6, state: &mut StateWriter<'_>) -> Result {
        fs.export(state)?;
        state.put(1000, 1, Need::Mandatory, &[0; 64])
    }
});
bad!(Bytes, "xv6-bad-bytes", {
    const STATE_SIZE: usize = Xv6::STATE_SIZE + 8;

    fn export(fs: &Xv6, state: &mut StateWriter<'_>) -> Result {
        fs.export(state)?;
        state.spoil(spoil);
        Ok(())
    }
});
// As much as there may be, which a successor passes over.
bad!(Large, "xv6-large-state", {
    const STATE_SIZE: usize = STATE_SIZE_MAX;

    fn export(fs: &Xv6, state: &mut StateWriter<'_>) -> Result {
        fs.export(state)?;
        let most = STATE_SIZE_MAX - Xv6::STATE_SIZE - STATE_RECORD;
        static ZEROS: [u8; STATE_SIZE_MAX] = [0; STATE_SIZE_MAX];
        let zeros = ZEROS.get(..most).ok_or(EINVAL)?;
        state.put(1000, 1, Need::Optional, zeros)
    }
});

/// Damages a state of `len` bytes in `room`, as the module's parameter says: 1 cuts it short, 2
/// makes it too long, 3 spoils its sum, 4 a record's sum, 5 a record's length. Gives the new
/// length.
fn spoil(room: &mut [u8], len: usize) -> usize {
    // Where the header has the length and the sum, see `kernel::bento::StateWriter`.
    const LENGTH: usize = 12;
    const SUM: usize = 20;

    fn put(room: &mut [u8], offset: usize, value: u32) {
        if let Some(field) = room.get_mut(offset..).and_then(|rest| rest.get_mut(..4)) {
            field.copy_from_slice(&value.to_le_bytes());
        }
    }

    let how = module_parameters::spoil.value();
    let new_len = match how {
        1 | 5 => len.saturating_sub(8),
        2 => len.saturating_add(8),
        _ => len,
    };
    if matches!(how, 3 | 4) {
        // The last byte of the last record.
        if let Some(byte) = room.get_mut(len.saturating_sub(1)) {
            *byte ^= 1;
        }
    }
    if matches!(how, 4 | 5) {
        // So that what is wrong is found in the records only.
        put(room, LENGTH, new_len as u32);
        put(room, SUM, 0);
        let sum = crc32c(!0, room.get(..new_len).unwrap_or(&[]));
        put(room, SUM, sum);
    }
    new_len
}

/// The loaded module: the versions are registered while it lives.
pub struct Xv6NextModule {
    _registrations: KVec<Registration>,
}

impl kernel::Module for Xv6NextModule {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let mut registrations = KVec::new();
        macro_rules! register {
            ($($variant:ty),*) => {
                $(registrations.push(
                    Registration::new::<Versioned<Xv6, $variant>>(module)?,
                    GFP_KERNEL,
                )?;)*
            };
        }
        register!(
            Next,
            OtherFormat,
            OtherState,
            Feature,
            Limits,
            TooManyCredits,
            OtherTree,
            Stage,
            NoMemory,
            Import,
            Unknown,
            TooLong,
            Stranger,
            Bytes,
            Large
        );
        Ok(Self {
            _registrations: registrations,
        })
    }
}
