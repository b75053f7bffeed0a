//! What is told of the box: counts, and how they are asked for.

pub mod counts;
pub mod telemetry;
