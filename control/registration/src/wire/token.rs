//! What a registrar hands a box with its keys, to know that process again by.

use super::bounds::{Malformed, array};
use super::proto;
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Octets of a token.
pub const TOKEN: usize = 16;

/// Random octets, new with every key set that follows an acknowledged one. Compared in constant time, and never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Token([u8; TOKEN]);

impl Token {
    /// Of these octets.
    #[must_use]
    pub const fn new(octets: [u8; TOKEN]) -> Self {
        Self(octets)
    }

    /// As it stands in a message; absent: there is none.
    ///
    /// # Errors
    /// Octets that are no token.
    pub fn from_wire(token: Option<&proto::Token>, message: &'static str) -> Result<Option<Self>, Malformed> {
        token.map(|token| array(&token.octets, message, "a token has 16 octets").map(Self)).transpose()
    }

    /// For a store.
    #[must_use]
    pub const fn octets(&self) -> &[u8; TOKEN] {
        &self.0
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

impl Drop for proto::Token {
    fn drop(&mut self) {
        self.octets.zeroize();
    }
}

impl fmt::Debug for proto::Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

impl From<&Token> for proto::Token {
    fn from(token: &Token) -> Self {
        Self { octets: token.0.into() }
    }
}
