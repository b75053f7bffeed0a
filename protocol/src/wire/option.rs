//! The three PDM options as octets (profile section 1, draft section 6.3, RFC 8250 section 3.2). What they measure in numbers,
//! lengths and offsets, stands in [`profile`](super::profile); here stands what their fields mean.

use super::profile::{AAD_LEN, CLEAR_LEN, ENCRYPTED_LEN, PDM, PROFILE, TAG_LEN, TEXT_LEN, TYPE_AND_LEN};

const PDM_METRICS_LEN: usize = PDM.text_len;
const PDM_LEN: usize = PDM.clear_len();

/// Which of the three options.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// PDM (RFC 8250).
    Pdm,
    /// `PDMv2`, unencrypted.
    Clear,
    /// `PDMv2`, encrypted.
    Encrypted,
}

impl Form {
    /// Opt Data Len.
    #[inline]
    #[must_use]
    pub const fn data_len(self) -> u8 {
        (self.option_len() - TYPE_AND_LEN) as u8
    }

    /// Octets of the option from its Option Type on.
    #[inline]
    #[must_use]
    pub const fn option_len(self) -> usize {
        match self {
            Self::Pdm => PDM_LEN,
            Self::Clear => CLEAR_LEN,
            Self::Encrypted => ENCRYPTED_LEN,
        }
    }

    /// Octets of a Destination Options header with nothing but the option in it.
    #[inline]
    #[must_use]
    pub const fn header_len(self) -> usize {
        self.option_len() + PROFILE.around_len
    }

    /// Hdr Ext Len of such a header.
    #[inline]
    #[must_use]
    pub const fn header_units(self) -> u8 {
        (self.header_len() / 8 - 1) as u8
    }

    /// Where the option begins in such a header: PDM stands on 2n, `PDMv2` on 4n.
    #[inline]
    #[must_use]
    pub const fn option_at(self) -> usize {
        match self {
            Self::Pdm => PDM.option_at,
            Self::Clear | Self::Encrypted => PROFILE.option_at,
        }
    }

    /// Octets a Destination Options header grows by when the option is appended to it.
    #[inline]
    #[must_use]
    pub const fn grow_len(self) -> usize {
        self.option_len() + PROFILE.around_len
    }

    /// The form with this Opt Data Len.
    #[inline]
    #[must_use]
    pub const fn from_data_len(len: u8) -> Option<Self> {
        const PDM: u8 = Form::Pdm.data_len();
        const CLEAR: u8 = Form::Clear.data_len();
        const ENCRYPTED: u8 = Form::Encrypted.data_len();
        match len {
            PDM => Some(Self::Pdm),
            CLEAR => Some(Self::Clear),
            ENCRYPTED => Some(Self::Encrypted),
            _ => None,
        }
    }
}

/// The measurements in an option.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Metrics {
    /// Scale of `delta_tlr`.
    pub scale_dtlr: u8,
    /// Scale of `delta_tls`.
    pub scale_dtls: u8,
    /// Packets this node has sent with sources of this class; not in PDM.
    pub global_pointer: u32,
    /// Packet sequence number this packet.
    pub psntp: u16,
    /// Packet sequence number last received.
    pub psnlr: u16,
    /// Delta time last received.
    pub delta_tlr: u16,
    /// Delta time last sent.
    pub delta_tls: u16,
}

impl Metrics {
    /// As in `PDMv2`.
    #[inline]
    #[must_use]
    pub const fn emit(&self) -> [u8; TEXT_LEN] {
        let [low, high] = self.to_words();
        let [r, s, g0, g1, g2, g3, p0, p1] = low.to_le_bytes();
        let [l0, l1, a0, a1, b0, b1, _, _] = high.to_le_bytes();
        [r, s, g0, g1, g2, g3, p0, p1, l0, l1, a0, a1, b0, b1]
    }

    /// The octets of [`Metrics::emit`] as two words, little-endian; the last two octets are 0.
    #[inline]
    #[must_use]
    pub const fn to_words(&self) -> [u64; 2] {
        let (scales, pointer) =
            (self.scale_dtlr as u64 | (self.scale_dtls as u64) << 8, self.global_pointer.swap_bytes());
        let [psntp, psnlr, tlr, tls] = [
            self.psntp.swap_bytes() as u64,
            self.psnlr.swap_bytes() as u64,
            self.delta_tlr.swap_bytes() as u64,
            self.delta_tls.swap_bytes() as u64,
        ];
        [scales | (pointer as u64) << 16 | psntp << 48, psnlr | tlr << 16 | tls << 32]
    }

    /// The inverse of [`Metrics::emit`].
    #[inline]
    #[must_use]
    pub const fn parse(octets: &[u8; TEXT_LEN]) -> Self {
        let [r, s, g0, g1, g2, g3, p0, p1, l0, l1, a0, a1, b0, b1] = *octets;
        let low = u64::from_le_bytes([r, s, g0, g1, g2, g3, p0, p1]);
        Self::from_words([low, u64::from_le_bytes([l0, l1, a0, a1, b0, b1, 0, 0])])
    }

    /// The inverse of [`Metrics::to_words`].
    #[inline]
    #[must_use]
    pub const fn from_words([low, high]: [u64; 2]) -> Self {
        Self {
            scale_dtlr: low as u8,
            scale_dtls: (low >> 8) as u8,
            global_pointer: ((low >> 16) as u32).swap_bytes(),
            psntp: ((low >> 48) as u16).swap_bytes(),
            psnlr: (high as u16).swap_bytes(),
            delta_tlr: ((high >> 16) as u16).swap_bytes(),
            delta_tls: ((high >> 32) as u16).swap_bytes(),
        }
    }

    /// As in PDM: without the Global Pointer.
    #[inline]
    #[must_use]
    pub const fn emit_pdm(&self) -> [u8; PDM_METRICS_LEN] {
        let [p0, p1] = self.psntp.to_be_bytes();
        let [l0, l1] = self.psnlr.to_be_bytes();
        let [a0, a1] = self.delta_tlr.to_be_bytes();
        let [b0, b1] = self.delta_tls.to_be_bytes();
        [self.scale_dtlr, self.scale_dtls, p0, p1, l0, l1, a0, a1, b0, b1]
    }

    /// The inverse of [`Metrics::emit_pdm`]; the Global Pointer is 0.
    #[inline]
    #[must_use]
    pub const fn parse_pdm(octets: &[u8; PDM_METRICS_LEN]) -> Self {
        let [scale_dtlr, scale_dtls, p0, p1, l0, l1, a0, a1, b0, b1] = *octets;
        Self {
            scale_dtlr,
            scale_dtls,
            global_pointer: 0,
            psntp: u16::from_be_bytes([p0, p1]),
            psnlr: u16::from_be_bytes([l0, l1]),
            delta_tlr: u16::from_be_bytes([a0, a1]),
            delta_tls: u16::from_be_bytes([b0, b1]),
        }
    }
}

/// What stands before the metrics in both `PDMv2` forms, apart from Option Type, length and version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Prefix6 {
    /// Reserved, 12 bits: 0 on sending; authenticated as received.
    pub reserved: u16,
    /// PRSEQ, 15 bits.
    pub prseq: u16,
    /// F: the lowest bit of Kri.
    pub f: u8,
}

impl Prefix6 {
    /// The first six octets of the option: the additional data. Bits beyond a field's width are left out.
    #[inline]
    #[must_use]
    pub const fn emit(&self, form: Form) -> [u8; AAD_LEN] {
        let [kind, data_len, r0, r1, p0, p1, _, _] = self.to_word(form).to_le_bytes();
        [kind, data_len, r0, r1, p0, p1]
    }

    /// The octets of [`Prefix6::emit`] as a word, little-endian; the last two octets are 0.
    #[inline]
    #[must_use]
    pub const fn to_word(&self, form: Form) -> u64 {
        let version = ((PROFILE.version as u16) << 12 | self.reserved & 0x0FFF).swap_bytes();
        let order = (self.prseq << PROFILE.flag_bits | (self.f & 1) as u16).swap_bytes();
        PROFILE.option_type as u64 | (form.data_len() as u64) << 8 | (version as u64) << 16 | (order as u64) << 32
    }

    /// The inverse of [`Prefix6::emit`]; `None` unless it is a `PDMv2` option of version 2.
    #[inline]
    #[must_use]
    pub const fn parse(octets: &[u8; AAD_LEN]) -> Option<Self> {
        let [kind, data_len, r0, r1, p0, p1] = *octets;
        if kind != PROFILE.option_type || r0 >> 4 != PROFILE.version {
            return None;
        }
        match Form::from_data_len(data_len) {
            Some(Form::Clear | Form::Encrypted) => Some(Self {
                reserved: u16::from_be_bytes([r0 & 0x0F, r1]),
                prseq: u16::from_be_bytes([p0, p1]) >> PROFILE.flag_bits,
                f: p1 & 1,
            }),
            Some(Form::Pdm) | None => None,
        }
    }
}

/// A PDM option.
#[inline]
#[must_use]
pub fn emit_pdm(metrics: &Metrics) -> [u8; PDM_LEN] {
    let mut option = [0; PDM_LEN];
    option[0] = PDM.option_type;
    option[1] = Form::Pdm.data_len();
    option[TYPE_AND_LEN..].copy_from_slice(&metrics.emit_pdm());
    option
}

/// A `PDMv2` option in clear.
#[inline]
#[must_use]
pub fn emit_clear(prefix: &Prefix6, metrics: &Metrics) -> [u8; CLEAR_LEN] {
    let mut option = [0; CLEAR_LEN];
    option[..AAD_LEN].copy_from_slice(&prefix.emit(Form::Clear));
    option[AAD_LEN..].copy_from_slice(&metrics.emit());
    option
}

/// An encrypted `PDMv2` option: additional data, ciphertext, tag.
#[inline]
#[must_use]
pub fn emit_encrypted(aad: &[u8; AAD_LEN], ct: &[u8; TEXT_LEN], tag: &[u8; TAG_LEN]) -> [u8; ENCRYPTED_LEN] {
    let mut option = [0; ENCRYPTED_LEN];
    option[..AAD_LEN].copy_from_slice(aad);
    option[AAD_LEN..AAD_LEN + TEXT_LEN].copy_from_slice(ct);
    option[AAD_LEN + TEXT_LEN..].copy_from_slice(tag);
    option
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const METRICS: Metrics = Metrics {
        scale_dtlr: 0x11,
        scale_dtls: 0x22,
        global_pointer: 0x33343536,
        psntp: 0x4445,
        psnlr: 0x5556,
        delta_tlr: 0x6667,
        delta_tls: 0x7778,
    };

    #[test]
    fn lengths_of_the_profile() {
        for (form, data, option, header) in
            [(Form::Pdm, 10, 12, 16), (Form::Clear, 18, 20, 24), (Form::Encrypted, 34, 36, 40)]
        {
            assert_eq!((form.data_len(), form.option_len(), form.header_len()), (data, option, header));
            assert_eq!(form.grow_len(), header);
            assert_eq!(Form::from_data_len(data), Some(form));
        }
        let others = (0..=255).filter(|&n| Form::from_data_len(n).is_some()).count();
        assert_eq!(others, 3);
    }

    #[test]
    fn fields_in_the_order_of_the_draft() {
        let prefix = Prefix6 { reserved: 0xABC, prseq: 0x7FFE, f: 1 };
        assert_eq!(hex::encode(emit_pdm(&METRICS)), "0f0a112244455556666777 78".replace(' ', ""));
        assert_eq!(
            hex::encode(emit_clear(&prefix, &METRICS)),
            "0f122abcfffd112233343536444555566667 7778".replace(' ', "")
        );
        let sealed = emit_encrypted(&prefix.emit(Form::Encrypted), &[0xC1; 14], &[0x7A; 16]);
        assert_eq!(hex::encode(sealed), format!("0f222abcfffd{}{}", "c1".repeat(14), "7a".repeat(16)));
    }

    #[test]
    fn prefix_of_another_version_length_or_type_is_refused() {
        let good = Prefix6::default().emit(Form::Encrypted);
        assert_eq!(Prefix6::parse(&good), Some(Prefix6::default()));
        for (at, octet) in [(0, 0x1E), (1, 10), (1, 20), (2, 0x10), (2, 0x30), (2, 0)] {
            let mut bad = good;
            bad[at] = octet;
            assert_eq!(Prefix6::parse(&bad), None, "{bad:02x?}");
        }
    }

    proptest! {
        #[test]
        fn metrics_come_back(octets: [u8; 14], pdm: [u8; 10]) {
            prop_assert_eq!(Metrics::parse(&octets).emit(), octets);
            prop_assert_eq!(Metrics::parse_pdm(&pdm).emit_pdm(), pdm);
            prop_assert_eq!(Metrics::parse_pdm(&pdm).global_pointer, 0);
        }

        #[test]
        fn prefixes_come_back(reserved in 0u16..0x1000, prseq in 0u16..0x8000, f in 0u8..2, sealed: bool) {
            let prefix = Prefix6 { reserved, prseq, f };
            let form = if sealed { Form::Encrypted } else { Form::Clear };
            prop_assert_eq!(Prefix6::parse(&prefix.emit(form)), Some(prefix));
        }

        #[test]
        fn any_octets_parse_or_are_refused(octets: [u8; 6]) {
            let mut octets = octets;
            octets[0] = PROFILE.option_type;
            octets[1] = if octets[1] & 1 == 0 { 0x12 } else { 0x22 };
            let parsed = Prefix6::parse(&octets);
            prop_assert_eq!(parsed.is_some(), octets[2] >> 4 == 2);
            if let Some(prefix) = parsed {
                let form = Form::from_data_len(octets[1]).expect("PDMv2");
                prop_assert_eq!(prefix.emit(form), octets);
            }
        }
    }
}
