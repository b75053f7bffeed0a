//! The whole path over plain buffers, a subject a file.

mod allocations;
mod audit;
#[cfg(feature = "dpdk")]
mod dpdk;
mod guess;
mod hand_over;
mod in_clear;
mod many_peers;
mod measured;
mod nonce_promise;
mod passing;
mod read_only;
mod refused;
mod replace;
mod second_reading;
mod short_way;
mod short_way_back;
mod stamped;
mod two_boxes;
mod watching;
mod worker_loop;
