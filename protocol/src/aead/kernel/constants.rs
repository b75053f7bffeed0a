//! What the kernel's body uses of AES, GHASH and the option's shape, as blocks of 16 octets.

use crate::nonce::NN;
use crate::wire::profile::{AAD_LEN, TEXT_LEN};

/// AES-128's round constants.
pub(in crate::aead) const RCON: [u8; 10] = [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1B, 0x36];

/// The last GHASH block, octets reversed: how many bits of text there are, and of additional data. Either fits one octet.
pub(in crate::aead) const LENGTHS: [u8; 16] =
    [TEXT_LEN as u8 * 8, 0, 0, 0, 0, 0, 0, 0, AAD_LEN as u8 * 8, 0, 0, 0, 0, 0, 0, 0];

/// What counts of a nonce's and of the text's 16 octets, and the first two counters.
pub(in crate::aead) const NONCE: [u8; 16] = mask(NN);
pub(in crate::aead) const TEXT: [u8; 16] = mask(TEXT_LEN);
pub(in crate::aead) const COUNTERS: [[u8; 16]; 2] =
    [[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]];

/// Octets in reverse: all of them, the additional data's, the text's; zeros for the others.
pub(in crate::aead) const REVERSE: [u8; 16] = reverse(16);
pub(in crate::aead) const REVERSE_AAD: [u8; 16] = reverse(AAD_LEN);
pub(in crate::aead) const REVERSE_TEXT: [u8; 16] = reverse(TEXT_LEN);
/// The inverse of ShiftRows, with `RotWord` in every word and without: AESENCLAST after it is the schedule's `SubWord`.
pub(in crate::aead) const ROTATE: [u8; 16] = unshift_rows(1);
pub(in crate::aead) const KEEP: [u8; 16] = unshift_rows(0);
/// A block's last word in all four places, rotated by `RotWord` and as it is: ShiftRows then changes nothing.
pub(in crate::aead) const LAST_WORD_ROTATED: [u8; 16] =
    [13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12];
pub(in crate::aead) const LAST_WORD: [u8; 16] = [12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15];
/// A block's words moved on by one, and by two.
pub(in crate::aead) const WORD_ON: [u8; 16] = words_on(1);
pub(in crate::aead) const WORDS_ON: [u8; 16] = words_on(2);
/// x^127 + x^126 + x^121 + 1, POLYVAL's polynomial without x^128.
pub(in crate::aead) const POLYNOMIAL: [u8; 16] = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xC2];

const fn mask(octets: usize) -> [u8; 16] {
    let mut mask = [0; 16];
    let mut i = 0;
    while i < octets {
        mask[i] = 0xFF;
        i += 1;
    }
    mask
}

/// Selects the first octets in reverse, as the highest ones.
const fn reverse(octets: usize) -> [u8; 16] {
    let mut select = [0x80; 16];
    let mut i = 0;
    while i < octets {
        select[15 - i] = i as u8;
        i += 1;
    }
    select
}

/// ShiftRows takes row r of column c from column c + r.
const fn unshift_rows(rotation: usize) -> [u8; 16] {
    let mut select = [0; 16];
    let mut i = 0;
    while i < 16 {
        let (row, column) = (i % 4, i / 4);
        select[i] = ((row + rotation) % 4 + (column + 4 - row) % 4 * 4) as u8;
        i += 1;
    }
    select
}

const fn words_on(words: usize) -> [u8; 16] {
    let mut select = [0x80; 16];
    let mut i = 4 * words;
    while i < 16 {
        select[i] = (i - 4 * words) as u8;
        i += 1;
    }
    select
}
