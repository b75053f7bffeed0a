//! Notices that this process was resumed from a snapshot, or is a clone. It comes before all else: another may be using what
//! this box seals with.

use super::keys::Keys;
use super::{Now, Task};
use crate::resumption::Cause;
use std::time::Duration;

/// The task.
pub struct Resumption<N> {
    /// What was noticed since it was asked last.
    pub noticed: N,
    /// The keys that are left then.
    pub keys: Keys,
}

impl<N: FnMut() -> Vec<Cause>> Task for Resumption<N> {
    fn name(&self) -> &'static str {
        "resumption"
    }

    fn period(&self) -> Duration {
        Duration::ZERO
    }

    fn run(&mut self, _: Now) {
        for cause in (self.noticed)() {
            self.keys.change(|keys| keys.resumed(cause));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::tests::{keys_of_a_file, told};
    use super::super::tests::at;
    use super::*;

    #[test]
    fn a_box_that_was_resumed_leaves_its_generation_before_anything_else_is_done() {
        let (keys, status, _dir) = keys_of_a_file();
        assert_eq!(keys.generation(), Some(1));
        let mut noticed = vec![vec![Cause::ALL[0]], vec![]];
        let mut task = Resumption { noticed: move || noticed.pop().unwrap_or_default(), keys: keys.clone() };
        task.run(at(0));
        assert_eq!(keys.generation(), Some(1), "nothing was noticed");
        task.run(at(10));
        assert_ne!(keys.generation(), Some(1));
        assert_eq!(told(&status), keys.generation(), "and the status says so");
    }
}
