//! A packet's nonce: the base nonce of its session key, XORed with its PRSEQ (profile section 6).

/// Octets of the AEADs' nonce.
pub const NN: usize = 12;

/// `base_nonce XOR (ten zero octets || I2OSP(prseq, 2))`.
#[inline]
#[must_use]
pub const fn nonce(base_nonce: [u8; NN], prseq: u16) -> [u8; NN] {
    let [high, low] = prseq.to_be_bytes();
    let [a, b, c, d, e, f, g, h, i, j, k, l] = base_nonce;
    [a, b, c, d, e, f, g, h, i, j, k ^ high, l ^ low]
}

/// A nonce as two words, little-endian; XORing PRSEQ into the second is [`xor_prseq`].
#[inline]
#[must_use]
pub const fn nonce_words([a, b, c, d, e, f, g, h, end @ ..]: [u8; NN]) -> (u64, u32) {
    (u64::from_le_bytes([a, b, c, d, e, f, g, h]), u32::from_le_bytes(end))
}

/// The second of a base nonce's words for the packet with this PRSEQ: [`nonce`] on words.
#[inline]
#[must_use]
pub const fn xor_prseq(end: u32, prseq: u16) -> u32 {
    end ^ (prseq.swap_bytes() as u32) << 16
}
