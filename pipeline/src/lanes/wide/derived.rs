//! Operations that are made of others.

/// See [`wide`](super). Expects `Z`, `LANES`, and the operations `lanes`, `load`, `store`, `spread`, `octets`, `word_pairs_low`, `word_pairs_high`,
/// `low_halves`, `high_halves`.
macro_rules! derived {
    ($features:literal) => {
        use crate::lanes::record::Record;
        use crate::lanes::scratch::{Block, Blocks, GROUP, Scratch};
        use crate::lanes::wide::{block_of_record, each, four};
        use crate::ports::BURST;

        /// Packets whose blocks fill four registers: [`W`] blocks (see [`scratch`](crate::lanes::scratch) for which is where), or
        /// four times as many words.
        type Four = [Z; 4];

        /// Packets that are worked on side by side.
        const W: usize = 4 * LANES;

        /// From blocks to their words 0, 1, 2 and 3, each of all packets in order; and back.
        #[inline]
        #[target_feature(enable = $features)]
        fn transpose(a: Four) -> Four {
            let (low, low2) = (word_pairs_low(a[0], a[1]), word_pairs_low(a[2], a[3]));
            let (high, high2) = (word_pairs_high(a[0], a[1]), word_pairs_high(a[2], a[3]));
            [low_halves(low, low2), high_halves(low, low2), low_halves(high, high2), high_halves(high, high2)]
        }

        /// Register `I` of a block at `AT` in records; see [`block_of_record`] for which may be asked for.
        #[inline]
        #[target_feature(enable = $features)]
        fn of_records<const I: usize, const AT: usize>(records: &[&Record; W]) -> Z {
            lanes(|lane| block_of_record::<AT>(records[4 * lane + I]))
        }

        /// Where register `I` of the blocks of round `g` stands, in units of a register.
        const fn row(g: usize, i: usize) -> usize {
            let (group, half) = (g * W / GROUP, (g * W & (GROUP - 1)) / W);
            (group * (GROUP / LANES) + i * (GROUP / W) + half) % (2 * GROUP / LANES)
        }

        /// The blocks of the packets of round `g`.
        #[inline]
        #[target_feature(enable = $features)]
        fn load_blocks(blocks: &Blocks, g: usize) -> Four {
            let rows = blocks.as_flattened().as_chunks::<LANES>().0;
            four!(I => load(&rows[row(g, I)]))
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn store_blocks(blocks: &mut Blocks, g: usize, a: Four) {
            let rows: &mut [[Block; LANES]] = blocks.as_flattened_mut().as_chunks_mut::<LANES>().0;
            for (i, a) in a.into_iter().enumerate() {
                store(&mut rows[row(g, i)], a);
            }
        }
    };
}

pub(in crate::lanes) use derived;
