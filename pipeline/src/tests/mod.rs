//! The whole path over plain buffers, a subject a file.

mod allocations;
mod in_clear;
mod many_peers;
mod nonce_promise;
mod read_only;
mod refused;
mod second_reading;
mod two_boxes;
