//! What is told of the box: counts, the table of figures that are made of them, and how they are asked for.

pub mod counts;
pub mod figures;
mod shown;
pub mod sums;
pub mod telemetry;
