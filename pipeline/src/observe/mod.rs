//! What is seen of the packets, for people and programs that watch.

pub mod audit;
pub mod counter;
pub mod counters;
pub mod histogram;
pub mod reasons;
