//! Mutations of inputs, from a generator that a seed repeats exactly.

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// Octets that mean something in packets: header and option numbers, lengths at the edge.
const OCTETS: [u8; 40] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 15, 16, 17, 18, 30, 34, 36, 40, 41, 43, 44, 50, 51, 58, 59, 60, 63, 64, 127, 128,
    132, 133, 135, 136, 139, 140, 0xC2, 0xC9, 254, 255,
];

/// The longest input.
const MOST: usize = 8192;

/// An input like `parent`, with pieces of `other` and of `words`.
#[must_use]
pub fn mutate(parent: &[u8], other: &[u8], words: &[&str], random: &mut Random) -> Vec<u8> {
    let mut input = parent.to_vec();
    for _ in 0..=random.below(4) {
        once(&mut input, other, words, random);
    }
    input.truncate(MOST);
    input
}

fn once(input: &mut Vec<u8>, other: &[u8], words: &[&str], random: &mut Random) {
    if input.is_empty() {
        input.push(random.next() as u8);
    }
    let at = random.below(input.len());
    let until = (at + 1 + random.below(16)).min(input.len());
    match random.below(if words.is_empty() { 10 } else { 12 }) {
        0 => input[at] ^= 1 << random.below(8),
        1 => input[at] = OCTETS[random.below(OCTETS.len())],
        2 => input[at] = random.next() as u8,
        3 => input[at] = input[at].wrapping_add(random.below(17) as u8).wrapping_sub(8),
        4 => input.truncate(at),
        5 => drop(input.drain(at..until)),
        6 => {
            let copy = input[at..until].to_vec();
            input.splice(at..at, copy);
        }
        7 => {
            let octet = OCTETS[random.below(OCTETS.len())];
            input.splice(at..at, core::iter::repeat_n(octet, 1 << random.below(5)));
        }
        8 if !other.is_empty() => {
            let from = random.below(other.len());
            let len = (1 + random.below(64)).min(other.len() - from);
            let end = (at + random.below(len + 1)).min(input.len());
            input.splice(at..end, other[from..from + len].iter().copied());
        }
        9 if !other.is_empty() => {
            input.truncate(at);
            input.extend_from_slice(&other[random.below(other.len())..]);
        }
        10 | 11 => {
            let word = words[random.below(words.len())].as_bytes();
            let end = if random.below(2) == 0 { at } else { until };
            input.splice(at..end, word.iter().copied());
        }
        _ => input.swap(at, until - 1),
    }
}
