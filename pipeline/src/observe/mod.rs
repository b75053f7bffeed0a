//! What is seen of the packets, for people and programs that watch.

pub mod audit;
pub mod counters;
