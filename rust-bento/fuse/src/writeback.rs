// SPDX-License-Identifier: GPL-2.0

//! What a writeback cache in the kernel asks for: it has data that the mount has not seen.
//!
//! The kernel asks for `SEEK_DATA` and `SEEK_HOLE` without writing its pages first. So it is told
//! to let go of them, which makes it write; those writes are requests themselves. The thread that
//! waits for them must not be one that answers requests, or all could end up waiting.

use fuser::{
    INodeNo,
    Notifier, //
};
use std::{
    io,
    sync::{
        mpsc::{
            channel,
            Receiver,
            Sender, //
        },
        Arc,
        OnceLock, //
    },
    thread,
};

/// A search that is to be made when the kernel has written its pages.
pub(crate) struct Seek {
    pub(crate) ino: INodeNo,
    pub(crate) offset: u64,
    pub(crate) act: Box<dyn FnOnce() + Send>,
}

/// The server's side of the cache.
pub(crate) struct Writeback {
    seeks: Sender<Seek>,
    notifier: Arc<OnceLock<Notifier>>,
}

/// What [`Worker::start`] needs.
pub(crate) struct Worker {
    seeks: Receiver<Seek>,
    notifier: Arc<OnceLock<Notifier>>,
}

impl Writeback {
    pub(crate) fn new() -> (Self, Worker) {
        let (sender, seeks) = channel();
        let notifier = Arc::default();
        let this = Self {
            seeks: sender,
            notifier: Arc::clone(&notifier),
        };
        (this, Worker { seeks, notifier })
    }

    /// Has a search made when the kernel has written what lies behind its offset.
    pub(crate) fn seek(&self, seek: Seek) {
        // When nobody takes it any more the server ends: the request is answered with EIO.
        drop(self.seeks.send(seek));
    }

    /// Has the kernel ask for an inode's attributes again. It does not know how many blocks a file
    /// uses since its pages were written.
    pub(crate) fn refresh(&self, ino: INodeNo) {
        const ATTRIBUTES_ONLY: i64 = -1;
        if let Some(notifier) = self.notifier.get() {
            // Fails if the kernel does not know the inode any more.
            let _ = notifier.inval_inode(ino, ATTRIBUTES_ONLY, 0);
        }
    }
}

impl Worker {
    /// Starts the thread that makes searches. It ends with the [`Writeback`].
    pub(crate) fn start(self, notifier: Notifier) -> io::Result<()> {
        let notifier = self.notifier.get_or_init(|| notifier).clone();
        let work = move || {
            for seek in self.seeks {
                if let Ok(offset) = i64::try_from(seek.offset) {
                    // Fails for what the kernel does not have in memory, which is as good.
                    let _ = notifier.inval_inode(seek.ino, offset, 0);
                }
                (seek.act)();
            }
        };
        thread::Builder::new().name("seek".into()).spawn(work)?;
        Ok(())
    }
}
