//! Forgets what was learnt of paths some time ago, and what nobody watches any more.

use super::{Now, SLOW, Task};
use pipeline::state::shared::Shared;
use std::sync::Arc;
use std::time::Duration;

/// The task.
pub struct Paths(pub Arc<Shared>);

impl Task for Paths {
    fn name(&self) -> &'static str {
        "paths"
    }

    fn period(&self) -> Duration {
        SLOW
    }

    fn run(&mut self, now: Now) {
        self.0.path_mtus.expire(now.ns);
        self.0.watches.sweep(); // what ended, and workers have let go of since
    }
}

#[cfg(test)]
mod tests {
    use super::super::ageing::tests::shared;
    use super::super::tests::at;
    use super::*;

    #[test]
    fn what_was_learnt_is_forgotten_after_some_time() {
        let (shared, to) = (shared(), [7; 16]);
        let mut task = Paths(Arc::clone(&shared));
        assert!(shared.path_mtus.learn(&to, 1400, at(0).ns));
        task.run(at(1_000));
        assert!(shared.path_mtus.known(&to, at(1_000).ns).is_some());
        task.run(at(11 * 60_000));
        assert_eq!(shared.path_mtus.used(), 0);
    }
}
