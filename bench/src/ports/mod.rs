//! Measurements through real DPDK ports, without hardware: `net_pcap` gives generated captures over and over, `net_null`
//! takes what goes out, `net_ring` connects parties within a process.
//!
//! Each measurement is a process of its own (`bench measure`), since DPDK starts once per process.

pub mod box_state;
pub mod chain;
pub mod child;
pub mod environment;
pub mod frames;
pub mod isa;
pub mod job;
pub mod lab;
pub mod outcomes;
pub mod queues;
pub mod recipe;
pub mod secgw;
pub mod testpmd;
pub mod worker_loop;
