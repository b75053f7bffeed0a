//! What a box and a registrar both speak (draft sections 4.1 to 4.4, profile section 8): messages, TLS, connections.
//!
//! Where what is needed lives, in the order of a connection:
//!
//! 1. [`serving`]: a server takes it ([`serving::accepting`]), if there is a place ([`serving::places`]) and a descriptor
//!    ([`serving::descriptors`]); lines that strangers can cause are bounded ([`serving::sparing`]). HTTP for metrics is
//!    served so too ([`serving::http`]).
//! 2. [`net`]: a client makes it, over TCP, TLS and HTTP/2.
//! 3. [`tls`]: who is at the other end, and which authority says so; certificates and revocation lists as time passes.
//! 4. [`wire`]: the messages and their bounds. With the feature `negotiation` also those that only registrars exchange.
//!
//! [`config`]: the sections that boxes and registrars both have.
//!
//! What is made of the messages lives with who makes it: key sets in `middlebox::keys`, the rest in `registrar::messages`.
#![forbid(unsafe_code)]

pub mod config;
pub mod net;
pub mod serving;
pub mod tls;
pub mod wire;
