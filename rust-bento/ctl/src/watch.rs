// SPDX-License-Identifier: GPL-2.0

//! Upgrades and refusals as they happen.
//!
//! The kernel sends a uevent for each. Where they cannot be received, as in another network
//! namespace, sysfs is looked at once in a while: then only the last of several events between two
//! looks is seen.

use crate::{
    refusal,
    sysfs::{
        self,
        Mount, //
    },
    system::System,
};
use rustix::net::{
    bind,
    netlink::{
        self,
        SocketAddrNetlink, //
    },
    recvfrom,
    socket_with,
    AddressFamily,
    RecvFlags,
    SocketFlags,
    SocketType, //
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io,
    os::fd::OwnedFd,
    time::Duration, //
};

/// The group of the kernel's own messages; udev's are in another one.
const KERNEL: u32 = 1;
/// More than a uevent has (`UEVENT_BUFFER_SIZE` and its header).
const MESSAGE: usize = 8192;
const MOUNTS: &str = "/fs/bento/mounts/";

/// What happened to a mount.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Event {
    /// The mount's directory in `/sys/fs/bento/mounts`.
    pub mount: String,
    /// `upgrade` or `refused`.
    pub event: String,
    /// What served before.
    pub from: Option<String>,
    /// What was asked for.
    pub to: Option<String>,
    /// From closing the gate to opening it, in nanoseconds.
    pub pause_ns: Option<u64>,
    /// Why it was refused, as `EBUSY`.
    pub error: Option<String>,
}

/// Reads a uevent: fields ended by NUL, the first of which is `ACTION@PATH`.
pub fn parse(message: &[u8]) -> Option<Event> {
    let mut fields = message
        .split(|&b| b == 0)
        .filter_map(|field| std::str::from_utf8(field).ok());
    let (_, path) = fields.next()?.split_once('@')?;
    let mount = path.strip_prefix(MOUNTS)?.to_owned();
    let values: BTreeMap<&str, &str> = fields.filter_map(|field| field.split_once('=')).collect();
    let value = |name: &str| values.get(name).map(|text| (*text).to_owned());
    Some(Event {
        mount,
        event: value("BENTO_EVENT")?,
        from: value("BENTO_FROM"),
        to: value("BENTO_TO"),
        pause_ns: value("BENTO_PAUSE_NS").and_then(|text| text.parse().ok()),
        error: value("BENTO_ERROR").map(|text| match text.parse::<i32>() {
            Ok(number) => refusal::name(number.abs()),
            Err(_) => text,
        }),
    })
}

/// Where uevents come in.
pub struct Uevents {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Uevents {
    /// Starts to receive.
    pub fn new() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            Some(netlink::KOBJECT_UEVENT),
        )?;
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL))?;
        Ok(Self {
            socket,
            buffer: vec![0; MESSAGE],
        })
    }

    /// Waits for the next one that is about a mount.
    ///
    /// # Errors
    ///
    /// `ENOBUFS` if some were lost.
    pub fn wait(&mut self) -> io::Result<Event> {
        loop {
            let (_, length, sender) =
                match recvfrom(&self.socket, &mut self.buffer[..], RecvFlags::TRUNC) {
                    Err(rustix::io::Errno::INTR) => continue,
                    other => other?,
                };
            // Another program may send to this group too, if it has the privilege
            let kernel = sender
                .and_then(|address| SocketAddrNetlink::try_from(address).ok())
                .is_some_and(|address| address.pid() == 0);
            if let Some(event) = self.buffer.get(..length).filter(|_| kernel).and_then(parse) {
                return Ok(event);
            }
        }
    }
}

/// Looks at sysfs.
pub struct Poll {
    known: BTreeMap<String, Mount>,
}

impl Poll {
    /// Remembers what is there now.
    pub fn new(system: &System) -> io::Result<Self> {
        let known = sysfs::mounts(system)?;
        Ok(Self {
            known: known.into_iter().map(|m| (m.id.clone(), m)).collect(),
        })
    }

    /// What happened since the last look.
    pub fn look(&mut self, system: &System) -> io::Result<Vec<Event>> {
        let now = sysfs::mounts(system)?;
        self.known
            .retain(|id, _| now.iter().any(|mount| mount.id == *id));
        let mut events = Vec::new();
        for mount in now {
            let Some(before) = self.known.get(&mount.id) else {
                self.known.insert(mount.id.clone(), mount);
                continue;
            };
            let upgraded = mount.upgrades > before.upgrades;
            let refused = mount.refusals > before.refusals;
            // The files change one after the other: what served before is forgotten with its count
            if !upgraded && !refused {
                continue;
            }
            let event = |name: &str| Event {
                mount: mount.id.clone(),
                event: name.into(),
                from: Some(before.implementation.clone()),
                to: None,
                pause_ns: None,
                error: None,
            };
            if upgraded {
                events.push(Event {
                    to: Some(mount.implementation.clone()),
                    pause_ns: mount.last.map(|last| last.pause_ns),
                    ..event("upgrade")
                });
            }
            if refused {
                events.push(Event {
                    error: (mount.last_error != 0).then(|| refusal::name(mount.last_error.abs())),
                    ..event("refused")
                });
            }
            self.known.insert(mount.id.clone(), mount);
        }
        Ok(events)
    }

    /// Waits until something happened.
    pub fn wait(&mut self, system: &System, interval: Duration) -> io::Result<Vec<Event>> {
        loop {
            std::thread::sleep(interval);
            let events = self.look(system)?;
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }
}
