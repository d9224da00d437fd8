// SPDX-License-Identifier: GPL-2.0

//! File contents that tell whose they are: each 8-byte word follows from a key and its own offset, and
//! none is zero. So a word of another file, of another version of the file, of another place in it or
//! of the device before mkfs is seen as foreign, and a hole as a hole.

/// A small generator of numbers (splitmix64).
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The key of version `version` of the file `name`.
pub fn key(name: &str, version: u64) -> u64 {
    name.bytes()
        .fold(mix(version ^ 0x5af3_107a), |k, b| mix(k ^ u64::from(b)))
}

fn word(key: u64, index: u64) -> [u8; 8] {
    (mix(key ^ index.wrapping_mul(0xd6e8_feb8_6659_fd93)) | 0x0101_0101_0101_0101).to_le_bytes()
}

/// Fills `out` with the bytes that stand at `offset`.
pub fn fill(key: u64, offset: u64, out: &mut [u8]) {
    let mut done = 0;
    while done < out.len() {
        let at = offset + done as u64;
        let word = word(key, at / 8);
        let from = (at % 8) as usize;
        let n = (8 - from).min(out.len() - done);
        out[done..done + n].copy_from_slice(&word[from..from + n]);
        done += n;
    }
}

/// The bytes `offset..offset + len`.
pub fn bytes(key: u64, offset: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    fill(key, offset, &mut out);
    out
}

/// The offset of the first byte of `data`, which was read at `offset`, that is not of the pattern.
/// With `zero_ok` a zero byte is accepted as well.
pub fn first_wrong(key: u64, offset: u64, data: &[u8], zero_ok: bool) -> Option<u64> {
    let want = bytes(key, offset, data.len());
    if want == data {
        return None;
    }
    data.iter()
        .zip(&want)
        .position(|(have, want)| have != want && !(zero_ok && *have == 0))
        .map(|at| offset + at as u64)
}
