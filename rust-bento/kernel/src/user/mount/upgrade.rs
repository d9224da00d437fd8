// SPDX-License-Identifier: GPL-2.0

//! The replacement of a mounted version, by the same steps as in the kernel.
//!
//! Nobody else uses the mount meanwhile, which its owner gives away: so there is no gate, and each
//! inode is attached at once.

use super::Mount;
use crate::{
    alloc::{
        flags::GFP_KERNEL,
        KVec, //
    },
    bento::{
        FileSystem,
        Options,
        StateReader,
        StateWriter,
        STATE_HEADER, //
    },
    error::{
        code::*,
        Error,
        Result, //
    },
};

/// A mount whose version could not be replaced: it is as it was.
pub struct Refused<F: FileSystem> {
    /// The mount.
    pub mount: Mount<F>,
    /// Why not.
    pub error: Error,
}

impl<F: FileSystem> Mount<F> {
    /// Replaces the file system by the version `G`, with all that is open.
    ///
    /// # Errors
    ///
    /// As those of `bento_upgrade(2)`.
    pub fn upgrade<G: FileSystem>(self) -> Result<Mount<G>, Box<Refused<F>>> {
        match self.successor::<G>() {
            Ok((fs, inodes)) => Ok(Mount {
                credits: fs.credits(),
                session: self.session,
                fs,
                info: self.info,
                total: self.total,
                inodes,
                rename: self.rename,
                options: self.options,
            }),
            Err(error) => Err(Box::new(Refused { mount: self, error })),
        }
    }

    fn successor<G: FileSystem>(&self) -> Result<(G, super::InodeCache<G::Node>)> {
        if F::FORMAT != G::FORMAT {
            return Err(EINVAL);
        }
        if !G::STATE_READS.contains(&F::STATE_WRITES) {
            return Err(EPROTONOSUPPORT);
        }
        let own = self.options.split(',').filter(|text| !text.is_empty());
        let options = Options::parse(own, G::OPTIONS).map_err(|_| EOPNOTSUPP)?;
        let volume = self.volume();
        let info = G::probe(volume).map_err(|error| match error {
            EINVAL => EOPNOTSUPP,
            error => error,
        })?;
        if info != self.info {
            return Err(EOPNOTSUPP);
        }
        let mut fs = G::stage(volume, &options)?;
        let (new, old) = (fs.credits(), &self.credits);
        let fits = match volume.journal() {
            Ok(journal) => new.largest() <= journal.limit(),
            Err(_) => true,
        };
        if !fits || (new.tree_depth, new.half_node) != (old.tree_depth, old.half_node) {
            return Err(EOPNOTSUPP);
        }
        self.hand_over(&mut fs)?;
        let inodes = self.inodes.attached(|inode| fs.attach(volume, inode))?;
        Ok((fs, inodes))
    }

    fn hand_over<G: FileSystem>(&self, to: &mut G) -> Result {
        let mut room = KVec::new();
        room.resize(STATE_HEADER + F::STATE_SIZE, 0, GFP_KERNEL)?;
        let too_long = |error| if error == E2BIG { EBADMSG } else { error };
        let mut writer =
            StateWriter::new(&mut room, F::FORMAT, F::STATE_WRITES).map_err(too_long)?;
        self.fs.export(&mut writer).map_err(too_long)?;
        let reader = StateReader::new(writer.finish().map_err(too_long)?, G::FORMAT)?;
        to.import(&reader)?;
        reader.finish()
    }
}
