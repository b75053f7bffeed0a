//! What is told of the box: counts, the table of figures that are made of them, and how they are asked for.

pub mod counts;
pub mod figures;
pub mod quantiles;
mod shown;
pub mod telemetry;
