// SPDX-License-Identifier: GPL-2.0

//! Memory that is refused to an upgrade: it is done, or the old version serves on.

use anyhow::ensure;
use anyhow::Result;
use std::fs;
use std::fs::File;
use std::os::fd::IntoRawFd;

use super::call;
use super::content;
use super::volume;
use super::walk;
use crate::cases::upgrade::ready;
use crate::cases::Case;
use crate::sys;
use crate::upgrade::by_ioctl;
use crate::upgrade::value;
use crate::upgrade::Request;

pub fn upgrade(case: &Case) -> Result<()> {
    let mut fs = volume(case)?;
    ready(case)?;
    fs::write(fs.path("file"), b"there")?;
    for (from, to) in [("xv6", "xv6-next"), ("xv6-next", "xv6")] {
        walk(
            &mut fs,
            &format!("upgrade to {to}"),
            |fs| {
                by_ioctl(fs, from)?;
                let dir = File::open(&fs.dir)?.into_raw_fd();
                let mut request = Request::new(to);
                Ok(Box::new(move || {
                    // SAFETY: The descriptor is open, the structure is what the request asks for.
                    unsafe {
                        let result = call(libc::ioctl(
                            dir,
                            sys::ioc(3, 0xbe, 1, size_of::<Request>()),
                            &mut request,
                        ));
                        libc::close(dir);
                        result
                    }
                }))
            },
            |fs, result| {
                let serves = value(fs, "implementation")?;
                let expected = if result < 0 { from } else { to };
                ensure!(serves == expected, "{serves} serves, not {expected}");
                ensure!(value(fs, "state")? == "serving");
                // It works: what was there, and something new
                content(&fs.path("file"), b"there")?;
                fs::write(fs.path("new"), b"new")?;
                content(&fs.path("new"), b"new")?;
                fs::remove_file(fs.path("new"))?;
                Ok(())
            },
        )?;
    }
    fs.finish()
}
