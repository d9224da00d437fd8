// SPDX-License-Identifier: GPL-2.0

//! Tests of the sets of [`space`](super::space) and of [`extents`](super::extents).

use super::{
    extents::{
        DirtyNode,
        Extents,
        Known,
        Needs,
        PendingNode, //
    },
    space::{
        Fate,
        From,
        InoNode,
        RangeNode,
        Sets, //
    },
    super_block::TreeShape,
    Extent,
    FileRange,
    Space, //
};
use crate::prelude::*;

fn sets() -> Sets {
    let mut sets = Sets::new();
    sets.set_totals(Space {
        total_blocks: 1000,
        free_blocks: 500,
        total_inodes: 10,
        free_inodes: 2,
    });
    sets
}

const SHAPE: TreeShape = TreeShape {
    depth: 2,
    half_node: 4,
};

/// Reserves what is vacant, and gives what had to be promised for it.
fn reserve(extents: &mut Extents, start: u64, end: u64, needs: Needs) -> Result<u64> {
    let range = range(start, end);
    let promised = extents.needed(range, needs, SHAPE);
    extents.reserve(range, needs, promised, DirtyNode::new(GFP_KERNEL)?);
    Ok(promised)
}

fn range(start: u64, end: u64) -> FileRange {
    FileRange { start, end }
}

fn extent(file_block: u64, block: u64, len: u64) -> Extent {
    Extent {
        file_block,
        block,
        len,
        unwritten: true,
    }
}

#[kunit_tests(bento_sets)]
mod tests {
    use super::*;

    #[test]
    fn claims_exclude_each_other() -> Result {
        let mut sets = sets();
        let claim = |sets: &mut Sets, start, len| {
            sets.claim(start, len, From::Free, RangeNode::new(GFP_KERNEL)?)
        };
        assert_eq!(claim(&mut sets, 100, 10)?, 10);
        assert_eq!(claim(&mut sets, 105, 10)?, 0);
        assert_eq!(claim(&mut sets, 90, 20)?, 10);
        assert_eq!(sets.next_unclaimed(95, 200), 110);
        assert_eq!(sets.next_unclaimed(95, 108), 108);
        assert_eq!(sets.snapshot().free_blocks, 480);

        // Out of the middle: needs memory, and changes nothing without.
        assert!(sets.release(103, 2, Fate::Unused, None) == Err(ENOMEM));
        assert_eq!(sets.next_unclaimed(103, 200), 110);
        sets.release(103, 2, Fate::Unused, Some(RangeNode::new(GFP_KERNEL)?))?;
        assert_eq!(sets.next_unclaimed(101, 200), 103);
        assert_eq!(sets.snapshot().free_blocks, 482);
        sets.release(90, 13, Fate::Used, None)?;
        sets.release(105, 5, Fate::Used, None)?;
        assert_eq!(sets.snapshot().free_blocks, 482);
        assert_eq!(sets.next_unclaimed(90, 200), 90);
        Ok(())
    }

    #[test]
    fn freed_blocks_wait_for_their_transaction() -> Result {
        let mut sets = sets();
        // Numbers wrap.
        let (old, new) = (u32::MAX, 0);
        sets.free(10, 5, old, RangeNode::new(GFP_KERNEL)?)?;
        sets.free(20, 5, new, RangeNode::new(GFP_KERNEL)?)?;
        let again = sets.free(24, 2, new, RangeNode::new(GFP_KERNEL)?);
        assert!(again == Err(EUCLEAN));
        assert_eq!(sets.uncommitted(), 10);
        let node = RangeNode::new(GFP_KERNEL)?;
        assert_eq!(sets.claim(12, 1, From::Free, node)?, 0);
        drop(sets.committed(old));
        assert_eq!(sets.uncommitted(), 5);
        assert_eq!(sets.snapshot().free_blocks, 505);
        let node = RangeNode::new(GFP_KERNEL)?;
        assert_eq!(sets.claim(12, 20, From::Free, node)?, 8);
        drop(sets.committed(new));
        assert_eq!(sets.uncommitted(), 0);
        Ok(())
    }

    #[test]
    fn what_is_promised_is_there() -> Result {
        let mut sets = sets();
        let available = sets.available();
        sets.reserve(available)?;
        assert!(sets.reserve(1) == Err(ENOSPC));
        let claim = |sets: &mut Sets, from| sets.claim(7, 3, from, RangeNode::new(GFP_KERNEL)?);
        assert!(claim(&mut sets, From::Free) == Err(ENOSPC));
        assert_eq!(claim(&mut sets, From::Reserved(2))?, 2);
        assert_eq!(sets.reserved(), available - 2);
        sets.release(7, 2, Fate::Promised, None)?;
        assert_eq!(sets.reserved(), available);
        assert!(claim(&mut sets, From::Pool)? > 0);
        sets.unreserve(available);
        assert_eq!(sets.reserved(), 0);
        Ok(())
    }

    #[test]
    fn inode_numbers_are_claimed_once() -> Result {
        let mut sets = sets();
        assert!(sets.claim_ino(5, InoNode::new(GFP_KERNEL)?));
        assert!(!sets.claim_ino(5, InoNode::new(GFP_KERNEL)?));
        assert!(sets.claim_ino(6, InoNode::new(GFP_KERNEL)?));
        assert!(!sets.claim_ino(7, InoNode::new(GFP_KERNEL)?));
        sets.release_ino(5, Fate::Used);
        sets.release_ino(6, Fate::Unused);
        assert_eq!(sets.snapshot().free_inodes, 1);
        Ok(())
    }

    #[test]
    fn pool_is_for_mapping_blocks() -> Result {
        let mut sets = sets();
        let (available, unpromised) = (sets.available(), sets.unpromised());
        assert!(available < unpromised);
        sets.reserve(available)?;
        assert!(sets.reserve(1) == Err(ENOSPC));
        sets.reserve_for_mapping(unpromised - available)?;
        assert!(sets.reserve_for_mapping(1) == Err(ENOSPC));
        assert_eq!(sets.unpromised(), 0);
        let claim = sets.claim(7, 1, From::Pool, RangeNode::new(GFP_KERNEL)?);
        assert!(claim == Err(ENOSPC));
        Ok(())
    }

    #[test]
    fn reserved_runs_join_and_split() -> Result {
        let mut extents = Extents::new();
        for (start, end) in [(10, 20), (30, 40), (20, 30)] {
            reserve(&mut extents, start, end, Needs::Block)?;
        }
        assert!(extents.lookup(10) == Known::Reserved { end: 40 });
        assert!(extents.lookup(9) == Known::Nothing { end: 10 });
        for needs in [Needs::Block, Needs::Split] {
            assert!(extents.vacant(range(5, 20), needs) == Some(range(5, 10)));
            assert!(extents.vacant(range(15, 20), needs).is_none());
        }
        assert!(extents.unreserve(range(15, 16), &mut None) == Err(ENOMEM));
        let mut spare = Some(DirtyNode::new(GFP_KERNEL)?);
        extents.unreserve(range(15, 16), &mut spare)?;
        assert!(extents.lookup(10) == Known::Reserved { end: 15 });
        assert!(extents.lookup(15) == Known::Nothing { end: 16 });
        extents.unreserve(range(0, u64::MAX), &mut None)?;
        assert!(extents.lookup(0) == Known::Nothing { end: u64::MAX });
        assert!(extents.is_empty());
        assert!(extents.surplus(SHAPE) >= 30);
        assert_eq!(extents.surplus(SHAPE), 0);
        Ok(())
    }

    #[test]
    fn splitting_hides_nothing_and_needs_no_data() -> Result {
        let mut extents = Extents::new();
        let promised = reserve(&mut extents, 10, 20, Needs::Split)?;
        assert!(promised > 0 && promised < 2 * reserve(&mut Extents::new(), 10, 20, Needs::Block)?);
        assert!(extents.lookup(10) == Known::Nothing { end: u64::MAX });
        assert_eq!(extents.split_end(9), None);
        assert_eq!(extents.split_end(19), Some(20));
        assert_eq!(extents.split_end(20), None);
        assert!(extents.vacant(range(5, 30), Needs::Split) == Some(range(5, 10)));
        assert!(extents.vacant(range(10, 30), Needs::Split).is_none());
        assert!(extents.vacant(range(5, 30), Needs::Block) == Some(range(5, 30)));

        // On the way it needs as much.
        extents.unreserve(range(10, 20), &mut None)?;
        extents.add_pending(extent(10, 1000, 10), PendingNode::new(GFP_KERNEL)?);
        assert_eq!(extents.surplus(SHAPE), 0);
        extents.take_pending(range(10, 20), &mut None)?;
        assert_eq!(extents.surplus(SHAPE), promised);
        Ok(())
    }

    #[test]
    fn nothing_is_promised_for_mapping_blocks_that_are_never_used() {
        let extents = Extents::new();
        let shape = TreeShape {
            depth: 0,
            half_node: u32::MAX,
        };
        assert_eq!(extents.needed(range(0, 10), Needs::Split, shape), 0);
        assert_eq!(extents.needed(range(0, 10), Needs::Block, shape), 10);
    }

    #[test]
    fn promise_is_made_up_when_it_is_spent() -> Result {
        let mut extents = Extents::new();
        let first = reserve(&mut extents, 0, 10, Needs::Split)?;
        // One block goes on at the front as one comes in behind: the run stays as long as it is.
        let mut more = 0;
        for at in 0..1000 {
            extents.unreserve(range(at, at + 1), &mut None)?;
            assert_eq!(
                extents.spend(u64::from(at % 2 == 0)),
                u64::from(at % 2 == 0)
            );
            more += reserve(&mut extents, at + 10, at + 11, Needs::Split)?;
        }
        assert_eq!(more, 500);
        extents.unreserve(range(0, u64::MAX), &mut None)?;
        assert_eq!(extents.surplus(SHAPE), first);
        Ok(())
    }

    #[test]
    fn pending_runs_keep_their_blocks() -> Result {
        let mut extents = Extents::new();
        extents.add_pending(extent(100, 1000, 10), PendingNode::new(GFP_KERNEL)?);
        extents.add_pending(extent(110, 2000, 10), PendingNode::new(GFP_KERNEL)?);
        assert!(extents.lookup(105) == Known::Pending(extent(105, 1005, 5)));
        assert!(extents.take_pending(range(103, 104), &mut None) == Err(ENOMEM));
        let mut spare = Some(PendingNode::new(GFP_KERNEL)?);
        let taken = extents.take_pending(range(103, 104), &mut spare)?;
        assert!(taken == Some(extent(103, 1003, 1)));
        assert!(extents.lookup(100) == Known::Pending(extent(100, 1000, 3)));
        assert!(extents.lookup(104) == Known::Pending(extent(104, 1004, 6)));
        let taken = extents.take_pending(range(107, u64::MAX), &mut None)?;
        assert!(taken == Some(extent(107, 1007, 3)));
        let taken = extents.take_pending(range(108, u64::MAX), &mut None)?;
        assert!(taken == Some(extent(110, 2000, 10)));
        Ok(())
    }
}
