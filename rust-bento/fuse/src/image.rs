// SPDX-License-Identifier: GPL-2.0

//! From an image or a block device to a mount, with a sentence for each reason why not.

use kernel::{
    bento::FileSystem,
    error::{
        code::*,
        Error, //
    },
    print::{
        Capture,
        Level, //
    },
    user::{
        device::{
            Device,
            FileDevice, //
        },
        Mount,
        MountOptions, //
    },
};
use std::{
    fs::{
        metadata,
        OpenOptions, //
    },
    os::unix::fs::FileTypeExt,
    path::Path,
    sync::Arc, //
};
use xv6_utils::{
    failure::{
        Context,
        Failure,
        Result, //
    },
    in_use, //
};

/// Mounts the volume on `image`. Nothing is written if that fails, but that a journal may have been
/// replayed.
pub fn mount<F: FileSystem>(image: &Path, options: &MountOptions) -> Result<Mount<F>> {
    let name = image.display();
    let kind = metadata(image).context(&name)?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(Failure::new(format!(
            "{name}: neither an image file nor a block device"
        )));
    }
    if let Some(point) = in_use::mount_point(image)? {
        return Err(Failure::new(format!("{name} is mounted on {point}")));
    }
    match mount_on::<F>(open(image, options.read_only)?, options) {
        // A volume that was not unmounted: its journal comes first.
        Err((EROFS, _)) if options.read_only && is_writable(image) => {
            mount_on::<F>(open(image, false)?, options)
        }
        result => result,
    }
    .map_err(|(error, messages)| Failure::new(reason(image, error, &messages)))
}

fn open(image: &Path, read_only: bool) -> Result<FileDevice> {
    let name = image.display();
    let opened = match read_only {
        true => FileDevice::open_read_only(image),
        false => FileDevice::open(image),
    };
    let device = opened.map_err(|error| {
        Failure::new(match error {
            EBUSY => format!(
                "{name} is in use: by another bento-fuse, a mount, fsck or a virtual machine"
            ),
            EROFS | EACCES | EPERM if !read_only => {
                format!("{name} cannot be written to ({error}): -o ro mounts it for reading")
            }
            error => format!("{name}: {error}"),
        })
    })?;
    match device.blocks() {
        0 => Err(Failure::new(format!("{name} is empty"))),
        _ => Ok(device),
    }
}

fn is_writable(image: &Path) -> bool {
    OpenOptions::new().write(true).open(image).is_ok()
}

/// Mounts, and keeps what the core and the file system say meanwhile if that fails.
fn mount_on<F: FileSystem>(
    device: FileDevice,
    options: &MountOptions,
) -> Result<Mount<F>, (Error, Vec<String>)> {
    let capture = Capture::start();
    let result = Mount::mount(Arc::new(device), options);
    let messages = capture.take();
    drop(capture);
    match result {
        Ok(mount) => {
            for (level, text) in messages {
                kernel::print::log(level, format_args!("{text}"));
            }
            Ok(mount)
        }
        Err(error) => {
            let grave = messages
                .into_iter()
                .filter(|(level, _)| *level <= Level::Warn);
            Err((error, grave.map(|(_, text)| text).collect()))
        }
    }
}

fn reason(image: &Path, error: Error, messages: &[String]) -> String {
    let name = image.display();
    let said: Vec<&str> = messages
        .iter()
        .map(|text| {
            let text = text.strip_prefix("bento: ").unwrap_or(text);
            text.strip_prefix("cannot mount: ").unwrap_or(text)
        })
        .collect();
    let remedy = match error {
        EUCLEAN => "; fsck may help",
        EROFS if said.is_empty() => "; the journal has to be replayed, which writes to the volume",
        _ => "",
    };
    match said.is_empty() {
        true => format!("{name}: cannot be mounted: {error}{remedy}"),
        false => format!("{name}: cannot be mounted: {}{remedy}", said.join("; ")),
    }
}
