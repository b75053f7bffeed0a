//! The last stage that computes: AES-128-GCM of the packets of a round side by side, each under its own key.

/// See [`wide`](super). Expects what [`derived`](super::derived) expects and makes, and the operations `xor`, `xor3`, `and`, `word`,
/// `aes`, `aes_last`, `carryless`, `swap_halves`.
macro_rules! aead {
    ($features:literal) => {
        use crate::lanes::record::{KEY_AT, NONCE_AT};

        /// Stage g, the AEAD: ciphertexts and tags. As `protocol::aead`'s kernels, but keys and nonces are taken from the records.
        #[inline]
        #[target_feature(enable = $features)]
        pub(in crate::lanes) fn seal(records: &[&Record; BURST], s: &mut Scratch) {
            const NONCE: [u8; 16] = [255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0];
            const PRSEQ: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0];
            const TEXT: [u8; 16] = [255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0];
            const COUNTERS: [[u8; 16]; 2] =
                [[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]];
            for (g, records) in records.as_chunks::<W>().0.iter().enumerate().take(s.packed.div_ceil(W)) {
                let head = load_blocks(&s.head, g);
                // The head has PRSEQ where the nonce's last octets are.
                let nonce = four!(I => {
                    let base = and(of_records::<I, NONCE_AT>(records), spread(&NONCE));
                    xor(base, and(head[I], spread(&PRSEQ)))
                });
                let key = four!(I => of_records::<I, KEY_AT>(records));
                let (first, second) = (spread(&COUNTERS[0]), spread(&COUNTERS[1]));
                let blocks = [four!(I => xor(nonce[I], first)), four!(I => xor(nonce[I], second))];
                let [mask, stream] = encrypt(key, blocks);
                let text = load_blocks(&s.text, g);
                let text = four!(I => and(xor(text[I], stream[I]), spread(&TEXT)));
                store_blocks(&mut s.text, g, text);
                let tag = four!(I => {
                        let powers = [
                            of_records::<I, { KEY_AT + 16 }>(records),
                            of_records::<I, { KEY_AT + 32 }>(records),
                            of_records::<I, { KEY_AT + 48 }>(records),
                        ];
                        xor(ghash(head[I], text[I], powers), mask[I])
                    });
                    store_blocks(&mut s.tag, g, tag);
            }
        }

        /// Encrypts two blocks per packet under AES-128, the key schedule of the keys running along: register w holds word w of
        /// their round keys.
        #[inline]
        #[target_feature(enable = $features)]
        fn encrypt(key: Four, blocks: [Four; 2]) -> [Four; 2] {
            const RCON: [u32; 10] = [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1B, 0x36];
            let mut words = transpose(key);
            let [mut a, mut b] = blocks;
            (a, b) = (four!(I => xor(a[I], key[I])), four!(I => xor(b[I], key[I])));
            each!(R in 0 1 2 3 4 5 6 7 8 => {
                words = next_words(words, RCON[R]);
                let key = transpose(words);
                a = four!(I => aes(a[I], key[I]));
                b = four!(I => aes(b[I], key[I]));
            });
            let key = transpose(next_words(words, RCON[9]));
            [four!(I => aes_last(a[I], key[I])), four!(I => aes_last(b[I], key[I]))]
        }

        /// The next four words of the schedule. AESENCLAST is its `SubWord`, once the octets stand so that ShiftRows brings them where
        /// `RotWord` would.
        #[inline]
        #[target_feature(enable = $features)]
        fn next_words(w: Four, rcon: u32) -> Four {
            const ROTATE: [u8; 16] = [1, 14, 11, 4, 5, 2, 15, 8, 9, 6, 3, 12, 13, 10, 7, 0];
            let first = xor(w[0], aes_last(octets(w[3], &ROTATE), word(rcon)));
            let second = xor(w[1], first);
            [first, second, xor(w[2], second), xor3(w[2], w[3], second)]
        }

        /// The tags without their masks, of the additional data (octets 4 to 10 of the head) and the text, as POLYVAL. `powers`: H³, H²
        /// and the product of H and the length block.
        #[inline]
        #[target_feature(enable = $features)]
        fn ghash(head: Z, text: Z, [h3, h2, lengths]: [Z; 3]) -> Z {
            const POLYNOMIAL: [u8; 16] = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xC2];
            const AAD: [u8; 16] = [128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 9, 8, 7, 6, 5, 4];
            const TEXT: [u8; 16] = [128, 128, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0];
            const ALL: [u8; 16] = [15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0];
            let (aad, text) = (octets(head, &AAD), octets(text, &TEXT));
            // The additional data fills the upper half only.
            let low = carryless::<0x00>(text, h2);
            let across = xor(carryless::<0x01>(text, h2), carryless::<0x10>(text, h2));
            let middle = xor(across, carryless::<0x01>(aad, h3));
            let high = xor3(carryless::<0x11>(text, h2), carryless::<0x11>(aad, h3), lengths);
            // 256 bits come back to 128.
            let polynomial = spread(&POLYNOMIAL);
                let once = xor3(swap_halves(low), carryless::<0x10>(low, polynomial), middle);
            octets(xor3(swap_halves(once), carryless::<0x10>(once, polynomial), high), &ALL)
        }
    };
}

pub(in crate::lanes) use aead;
