//! An encrypted option of one packet, opened by itself: for keys that are tried, off the batch that a burst is opened in.

use protocol::aead::Batch;
use protocol::key_schedule::ReadyKey;
use protocol::nonce::{nonce_words, xor_prseq};
use protocol::suite::Aead;
use protocol::wire::option::{Form, Metrics, Prefix6};
use protocol::wire::profile;

/// An encrypted option as it came.
#[derive(Clone, Copy)]
pub struct EncryptedOption {
    /// From the Option Type on.
    octets: [u8; Form::Encrypted.option_len()],
    /// The first six octets' fields.
    pub head: Prefix6,
}

impl EncryptedOption {
    /// Reads an option from its Option Type on.
    #[inline]
    #[must_use]
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let octets = *octets.first_chunk()?;
        Some(Self { octets, head: Prefix6::parse(octets.first_chunk()?)? })
    }

    /// Opens it by itself.
    #[must_use]
    pub fn open(&self, aead: Aead, key: &ReadyKey) -> Option<Metrics> {
        let mut batch = Batch::new();
        load(&mut batch, 0, nonce_words(key.base_nonce), &self.octets)?;
        (batch.open(aead, &[&key.state]) == 1).then(|| Metrics::parse(batch.text_of(0)))
    }
}

/// Makes a slot ready to open an option, of which these are the octets from the Option Type on, under the key with this
/// base nonce. `None`: too short for one.
#[inline]
pub fn load(batch: &mut Batch, slot: usize, (nonce, nonce_end): (u64, u32), octets: &[u8]) -> Option<()> {
    let option: &[u8; Form::Encrypted.option_len()] = octets.first_chunk()?;
    let (prseq, _) = profile::order_of(option)?;
    batch.set_sealed(slot, (nonce, xor_prseq(nonce_end, prseq)), option);
    Some(())
}
