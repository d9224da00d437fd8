// SPDX-License-Identifier: GPL-2.0

//! The erased table of an implementation.
//!
//! An [`Instance`] is all that the core knows of a [`FileSystem`]: plain function pointers to
//! adapters. The adapters are the only generic code of the core. They are text of the module that
//! names them, so they run inside the gate and nowhere else: [`Entered`](super::entered::Entered)
//! makes the calls.

use super::{
    inode::CoreInode,
    Attributes,
    Claims,
    Credits,
    DirSink,
    Extent,
    FileRange,
    FileSystem,
    Handle,
    Ino,
    Inode,
    Intent,
    Kind,
    Mapping,
    Name,
    NewInode,
    OptionSpec,
    Options,
    Rename,
    Space,
    StateReader,
    StateWriter,
    Step,
    Volume,
    VolumeInfo, //
};
use crate::prelude::*;
use core::{
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::NonNull, //
};

/// The largest size of [`FileSystem::Node`], in bytes. Its alignment is at most 8.
pub const NODE_SIZE: usize = 192;

/// The bytes that hold an inode's cached data.
pub(super) type NodeArea = MaybeUninit<[u64; NODE_SIZE / 8]>;

/// What the core passes for a [`Rename`].
pub(super) struct RawRename<'a> {
    pub(super) old_dir: &'a CoreInode,
    pub(super) old_name: Name<'a>,
    pub(super) inode: &'a CoreInode,
    pub(super) new_dir: &'a CoreInode,
    pub(super) new_name: Name<'a>,
    pub(super) target: Option<&'a CoreInode>,
    pub(super) exchange: bool,
    pub(super) whiteout: Option<&'a CoreInode>,
}

/// The state of a mounted implementation: a `KBox` of its type, erased.
#[derive(Clone, Copy)]
pub(super) struct State(NonNull<()>);

// SAFETY: A `FileSystem` is `Send` and `Sync`.
unsafe impl Send for State {}
// SAFETY: As above.
unsafe impl Sync for State {}

/// The table of one implementation.
///
/// Every function that takes a [`State`] asks that it came from `mount` or `stage` of the same
/// table, has not been given to `unmount`, and that every inode passed is attached: its node area
/// holds a value that the same table's `read_inode`, `create` or `attach` wrote.
pub(super) struct Instance {
    pub(super) format: &'static str,
    pub(super) name: &'static str,
    pub(super) version: u32,
    pub(super) block_size: u32,
    pub(super) options: &'static [OptionSpec],
    /// The version of the state that `export` writes.
    pub(super) state_writes: u32,
    /// The first and the last version of the state that `import` reads.
    pub(super) state_reads: (u32, u32),
    /// Bytes of the records that `export` writes, at most.
    pub(super) state_size: usize,
    pub(super) probe: fn(&Volume) -> Result<VolumeInfo>,
    pub(super) mount: fn(&Volume, &Options) -> Result<State>,
    /// As `mount`, on a volume that another version serves.
    pub(super) stage: fn(&Volume, &Options) -> Result<State>,
    pub(super) unmount: unsafe fn(State),
    pub(super) export: unsafe fn(State, &mut StateWriter<'_>) -> Result,
    /// Asks besides that nobody else uses the state.
    pub(super) import: unsafe fn(State, &StateReader<'_>) -> Result,
    pub(super) space: unsafe fn(State, &Volume) -> Result<Space>,
    pub(super) credits: unsafe fn(State) -> Credits,
    pub(super) set_clean: unsafe fn(State, &Handle<'_>, Option<Space>) -> Result,
    pub(super) set_error: unsafe fn(State, &Handle<'_>) -> Result,
    pub(super) read_inode: unsafe fn(State, &Volume, Ino, &mut NodeArea) -> Result<Attributes>,
    pub(super) attach: unsafe fn(State, &Volume, &CoreInode, &mut NodeArea) -> Result,
    pub(super) read_link: unsafe fn(State, &Volume, &CoreInode, &mut [u8]) -> Result<usize>,
    pub(super) lookup: unsafe fn(State, &Volume, &CoreInode, Name<'_>) -> Result<Option<Ino>>,
    pub(super) read_dir: unsafe fn(State, &Volume, &CoreInode, u64, &mut DirSink<'_>) -> Result,
    pub(super) parent: unsafe fn(State, &Volume, &CoreInode) -> Result<Ino>,
    pub(super) alloc_inode: unsafe fn(State, &Volume, &Claims<'_>, &CoreInode, Kind) -> Result<Ino>,
    pub(super) create: unsafe fn(
        State,
        &Handle<'_>,
        &CoreInode,
        &CoreInode,
        &NewInode<'_>,
        &mut NodeArea,
    ) -> Result,
    pub(super) link: unsafe fn(State, &Handle<'_>, &CoreInode, &CoreInode, Name<'_>) -> Result,
    pub(super) unlink: unsafe fn(State, &Handle<'_>, &CoreInode, &CoreInode, Name<'_>) -> Result,
    pub(super) rename: unsafe fn(State, &Handle<'_>, &RawRename<'_>) -> Result,
    pub(super) write_inode: unsafe fn(State, &Handle<'_>, &CoreInode) -> Result,
    pub(super) set_orphan: unsafe fn(State, &Handle<'_>, &CoreInode, bool) -> Result,
    pub(super) next_orphan: unsafe fn(State, &Volume, Ino) -> Result<Option<Ino>>,
    pub(super) map:
        unsafe fn(State, &Volume, &Claims<'_>, &CoreInode, FileRange, Intent) -> Result<Mapping>,
    pub(super) publish: unsafe fn(State, &Handle<'_>, &CoreInode, Extent) -> Result,
    pub(super) free_blocks: unsafe fn(State, &Handle<'_>, &CoreInode, FileRange) -> Result<Step>,
    pub(super) free_inode: unsafe fn(State, &Handle<'_>, &CoreInode) -> Result,
    pub(super) inode_block: unsafe fn(State, Ino) -> Option<super::Block>,
}

/// Makes the table of `F`.
pub(super) struct Adapter<F: FileSystem>(PhantomData<F>);

/// The file system behind an erased state.
///
/// # Safety
///
/// `state` came from `mount` or `stage` of [`Adapter::<F>`](Adapter), and stays mounted for `'a`.
unsafe fn state<'a, F: FileSystem>(state: State) -> &'a F {
    // SAFETY: By this function's requirement it points to an `F` that lives for `'a` and is only
    // shared.
    unsafe { state.0.cast::<F>().as_ref() }
}

/// The view of `inode` that `F` gets.
///
/// # Safety
///
/// The inode's node area holds an `F::Node`, or is not read while the view is in use.
unsafe fn view<F: FileSystem>(inode: &CoreInode) -> Inode<'_, F::Node> {
    // SAFETY: By this function's requirement.
    unsafe { Inode::new(inode) }
}

/// Puts `node` into its place.
fn put<T: Copy>(area: &mut NodeArea, node: T) {
    const {
        assert!(
            size_of::<T>() <= size_of::<NodeArea>(),
            "the node is too large"
        );
        assert!(align_of::<T>() <= align_of::<NodeArea>());
    }
    // SAFETY: The area is large enough and aligned, as was just asserted.
    unsafe { area.as_mut_ptr().cast::<T>().write(node) };
}

impl<F: FileSystem> Adapter<F> {
    /// The table.
    pub(super) const TABLE: Instance = Instance {
        format: F::FORMAT,
        name: F::NAME,
        version: F::VERSION,
        block_size: F::BLOCK_SIZE,
        options: F::OPTIONS,
        state_writes: F::STATE_WRITES,
        state_reads: (*F::STATE_READS.start(), *F::STATE_READS.end()),
        state_size: F::STATE_SIZE,
        probe: F::probe,
        mount: Self::mount,
        stage: Self::stage,
        export: Self::export,
        import: Self::import,
        unmount: Self::unmount,
        space: Self::space,
        credits: Self::credits,
        set_clean: Self::set_clean,
        set_error: Self::set_error,
        read_inode: Self::read_inode,
        attach: Self::attach,
        read_link: Self::read_link,
        lookup: Self::lookup,
        read_dir: Self::read_dir,
        parent: Self::parent,
        alloc_inode: Self::alloc_inode,
        create: Self::create,
        link: Self::link,
        unlink: Self::unlink,
        rename: Self::rename,
        write_inode: Self::write_inode,
        set_orphan: Self::set_orphan,
        next_orphan: Self::next_orphan,
        map: Self::map,
        publish: Self::publish,
        free_blocks: Self::free_blocks,
        free_inode: Self::free_inode,
        inode_block: Self::inode_block,
    };

    fn mount(volume: &Volume, options: &Options) -> Result<State> {
        let fs = KBox::new(F::mount(volume, options)?, GFP_KERNEL)?;
        Ok(State(NonNull::from(KBox::leak(fs)).cast()))
    }

    fn stage(volume: &Volume, options: &Options) -> Result<State> {
        let fs = KBox::new(F::stage(volume, options)?, GFP_KERNEL)?;
        Ok(State(NonNull::from(KBox::leak(fs)).cast()))
    }

    /// # Safety
    ///
    /// As [`Instance`] asks.
    unsafe fn export(fs: State, writer: &mut StateWriter<'_>) -> Result {
        // SAFETY: As the table asks: `fs` is mounted.
        unsafe { state::<F>(fs).export(writer) }
    }

    /// # Safety
    ///
    /// As [`Instance`] asks, for `import`.
    unsafe fn import(fs: State, reader: &StateReader<'_>) -> Result {
        // SAFETY: As the table asks: the state is an `F` that nobody else uses.
        unsafe { fs.0.cast::<F>().as_mut() }.import(reader)
    }

    /// # Safety
    ///
    /// As [`Instance`] asks.
    unsafe fn unmount(fs: State) {
        // SAFETY: The state came from `mount`, which leaked a `KBox<F>`, and nobody uses it again.
        drop(unsafe { KBox::from_raw(fs.0.cast::<F>().as_ptr()) });
    }

    /// # Safety
    ///
    /// As [`Instance`] asks.
    unsafe fn space(fs: State, volume: &Volume) -> Result<Space> {
        // SAFETY: As the table asks: `fs` is mounted.
        unsafe { state::<F>(fs).space(volume) }
    }

    /// # Safety
    ///
    /// As [`Instance`] asks.
    unsafe fn credits(fs: State) -> Credits {
        // SAFETY: As the table asks: `fs` is mounted.
        unsafe { state::<F>(fs).credits() }
    }

    /// # Safety
    ///
    /// As [`Instance`] asks.
    unsafe fn set_clean(fs: State, handle: &Handle<'_>, space: Option<Space>) -> Result {
        // SAFETY: As the table asks: `fs` is mounted.
        unsafe { state::<F>(fs).set_clean(handle, space) }
    }

    /// # Safety
    ///
    /// As [`Instance`] asks.
    unsafe fn set_error(fs: State, handle: &Handle<'_>) -> Result {
        // SAFETY: As the table asks: `fs` is mounted.
        unsafe { state::<F>(fs).set_error(handle) }
    }

    /// # Safety
    ///
    /// As [`Instance`] asks.
    unsafe fn read_inode(
        fs: State,
        volume: &Volume,
        ino: Ino,
        area: &mut NodeArea,
    ) -> Result<Attributes> {
        // SAFETY: As the table asks: `fs` is mounted.
        let (attributes, node) = unsafe { state::<F>(fs) }.read_inode(volume, ino)?;
        put(area, node);
        Ok(attributes)
    }

    /// # Safety
    ///
    /// As [`Instance`] asks.
    unsafe fn attach(fs: State, volume: &Volume, inode: &CoreInode, area: &mut NodeArea) -> Result {
        // SAFETY: As the table asks: `fs` is mounted. The inode is not attached, so its view
        // refuses to give out the area.
        put(area, unsafe {
            state::<F>(fs).attach(volume, view::<F>(inode))
        }?);
        Ok(())
    }

    /// # Safety
    ///
    /// As [`Instance`] asks.
    unsafe fn read_link(
        fs: State,
        volume: &Volume,
        inode: &CoreInode,
        target: &mut [u8],
    ) -> Result<usize> {
        // SAFETY: As the table asks: `fs` is mounted, the inodes are attached.
        unsafe { state::<F>(fs).read_link(volume, view::<F>(inode), target) }
    }

    /// # Safety
    ///
    /// As [`Instance`] asks.
    unsafe fn lookup(
        fs: State,
        volume: &Volume,
        dir: &CoreInode,
        name: Name<'_>,
    ) -> Result<Option<Ino>> {
        // SAFETY: As the table asks: `fs` is mounted, the inodes are attached.
        unsafe { state::<F>(fs).lookup(volume, view::<F>(dir), name) }
    }

    /// # Safety
    ///
    /// As [`Instance`] asks.
    unsafe fn read_dir(
        fs: State,
        volume: &Volume,
        dir: &CoreInode,
        position: u64,
        sink: &mut DirSink<'_>,
    ) -> Result {
        // SAFETY: As the table asks: `fs` is mounted, the inodes are attached.
        unsafe { state::<F>(fs).read_dir(volume, view::<F>(dir), position, sink) }
    }

    /// # Safety
    ///
    /// As [`Instance`] asks.
    unsafe fn parent(fs: State, volume: &Volume, dir: &CoreInode) -> Result<Ino> {
        // SAFETY: As the table asks: `fs` is mounted, the inodes are attached.
        unsafe { state::<F>(fs).parent(volume, view::<F>(dir)) }
    }

    /// # Safety
    ///
    /// As [`Instance`] asks.
    unsafe fn alloc_inode(
        fs: State,
        volume: &Volume,
        claims: &Claims<'_>,
        dir: &CoreInode,
        kind: Kind,
    ) -> Result<Ino> {
        // SAFETY: As the table asks: `fs` is mounted, the inodes are attached.
        unsafe { state::<F>(fs).alloc_inode(volume, claims, view::<F>(dir), kind) }
    }

    /// # Safety
    ///
    /// As [`Instance`] asks.
    unsafe fn create(
        fs: State,
        handle: &Handle<'_>,
        dir: &CoreInode,
        inode: &CoreInode,
        new: &NewInode<'_>,
        area: &mut NodeArea,
    ) -> Result {
        // SAFETY: As the table asks: `fs` is mounted, the directory is attached. The new inode is
        // not, so its view refuses to give out the area.
        let node = unsafe { state::<F>(fs).create(handle, view::<F>(dir), view::<F>(inode), new) }?;
        put(area, node);
        Ok(())
    }

    /// # Safety
    ///
    /// As [`Instance`] asks.
    unsafe fn link(
        fs: State,
        handle: &Handle<'_>,
        dir: &CoreInode,
        inode: &CoreInode,
        name: Name<'_>,
    ) -> Result {
        // SAFETY: As the table asks: `fs` is mounted, the inodes are attached.
        unsafe { state::<F>(fs).link(handle, view::<F>(dir), view::<F>(inode), name) }
    }

    /// # Safety
    ///
    /// As [`Instance`] asks.
    unsafe fn unlink(
        fs: State,
        handle: &Handle<'_>,
        dir: &CoreInode,
        inode: &CoreInode,
        name: Name<'_>,
    ) -> Result {
        // SAFETY: As the table asks: `fs` is mounted, the inodes are attached.
        unsafe { state::<F>(fs).unlink(handle, view::<F>(dir), view::<F>(inode), name) }
    }

    /// # Safety
    ///
    /// As [`Instance`] asks.
    unsafe fn rename(fs: State, handle: &Handle<'_>, rename: &RawRename<'_>) -> Result {
        // SAFETY: As the table asks: the inodes are attached.
        let rename = unsafe {
            Rename {
                old_dir: view::<F>(rename.old_dir),
                old_name: rename.old_name,
                inode: view::<F>(rename.inode),
                new_dir: view::<F>(rename.new_dir),
                new_name: rename.new_name,
                target: rename.target.map(|target| view::<F>(target)),
                exchange: rename.exchange,
                whiteout: rename.whiteout.map(|whiteout| view::<F>(whiteout)),
            }
        };
        // SAFETY: As the table asks: `fs` is mounted.
        unsafe { state::<F>(fs) }.rename(handle, &rename)
    }

    /// # Safety
    ///
    /// As [`Instance`] asks.
    unsafe fn write_inode(fs: State, handle: &Handle<'_>, inode: &CoreInode) -> Result {
        // SAFETY: As the table asks: `fs` is mounted, the inodes are attached.
        unsafe { state::<F>(fs).write_inode(handle, view::<F>(inode)) }
    }

    /// # Safety
    ///
    /// As [`Instance`] asks.
    unsafe fn set_orphan(
        fs: State,
        handle: &Handle<'_>,
        inode: &CoreInode,
        orphan: bool,
    ) -> Result {
        // SAFETY: As the table asks: `fs` is mounted, the inodes are attached.
        unsafe { state::<F>(fs).set_orphan(handle, view::<F>(inode), orphan) }
    }

    /// # Safety
    ///
    /// As [`Instance`] asks.
    unsafe fn next_orphan(fs: State, volume: &Volume, cursor: Ino) -> Result<Option<Ino>> {
        // SAFETY: As the table asks: `fs` is mounted.
        unsafe { state::<F>(fs).next_orphan(volume, cursor) }
    }

    /// # Safety
    ///
    /// As [`Instance`] asks.
    unsafe fn map(
        fs: State,
        volume: &Volume,
        claims: &Claims<'_>,
        inode: &CoreInode,
        range: FileRange,
        intent: Intent,
    ) -> Result<Mapping> {
        // SAFETY: As the table asks: `fs` is mounted, the inodes are attached.
        unsafe { state::<F>(fs).map(volume, claims, view::<F>(inode), range, intent) }
    }

    /// # Safety
    ///
    /// As [`Instance`] asks.
    unsafe fn publish(fs: State, handle: &Handle<'_>, inode: &CoreInode, extent: Extent) -> Result {
        // SAFETY: As the table asks: `fs` is mounted, the inodes are attached.
        unsafe { state::<F>(fs).publish(handle, view::<F>(inode), extent) }
    }

    /// # Safety
    ///
    /// As [`Instance`] asks.
    unsafe fn free_blocks(
        fs: State,
        handle: &Handle<'_>,
        inode: &CoreInode,
        range: FileRange,
    ) -> Result<Step> {
        // SAFETY: As the table asks: `fs` is mounted, the inodes are attached.
        unsafe { state::<F>(fs).free_blocks(handle, view::<F>(inode), range) }
    }

    /// # Safety
    ///
    /// As [`Instance`] asks.
    unsafe fn free_inode(fs: State, handle: &Handle<'_>, inode: &CoreInode) -> Result {
        // SAFETY: As the table asks: `fs` is mounted, the inodes are attached.
        unsafe { state::<F>(fs).free_inode(handle, view::<F>(inode)) }
    }

    /// # Safety
    ///
    /// As [`Instance`] asks.
    unsafe fn inode_block(fs: State, ino: Ino) -> Option<super::Block> {
        // SAFETY: As the table asks: `fs` is mounted.
        unsafe { state::<F>(fs).inode_block(ino) }
    }
}

/// A mounted implementation: its table and its state, with a reference to its module.
///
/// # Invariants
///
/// `state` came from `table`'s `mount` or `stage`, and has not been given to `unmount`. The module
/// that holds the table and its functions is pinned.
#[derive(Clone, Copy)]
pub(super) struct Loaded {
    table: &'static Instance,
    state: State,
}

impl Loaded {
    /// Mounts.
    ///
    /// # Safety
    ///
    /// The module of `table` is pinned until `unmount`.
    pub(super) unsafe fn mount(
        table: &'static Instance,
        volume: &Volume,
        options: &Options,
    ) -> Result<Self> {
        // INVARIANT: By this function's requirement, and this is `mount`.
        Ok(Self {
            table,
            state: (table.mount)(volume, options)?,
        })
    }

    /// Makes the successor of a version that serves the volume.
    ///
    /// # Safety
    ///
    /// The module of `table` is pinned until `unmount`.
    pub(super) unsafe fn stage(
        table: &'static Instance,
        volume: &Volume,
        options: &Options,
    ) -> Result<Self> {
        // INVARIANT: By this function's requirement, and `stage` makes a state as `mount` does.
        Ok(Self {
            table,
            state: (table.stage)(volume, options)?,
        })
    }

    /// The table.
    pub(super) fn table(&self) -> &'static Instance {
        self.table
    }

    /// The state.
    pub(super) fn state(&self) -> State {
        self.state
    }

    /// What its operations ask of the journal.
    pub(super) fn credits(&self) -> Credits {
        // SAFETY: The state is mounted by the type invariant.
        unsafe { (self.table.credits)(self.state) }
    }

    /// Drops the state.
    ///
    /// # Safety
    ///
    /// Nobody uses a copy of `self` any more.
    pub(super) unsafe fn unmount(self) {
        // SAFETY: By the type invariant and this function's requirement.
        unsafe { (self.table.unmount)(self.state) };
    }
}
