// SPDX-License-Identifier: GPL-2.0

//! What a mount holds.

use super::{
    model::{
        Body,
        Id,
        Model,
        Node, //
    },
    op::{
        Path,
        NAMES, //
    },
    Verdict, //
};
use kernel::{
    bento::{
        FileSystem,
        Ino,
        Kind, //
    },
    error::Result,
    user::Mount, //
};
use std::collections::BTreeMap;

/// More names than any workload makes: a directory may contain itself on a damaged volume.
const MOST: usize = 10_000;

/// What a path leads to.
#[derive(Clone, Debug)]
pub struct Seen {
    pub ino: Ino,
    /// With a directory's entries left out: their paths tell.
    pub node: Node,
}

/// All that can be seen of a volume, but times.
pub struct Picture(pub BTreeMap<Path, Seen>);

impl Picture {
    /// Looks at all that has a name.
    pub fn of<F: FileSystem>(mount: &Mount<F>) -> Verdict<Self> {
        let mut all = BTreeMap::new();
        let mut dirs = vec![(Path::new(), mount.root())];
        while let Some((prefix, dir)) = dirs.pop() {
            let entries = mount
                .list(dir)
                .map_err(|error| format!("list of {}: {error:?}", show(&prefix)))?;
            for entry in entries {
                let name = NAMES.iter().position(|name| name.as_bytes() == entry.name);
                let Some(name) = name else {
                    return Err(format!("unknown name {:?}", entry.name.escape_ascii()));
                };
                let path = [&prefix[..], &[name as u8]].concat();
                let seen = look(mount, entry.ino)
                    .map_err(|error| format!("{}: {error:?}", show(&path)))?;
                if seen.node.kind() != entry.kind {
                    return Err(format!("{}: of another kind than its entry", show(&path)));
                }
                if entry.kind == Kind::Directory {
                    if mount.parent(entry.ino) != Ok(dir) {
                        return Err(format!("{}: wrong parent", show(&path)));
                    }
                    dirs.push((path.clone(), entry.ino));
                }
                if all.insert(path.clone(), seen).is_some() {
                    return Err(format!("{}: there twice", show(&path)));
                }
                if all.len() > MOST {
                    return Err("no end of names".into());
                }
            }
        }
        Ok(Self(all))
    }

    /// Says what differs from a model, the bytes of files left out.
    pub fn same_names(&self, model: &Model) -> Verdict {
        let expected = model.paths();
        let mut ids: BTreeMap<Ino, Id> = BTreeMap::new();
        for (path, seen) in &self.0 {
            let Some(id) = expected.get(path) else {
                return Err(format!("{} is there", show(path)));
            };
            let node = model.node(*id);
            if !same(&seen.node, node) {
                let (is, was) = (tell(&seen.node), tell(node));
                return Err(format!("{} is {is}, not {was}", show(path)));
            }
            if ids.insert(seen.ino, *id).is_some_and(|other| other != *id) {
                return Err(format!("{} is the same file as another name", show(path)));
            }
        }
        let missing = expected.keys().find(|path| !self.0.contains_key(*path));
        if let Some(missing) = missing {
            return Err(format!("{} is missing", show(missing)));
        }
        let inos: BTreeMap<Id, Ino> = ids.iter().map(|(ino, id)| (*id, *ino)).collect();
        match inos.len() == ids.len() {
            true => Ok(()),
            false => Err("names of one file are different files".into()),
        }
    }

    /// Says what differs from a model.
    pub fn same_as(&self, model: &Model) -> Verdict {
        self.same_names(model)?;
        for (path, id) in model.paths() {
            let (is, was) = (self.0[&path].node.content(), model.node(id).content());
            if let Some(at) = differs(is, was) {
                return Err(format!("{}: byte {at} of {}", show(&path), was.len()));
            }
        }
        Ok(())
    }
}

/// The first byte that differs.
pub fn differs(is: &[u8], was: &[u8]) -> Option<usize> {
    match is == was {
        true => None,
        false => Some(is.iter().zip(was).take_while(|(a, b)| a == b).count()),
    }
}

/// An inode, with all its content.
pub fn look<F: FileSystem>(mount: &Mount<F>, ino: Ino) -> Result<Seen> {
    let stat = mount.stat(ino)?;
    let attributes = stat.attributes;
    let body = match stat.kind {
        Kind::Directory => Body::Dir(BTreeMap::new()),
        Kind::Symlink => Body::Link(mount.read_link(ino)?),
        Kind::Regular => {
            // A size that no workload makes is told by the size.
            let mut content = vec![0xee; attributes.size.min(1 << 24) as usize];
            let count = mount.read(ino, 0, &mut content)?;
            content.truncate(count);
            Body::File(content.into())
        }
        _ => Body::Fifo,
    };
    let node = Node {
        body,
        mode: attributes.mode & 0o7777,
        uid: attributes.uid,
        gid: attributes.gid,
        nlink: attributes.nlink,
    };
    Ok(Seen { ino, node })
}

fn same(seen: &Node, node: &Node) -> bool {
    match (&seen.body, &node.body) {
        (Body::Dir(_), Body::Dir(_)) => Node {
            body: node.body.clone(),
            ..seen.clone()
        }
        .same_but_bytes(node),
        _ => seen.same_but_bytes(node),
    }
}

fn tell(node: &Node) -> String {
    let (kind, size) = (node.kind(), node.content().len());
    let (mode, uid, gid, nlink) = (node.mode, node.uid, node.gid, node.nlink);
    format!("{kind:?} of {size} bytes, mode {mode:o}, owner {uid}:{gid}, {nlink} links")
}

/// A path, in short.
pub fn show(path: &[u8]) -> String {
    let names = path.iter().map(|name| {
        let name = NAMES[usize::from(*name) % NAMES.len()];
        name.split_at_checked(8).map_or(name, |(start, _)| start)
    });
    names.fold(String::new(), |text, name| text + "/" + name)
}
