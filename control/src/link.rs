//! The link of one port follows the other's, so that what is beyond the box learns of a cut cable on its far side.

use dpdk_ffi::{Port, Started};

/// Follows, once per call.
#[derive(Debug)]
pub struct LinkFollower {
    enabled: bool,
    /// The port that was taken down since the other had no link: 0 inside, 1 outside.
    forced: Option<usize>,
}

/// What is to be done: bring this port's link up, or take it down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Step {
    port: usize,
    up: bool,
}

impl LinkFollower {
    /// Disabled, it does nothing.
    #[must_use]
    pub fn new(enabled: bool) -> Self {
        Self { enabled, forced: None }
    }

    /// Looks at both links and sets one, if need be.
    pub fn follow(&mut self, inside: &Port<Started>, outside: &Port<Started>) {
        if !self.enabled {
            return;
        }
        let ports = [inside, outside];
        let [Ok(a), Ok(b)] = ports.map(Port::link) else { return };
        let Some(step) = self.step([a.up, b.up]) else { return };
        let port = ports[step.port];
        match port.set_link(step.up) {
            Ok(()) => tracing::info!(port = port.name(), up = step.up, "link follows the other port's"),
            Err(error) => {
                tracing::warn!(%error, "this driver cannot set the link; it does not follow");
                self.enabled = false;
            }
        }
    }

    fn step(&mut self, up: [bool; 2]) -> Option<Step> {
        match self.forced {
            // The one that was taken down says nothing; the other one may be back.
            Some(port) if up[1 - port] => {
                self.forced = None;
                Some(Step { port, up: true })
            }
            Some(_) => None,
            None if up[0] != up[1] => {
                let port = usize::from(up[1]);
                self.forced = Some(port);
                Some(Step { port, up: false })
            }
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_goes_down_with_the_other_and_comes_back_with_it() {
        let mut f = LinkFollower::new(true);
        assert_eq!(f.step([true, true]), None);
        assert_eq!(f.step([false, false]), None, "nothing to tell anyone");
        assert_eq!(f.step([false, true]), Some(Step { port: 1, up: false }));
        assert_eq!(f.step([false, false]), None);
        assert_eq!(f.step([true, false]), Some(Step { port: 1, up: true }));
        assert_eq!(f.step([true, true]), None);
        assert_eq!(f.step([true, false]), Some(Step { port: 0, up: false }));
        assert_eq!(f.step([false, true]), Some(Step { port: 0, up: true }));
    }
}
