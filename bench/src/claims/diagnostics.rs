//! Claims about what measuring costs.

use super::{Bound, Claim, Found, median};
use crate::diagnostics::{ADD_AND_REMOVE, REMOVE};
use crate::report::Report;

/// So much of the packets per second is left.
const LEFT: f64 = 0.95;

pub(super) fn claims() -> Vec<Claim> {
    let all = [REMOVE, ADD_AND_REMOVE].into_iter().flat_map(|action| ["1000", "65536"].map(|flows| (action, flows)));
    all.map(|(action, flows)| {
        let name = format!("diagnostics: sealed {action}, {flows} flows, an answer in four, on, of off");
        Claim::new(name, Bound::AtLeast(LEFT), move |report| of_off(report, action, flows))
    })
    .collect()
}

fn of_off(report: &Report, action: &str, flows: &str) -> Found {
    let by = |diagnostics| {
        median(report, &[("action", action), ("flows", flows), ("answers", "1 in 4"), ("diagnostics", diagnostics)])
    };
    Ok(by("on")? / by("off")?)
}
