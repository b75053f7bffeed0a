//! The negotiation between two primaries (profile sections 7 and 8, draft sections 4.2 and appendix B): four messages
//! that end with the same [`SharedSecret`](protocol::key_schedule::SharedSecret) on both sides, or with a clear error on both.
//!
//! ```text
//! client primary                                            server primary
//! Client::start      -- setup request: suites, scope, … -->  Server::respond
//! ClientSetup::      <-- setup response: suite, fresh key --
//!   encapsulate      -- kem request: enc, salt, proof ----->  ServerSetup::finish
//! ClientKem::finish  <-- kem response: enc, proof ---------
//! ```
//!
//! * `info` is the hash of both setup messages ([`message::info`]): whoever changes the offer, the choice or the public
//!   key on the way changes the secret.
//! * mode_auth with the client primary's static key, mode_auth_psk with a pre-shared key beside it, mode_psk with a KEM
//!   that has no Auth (X-Wing).
//! * The exporter alone would leave a difference unnoticed until packets fail. So both sides prove that they have the
//!   secret: `LabeledExpand(prk, "pdmv2_confirm_client", info, Nh)` in the kem request, and in the response
//!   `LabeledExpand(prk, "pdmv2_confirm_server", info || back, Nh)`, prk being that of the key schedule, so that the
//!   salt is covered too.
//! * mode_auth proves the client's static key only, as the server's key is a fresh one. The server proves its own the
//!   other way round: `back` is the export "pdmv2 server proof" of a second encapsulation, from the server's static key
//!   to the client's (empty with a KEM without Auth, where the pre-shared key stands for both).
//!
//! No I/O: messages come and go as values, random numbers come from the caller.
//!
//! Where each step lives:
//!
//! 1. `client`: `Client::start` makes the offer.
//! 2. `server`: `Server::respond` looks who asks ([`usable`], `parties`), chooses the suite ([`Policy`]) and numbers the
//!    generation.
//! 3. `client`: `ClientSetup::encapsulate` checks the choice; `kem` is HPKE.
//! 4. `server`: `ServerSetup::finish` compares the client's confirmation (`agreed`) and makes its own; `client`:
//!    `ClientKem::finish` compares that.
//!
//! What goes wrong in any of them is an [`Error`] (`error`), of which the other side is told a [`Refusal`] (`refusal`). The
//! messages and their bounds: [`message`]. Files of static keys: [`static_keys`].

mod agreed;
mod client;
mod error;
mod kem;
pub mod message;
mod parties;
mod refusal;
mod server;
pub mod static_keys;

#[cfg(test)]
mod tests;

pub use ::hpke::rand_core;
pub use agreed::Agreed;
pub use client::{Client, ClientKem, ClientSetup};
pub use error::Error;
pub use kem::{KemError, MAX_PSK, MAX_PSK_ID, MIN_PSK, PrivateKey, Psk, PublicKey};
pub use message::{KemRequest, KemResponse, SetupRequest, SetupResponse};
pub use parties::{Identity, Peer, usable};
pub use refusal::Refusal;
pub use server::{Policy, Prefer, Server, ServerSetup};
