//! What is done to single keys: their states, and the schedule of one that many packets are under.

/// The functions, expanded by one kernel for all, since they share the layout.
macro_rules! setup {
    ($features:literal) => {
        use super::kernel::{LAST_WORD, LAST_WORD_ROTATED, WORD_ON, WORDS_ON};

        /// The schedule's next round key: this one's words added up, and `SubWord` of the last word of `source`, rotated or
        /// not. What has to wait for the round before is five instructions deep; the sums are made meanwhile.
        #[inline]
        #[target_feature(enable = $features)]
        fn next_key(key: R, source: R, select: &[u8; 16], rcon: u8) -> R {
            let sub = aes_last(shuffle(source, spread(select)), spread_word(rcon));
            let two = xor(key, shuffle(key, spread(&WORD_ON)));
            xor3(two, shuffle(two, spread(&WORDS_ON)), sub)
        }

        /// The schedule of one key, for groups that are all under it.
        #[inline]
        #[target_feature(enable = $features)]
        pub(super) fn expand<const AES256: bool>(key: &KeyState, rounds: &mut Rounds) {
            let mut low = spread(&key.0[0]);
            store(core::array::from_mut(&mut rounds[0]), low);
            if AES256 {
                let mut high = spread(&key.0[1]);
                store(core::array::from_mut(&mut rounds[1]), high);
                each!(I in 0 1 2 3 4 5 => {
                    low = next_key(low, high, &LAST_WORD_ROTATED, RCON[I]);
                    store(core::array::from_mut(&mut rounds[2 * I + 2]), low);
                    high = next_key(high, low, &LAST_WORD, 0);
                    store(core::array::from_mut(&mut rounds[2 * I + 3]), high);
                });
                low = next_key(low, high, &LAST_WORD_ROTATED, RCON[6]);
                store(core::array::from_mut(&mut rounds[14]), low);
            } else {
                each!(I in 0 1 2 3 4 5 6 7 8 9 => {
                    low = next_key(low, low, &LAST_WORD_ROTATED, RCON[I]);
                    store(core::array::from_mut(&mut rounds[I + 1]), low);
                });
            }
        }

        /// Multiplies by x in POLYVAL's field.
        #[inline]
        #[target_feature(enable = $features)]
        fn times_x(h: R) -> R {
            let top = and(sign_of_top(h), spread(&POLYNOMIAL));
            xor(doubled(h), top)
        }

        /// The state of a key of 16 octets, or of 32.
        #[target_feature(enable = $features)]
        pub(super) fn key_state<const AES256: bool>(key: &[u8; 32]) -> KeyState {
            let halves = key.as_chunks::<16>().0;
            let (low, high) = (spread(&halves[0]), spread(&halves[1]));
            let none = [&NO_KEY; GROUP];
            let [[h, ..]] = encrypt::<1, AES256, false>([[low; 4], [high; 4]], [[zero(); 4]], &none);
            let h1 = times_x(shuffle(h, spread(&REVERSE)));
            let times = |a: R, b: R| {
                let [low, middle, high] = multiply(a, b);
                reduce(low, middle, high)
            };
            let h2 = times(h1, h1);
            let blocks =
                if AES256 { [low, high, h1, h2] } else { [low, times(h2, h1), h2, times(spread(&LENGTHS), h1)] };
            let mut state = KeyState::ZERO;
            for (place, block) in state.0.iter_mut().zip(blocks) {
                let mut lanes = [[0; 16]; LANES];
                store(&mut lanes, block);
                *place = lanes[0];
            }
            state
        }
    };
}

pub(in crate::aead) use setup;
