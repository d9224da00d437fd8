// SPDX-License-Identifier: GPL-2.0

//! The keyed hash of names, by which directories are ordered.
//!
//! SipHash-2-4 ("SipHash: a fast short-input PRF", Aumasson and Bernstein, 2012): whoever does not
//! know the volume's key cannot make names that collide.

use super::layout::{
    HASH_BITS,
    SLOT_BITS, //
};

/// Hashes names to directory keys.
#[derive(Clone, Copy, Debug)]
pub struct Hasher {
    key: [u64; 2],
    bits: u32,
}

impl Hasher {
    /// The hash with the key of a volume,
    /// [`SuperBlock::hash_key`](super::layout::SuperBlock::hash_key).
    pub fn new(key: [u64; 2]) -> Self {
        Self {
            key,
            bits: HASH_BITS,
        }
    }

    /// The same hash cut down to `bits`, so that names of equal hash turn up: for tests.
    pub fn with_bits(self, bits: u32) -> Self {
        Self {
            bits: bits.clamp(1, HASH_BITS),
            ..self
        }
    }

    /// The least key that an entry of this name may have: its hash, with slot 0.
    ///
    /// Never less than [`SLOTS`](super::layout::SLOTS).
    pub fn key(&self, name: &[u8]) -> u64 {
        let hash = siphash(self.key, name).wrapping_shr(u64::BITS.saturating_sub(self.bits));
        hash.max(1) << SLOT_BITS
    }
}

/// The state of a computation.
struct State([u64; 4]);

impl State {
    fn new([k0, k1]: [u64; 2]) -> Self {
        Self([
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ])
    }

    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.0;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.0 = [a, b, c, d];
    }

    fn word(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.round();
        self.0[0] ^= word;
    }

    fn finish(mut self) -> u64 {
        self.0[2] ^= 0xff;
        for _ in 0..4 {
            self.round();
        }
        self.0.iter().fold(0, |sum, word| sum ^ word)
    }
}

/// SipHash-2-4 of `bytes`.
pub fn siphash(key: [u64; 2], bytes: &[u8]) -> u64 {
    let mut state = State::new(key);
    let mut words = bytes.chunks_exact(8);
    for chunk in words.by_ref() {
        if let Ok(word) = chunk.try_into() {
            state.word(u64::from_le_bytes(word));
        }
    }
    // The last word: what is left of the bytes, and the length in the uppermost byte.
    let rest = words.remainder();
    let mut last = (bytes.len() as u64) << 56;
    for (byte, shift) in rest.iter().zip((0u32..).step_by(8)) {
        last |= u64::from(*byte).wrapping_shl(shift);
    }
    state.word(last);
    state.finish()
}
