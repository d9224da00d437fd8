// SPDX-License-Identifier: GPL-2.0

//! Devices that fail, tear, lose and reorder writes: what a test asks for is what it gets.

use kernel::{
    error::code::*,
    user::device::{
        Device,
        FaultDevice,
        MemDevice,
        Operation,
        Reached,
        RecordingDevice,
        BLOCK_SIZE,
        SECTOR_SIZE, //
    },
};

fn block(device: &dyn Device, block: u64) -> Vec<u8> {
    let mut data = vec![0; BLOCK_SIZE];
    device.read(block, &mut data).unwrap();
    data
}

#[test]
fn the_nth_fails() {
    let device = FaultDevice::new(MemDevice::new(8));
    device.fail(Operation::Write, 1, false);
    let results = [0, 1, 2].map(|at| device.write(at, &[7; BLOCK_SIZE]));
    assert_eq!(results, [Ok(()), Err(EIO), Ok(())]);
    device.fail(Operation::Read, 0, true);
    assert_eq!(device.read(0, &mut [0; BLOCK_SIZE]), Err(EIO));
    assert_eq!(device.read(0, &mut [0; BLOCK_SIZE]), Err(EIO));
    device.heal();
    device.fail(Operation::Flush, 0, false);
    assert_eq!([device.flush(), device.flush()], [Err(EIO), Ok(())]);
    assert_eq!([0, 1, 2].map(|at| block(&device, at)[0]), [7, 0, 7]);
}

#[test]
fn power_goes_within_a_write() {
    let device = FaultDevice::new(MemDevice::new(8));
    device.tear(1, 11);
    assert_eq!(device.write(0, &[1; BLOCK_SIZE]), Ok(()));
    assert_eq!(device.write(1, &[2; 2 * BLOCK_SIZE]), Err(EIO));
    assert_eq!(device.write(4, &[3; BLOCK_SIZE]), Err(EIO));
    assert_eq!(device.flush(), Err(EIO));
    device.heal();
    assert_eq!(block(&device, 1), [2; BLOCK_SIZE]);
    let torn = block(&device, 2);
    assert_eq!(torn[..3 * SECTOR_SIZE], [2; 3 * SECTOR_SIZE]);
    assert_eq!(torn[3 * SECTOR_SIZE..], [0; 5 * SECTOR_SIZE]);
    assert_eq!(block(&device, 4), [0; BLOCK_SIZE]);
}

#[test]
fn writes_are_lost_reordered_and_torn() {
    let device = RecordingDevice::new(&MemDevice::new(8));
    device.write(0, &[1; BLOCK_SIZE]).unwrap();
    device.flush().unwrap();
    device.write(1, &[2; BLOCK_SIZE]).unwrap();
    device.write(2, &[3; BLOCK_SIZE]).unwrap();
    // The later one without the earlier one, and of that only the second sector.
    let log = device.recorded();
    let reached = [Reached::Sectors(0b10), Reached::All];
    let left = log.crashes().state(log.len(), |write| reached[write]);
    assert_eq!(block(&left, 0), [1; BLOCK_SIZE]);
    assert_eq!(block(&left, 1)[..SECTOR_SIZE], [0; SECTOR_SIZE]);
    assert_eq!(
        block(&left, 1)[SECTOR_SIZE..][..SECTOR_SIZE],
        [2; SECTOR_SIZE]
    );
    assert_eq!(block(&left, 2), [3; BLOCK_SIZE]);
    // In one line; some seed loses a write, one tears it, one leaves it whole.
    let mut seen = [[false; 3]; 2];
    for seed in 0..200 {
        let left = device.crash(seed);
        assert_eq!(block(&left, 0), [1; BLOCK_SIZE]);
        for (at, seen) in (1..).zip(&mut seen) {
            let data = block(&left, at);
            let sectors = data.iter().filter(|byte| **byte != 0).count() / SECTOR_SIZE;
            seen[match sectors {
                0 => 0,
                1..8 => 1,
                _ => 2,
            }] = true;
        }
    }
    assert_eq!(seen, [[true; 3]; 2]);
}

#[test]
fn a_device_lies() {
    let device = RecordingDevice::lying(&MemDevice::new(8));
    device.write(0, &[1; BLOCK_SIZE]).unwrap();
    assert_eq!(device.flush(), Ok(()));
    let log = device.recorded();
    let left = log.crashes().state(log.len(), |_| false);
    assert_eq!(block(&left, 0), [0; BLOCK_SIZE]);
}
