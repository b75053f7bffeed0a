//! The registrar (draft sections 4.1 to 4.4 and appendix B, profile section 8): negotiates generations with the other
//! side's, and hands boxes their keys.
//!
//! Where each step lives, in the order in which a generation comes about:
//!
//! 1. A box connects: [`entrance`] (TLS, places), [`service`] (`for_boxes`: its stream), [`core`] (`sessions`), the engine's
//!    `nodes` (may it register?), `process` (is it the process that was here before?) and `contest` (two ask for one place).
//! 2. A new generation is due: the engine's `settle` (`reason`: somebody waits for one, requests a rotation, or the present
//!    one is old).
//! 3. The two primaries negotiate it: [`primary_client`] as the client, [`service`] (`for_primaries`) and [`core`]
//!    (`negotiating`) as the server; the engine's `primary` takes what came of it, `numbers` whether its number may be.
//! 4. It is kept: [`core`] (`keeping`: what waits, `writer`: the thread that writes), [`store`] (a file, or etcd). Nothing is
//!    handed out before.
//! 5. It becomes *ready here* and *active*: the engine's `activation`, `decide_ready` and `decide_active`.
//! 6. Boxes are handed its secrets: the engine's `settle` (`push`), [`handout`] (what all boxes open is made once and shared).
//! 7. It ends: the engine's `in_use`, when no box may seal under it any more.
//!
//! The decisions are all in [`engine`], one for each other primary, without I/O and without a clock. [`core`] has the
//! engines, the connections and the store, and does what they want done; its tick is their time.
//!
//! Several registrars of a side: [`leadership`] (who leads), [`election`] (how one comes to), [`etcd_client`], and
//! [`forward`] (a follower passes boxes on). For the operator: [`command`], [`config`], [`admin`] (the socket), [`metrics`].
//! What is said to it: [`messages`], checked.
#![forbid(unsafe_code)]

pub mod admin;
pub mod command;
pub mod config;
pub mod core;
pub mod election;
pub mod engine;
pub mod entrance;
pub mod etcd_client;
pub mod forward;
pub mod handout;
pub mod leadership;
pub mod messages;
pub mod metrics;
pub mod primary_client;
pub mod random;
pub mod service;
pub mod store;
mod watchdog;
