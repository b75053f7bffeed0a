//! A wire profile in numbers: what a `PDMv2` option looks like, apart from what its fields mean.
//!
//! Lengths, offsets and flags of the option stand here and nowhere else; which keys a receiver tries, and how far ahead, stands
//! in [`receiver`](crate::receiver). Everything is constant: a second profile is a second value of [`Profile`], and the code made for it costs
//! what this one's does. PDM of RFC 8250 is no profile of ours; its few numbers stand in [`PDM`] beside it.
//!
//! ```text
//! offset     0     1     2              4              6             20            36
//!         +-----+-----+--------------+--------------+-------------+-------------+
//! clear   | 0F  | 12  | 2, Reserved  | PRSEQ, F     | metrics, 14 |
//! encrypt.| 0F  | 22  | 2, Reserved  | PRSEQ, F     | ciphertext  | tag, 16     |
//!         +-----+-----+--------------+--------------+-------------+-------------+
//!          <----- additional data, `head_len` -----> <-- `text` --> <-- `tag` -->
//! ```

/// Octets of Option Type and Opt Data Len, before what the length counts.
pub const TYPE_AND_LEN: usize = 2;

/// The numbers of one wire profile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Profile {
    /// Option Type of both forms. Its high bits say: skip if unknown, does not change en route.
    pub option_type: u8,
    /// Version, in the high four bits behind Opt Data Len.
    pub version: u8,
    /// Octets of the option before its metrics, from the Option Type on. As sent, they are the additional data of the encrypted form.
    pub head_len: usize,
    /// Octets of the metrics, or of their ciphertext.
    pub text_len: usize,
    /// Octets of the tag, which the encrypted form alone has.
    pub tag_len: usize,
    /// Where the field begins that the nonce is made of, two octets: PRSEQ above [`Profile::flag_bits`] flags.
    pub order_at: usize,
    /// Flags below PRSEQ: F.
    pub flag_bits: u32,
    /// Where the option begins in a Destination Options header of its own, so that it is aligned.
    pub option_at: usize,
    /// Octets that a header of its own, or one that it is appended to, takes beside the option.
    pub around_len: usize,
}

impl Profile {
    /// Octets of the option in clear, from its Option Type on.
    #[must_use]
    pub const fn clear_len(&self) -> usize {
        self.head_len + self.text_len
    }

    /// Octets of the encrypted option, from its Option Type on.
    #[must_use]
    pub const fn encrypted_len(&self) -> usize {
        self.clear_len() + self.tag_len
    }

    /// Octets of the longest header that it makes.
    #[must_use]
    pub const fn longest_header(&self) -> usize {
        self.encrypted_len() + self.around_len
    }
}

/// `PDMv2`, profile 1: the option of the draft's first text.
pub const PROFILE: Profile = Profile {
    option_type: 0x0F,
    version: 2,
    head_len: 6,
    text_len: 14,
    tag_len: 16,
    order_at: 4,
    flag_bits: 1,
    option_at: 4,
    around_len: 4,
};

/// PDM (RFC 8250 section 3.2), which shares the Option Type with profile 1 and is told from it by its length.
pub const PDM: Profile = Profile { head_len: TYPE_AND_LEN, text_len: 10, tag_len: 0, option_at: 2, ..PROFILE };

/// Octets of the additional data.
pub const AAD_LEN: usize = PROFILE.head_len;
/// Octets of the text that is sealed.
pub const TEXT_LEN: usize = PROFILE.text_len;
/// Octets of the tag.
pub const TAG_LEN: usize = PROFILE.tag_len;
/// Octets of the option in clear.
pub const CLEAR_LEN: usize = PROFILE.clear_len();
/// Octets of the encrypted option.
pub const ENCRYPTED_LEN: usize = PROFILE.encrypted_len();

/// Where the octet with the flags is, F the lowest of them.
pub const FLAGS_AT: usize = PROFILE.order_at + 1;

/// F out of the octet at [`FLAGS_AT`].
#[inline]
#[must_use]
pub const fn is_f(flags: u8) -> bool {
    flags & 1 != 0
}

/// PRSEQ and F out of an option's octets, from its Option Type on; `None`: it ends before them.
#[inline]
#[must_use]
pub fn order_of(option: &[u8]) -> Option<(u16, bool)> {
    let field = option.get(PROFILE.order_at..)?.first_chunk()?;
    let field = u16::from_be_bytes(*field);
    Some((field >> PROFILE.flag_bits, field & 1 != 0))
}

const _: () = {
    // Headers are multiples of eight octets, whatever is in them; and the field that numbers a packet is authenticated.
    assert!((PROFILE.clear_len() + PROFILE.around_len).is_multiple_of(8));
    assert!(PROFILE.longest_header().is_multiple_of(8));
    assert!((PDM.clear_len() + PDM.around_len).is_multiple_of(8));
    assert!(PROFILE.order_at + 2 <= PROFILE.head_len);
};
