//! No branch and no address depends on a key, a text or a comparison of tags: under valgrind, secrets are declared
//! uninitialised, and memcheck reports what depends on such. Without valgrind this only seals and opens.
//!
//! valgrind knows no VAES, so this covers the AES-NI path; the others expand the same body, which has no branch but those on
//! the number of keys.

use super::super::{BATCH, Batch, KeyState, Path};
use super::valgrind::{declare_public, declare_secret, errors, sees_branches_on_secrets};
use super::{AES, Rng, filled};

#[test]
fn nothing_depends_on_secrets() {
    sees_branches_on_secrets();
    if !Path::AesNi.is_available() {
        println!("no AES-NI here: nothing to check");
        return;
    }
    let before = errors();
    let mut rng = Rng(0xC0257);
    for aead in AES {
        // Keys of their own, and one key for all.
        for (len, step) in [(1, 1), (4, 1), (31, 1), (BATCH, 1), (BATCH, 0)] {
            let mut keys: [[u8; 32]; BATCH] = core::array::from_fn(|_| filled(&mut rng));
            declare_secret(&raw mut keys);
            let states = keys.each_ref().map(|key| KeyState::new(aead, key));
            let mut batch = Batch::new();
            for i in 0..len {
                batch.set(i, &filled(&mut rng), &filled(&mut rng), &filled(&mut rng));
            }
            declare_secret(&raw mut batch.text);
            let refs: [&KeyState; BATCH] = core::array::from_fn(|i| &states[i * step]);
            batch.seal_by(Path::AesNi, aead, &refs[..len]);
            batch.tag[0][0] ^= 1;
            let mut verified = batch.open_by(Path::AesNi, aead, &refs[..len]);
            // Which packets verify is no secret once all has been done.
            declare_public(&raw mut verified);
            assert_eq!(verified, super::all(len) & !1);
        }
    }
    assert_eq!(errors(), before, "something depends on a secret: valgrind says where");
}
