//! What a primary that refuses says to the other.

use core::fmt;

macro_rules! refusals {
    ($($(#[doc = $doc:literal])+ $name:ident = $id:literal, $text:literal;)+) => {
        /// Why a primary refuses: a number in the response, and what it says to the other side's operator.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        pub enum Refusal { $($(#[doc = $doc])+ $name,)+ }

        impl Refusal {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its number in messages.
            #[must_use]
            pub const fn id(self) -> u32 {
                match self { $(Self::$name => $id,)+ }
            }

            /// The inverse of [`Refusal::id`]; a number from a later version counts as `Other`.
            #[must_use]
            pub const fn from_id(id: u32) -> Self {
                match id { $($id => Self::$name,)+ _ => Self::Other }
            }
        }

        impl fmt::Display for Refusal {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $text,)+ })
            }
        }
    };
}

refusals! {
    /// A field is out of its bounds.
    Malformed = 1, "it found a message malformed";
    /// It does not know this primary as a peer, or is not who it was taken for.
    Peer = 2, "it does not know this primary, or has another name than this side's configuration gives it";
    /// The two configurations have different scopes.
    Scope = 3, "its configuration has another scope; set the same on both sides";
    /// None of the suites offered is allowed there.
    Suites = 4, "it allows none of the suites offered; let both configurations have one in common";
    /// One side wants a pre-shared key, or they name different ones.
    Psk = 5, "it has no pre-shared key of this name, or demands one; configure the same psk_id and key on both sides";
    /// The two computed different secrets.
    NotConfirmed = 6, "it computed another secret: the pre-shared keys or static keys differ, or somebody changed a \
        message on the way";
    /// No such negotiation is under way: it was too slow, or the registrar was restarted.
    Unknown = 7, "it has no such negotiation under way any more";
    /// Something else.
    Other = 8, "it did not say why; its log does";
}
