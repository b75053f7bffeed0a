//! Measurements through real DPDK ports, without hardware: `net_pcap` gives generated captures over and over, `net_null`
//! takes what goes out, `net_ring` connects parties within a process.
//!
//! Each measurement is a process of its own (`bench measure`), since DPDK starts once per process.

pub mod boxes;
pub mod chain;
pub mod child;
pub mod frames;
pub mod job;
pub mod lab;
pub mod queues;
pub mod rig;
pub mod secgw;
pub mod testpmd;
