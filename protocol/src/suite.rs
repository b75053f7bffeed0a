//! The three identifiers of a suite (RFC 9180 section 7; profile section 4), and the scopes of its secrets (section 5).

macro_rules! identifiers {
    ($(#[doc = $doc:literal])+ $type:ident { $($(#[doc = $vdoc:literal])+ $name:ident = $id:literal, $label:literal;)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        pub enum $type { $($(#[doc = $vdoc])+ $name,)+ }

        impl $type {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its number in messages; for algorithms that of RFC 9180's registries.
            #[must_use]
            pub const fn id(self) -> u16 {
                match self { $(Self::$name => $id,)+ }
            }

            /// The inverse of `id`.
            #[must_use]
            pub const fn from_id(id: u16) -> Option<Self> {
                match id { $($id => Some(Self::$name),)+ _ => None }
            }

            /// Its name in configuration files.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// The inverse of `name`.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($label => Some(Self::$name),)+ _ => None }
            }
        }

        impl core::fmt::Display for $type {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

identifiers! {
    /// Key encapsulation mechanism.
    Kem {
        /// DHKEM(X25519, HKDF-SHA256), mandatory.
        X25519 = 0x0020, "x25519";
        /// DHKEM(P-256, HKDF-SHA256).
        P256 = 0x0010, "p-256";
        /// X-Wing, the post-quantum hybrid.
        XWing = 0x647A, "x-wing";
    }
}

identifiers! {
    /// Key derivation function.
    Kdf {
        /// Mandatory.
        Sha256 = 0x0001, "hkdf-sha256";
        /// Nh is 48.
        Sha384 = 0x0002, "hkdf-sha384";
        /// Nh is 64.
        Sha512 = 0x0003, "hkdf-sha512";
    }
}

identifiers! {
    /// Authenticated encryption.
    Aead {
        /// Mandatory, the default.
        Aes128Gcm = 0x0001, "aes-128-gcm";
        /// 32 octets of key.
        Aes256Gcm = 0x0002, "aes-256-gcm";
        /// For CPUs without AES instructions.
        ChaCha20Poly1305 = 0x0003, "chacha20poly1305";
    }
}

identifiers! {
    /// Whose secret a box seals under (profile section 5).
    Scope {
        /// Each box under its own: the default.
        Node = 0x0001, "node";
        /// One per client address (draft appendix B).
        Client = 0x0002, "client";
        /// One for all (draft section 4.4).
        Shared = 0x0003, "shared";
    }
}

impl Kdf {
    /// Octets of its output.
    #[must_use]
    pub const fn nh(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

impl Aead {
    /// Octets of key.
    #[must_use]
    pub const fn nk(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes256Gcm | Self::ChaCha20Poly1305 => 32,
        }
    }
}

/// A suite.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Suite {
    /// Key encapsulation mechanism.
    pub kem: Kem,
    /// Key derivation function.
    pub kdf: Kdf,
    /// Authenticated encryption.
    pub aead: Aead,
}

impl Default for Suite {
    fn default() -> Self {
        Self { kem: Kem::X25519, kdf: Kdf::Sha256, aead: Aead::Aes128Gcm }
    }
}

impl Suite {
    /// `"HPKE" || I2OSP(kem,2) || I2OSP(kdf,2) || I2OSP(aead,2)` (profile section 4).
    #[must_use]
    pub const fn id(&self) -> [u8; 10] {
        let ([a, b], [c, d], [e, f]) =
            (self.kem.id().to_be_bytes(), self.kdf.id().to_be_bytes(), self.aead.id().to_be_bytes());
        [b'H', b'P', b'K', b'E', a, b, c, d, e, f]
    }

    /// The three identifiers in the order KEM, KDF, AEAD.
    #[must_use]
    pub const fn ids(&self) -> [u16; 3] {
        [self.kem.id(), self.kdf.id(), self.aead.id()]
    }

    /// The inverse of [`Suite::ids`]; `None` when one of them is not of the profile.
    #[must_use]
    pub fn from_ids([kem, kdf, aead]: [u16; 3]) -> Option<Self> {
        Some(Self { kem: Kem::from_id(kem)?, kdf: Kdf::from_id(kdf)?, aead: Aead::from_id(aead)? })
    }
}

impl core::fmt::Display for Suite {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}, {}, {}", self.kem, self.kdf, self.aead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_and_names_go_both_ways() {
        for &kem in Kem::ALL {
            assert_eq!((Kem::from_id(kem.id()), Kem::from_name(kem.name())), (Some(kem), Some(kem)));
        }
        for &kdf in Kdf::ALL {
            assert_eq!((Kdf::from_id(kdf.id()), Kdf::from_name(kdf.name())), (Some(kdf), Some(kdf)));
        }
        for &aead in Aead::ALL {
            assert_eq!((Aead::from_id(aead.id()), Aead::from_name(aead.name())), (Some(aead), Some(aead)));
        }
        for &scope in Scope::ALL {
            assert_eq!((Scope::from_id(scope.id()), Scope::from_name(scope.name())), (Some(scope), Some(scope)));
        }
        assert_eq!(Suite::from_ids(Suite::default().ids()), Some(Suite::default()));
        assert_eq!(Suite::from_ids([0x20, 1, 4]), None);
        assert_eq!((Kem::from_id(0), Kdf::from_name("sha1"), Aead::from_id(4)), (None, None, None));
        assert_eq!(Suite::default().id(), *b"HPKE\0\x20\0\x01\0\x01");
    }
}
