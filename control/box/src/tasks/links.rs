//! Watches both ports' links, and has one follow the other.

use super::{Now, SLOW, Task};
use crate::ports::link::{Linked, Links};
use crate::status::Status;
use std::sync::Arc;
use std::time::Duration;

/// The task.
pub struct LinkWatch<P> {
    links: Links,
    ports: P,
    status: Arc<Status>,
}

impl<P: Linked> LinkWatch<P> {
    /// `follow`: one port follows the other; otherwise they are only looked at.
    #[must_use]
    pub fn new(follow: bool, ports: P, status: Arc<Status>) -> Self {
        Self { links: Links::new(follow), ports, status }
    }
}

impl<P: Linked> Task for LinkWatch<P> {
    fn name(&self) -> &'static str {
        "links"
    }

    fn period(&self) -> Duration {
        SLOW
    }

    fn run(&mut self, now: Now) {
        self.ports.look(&mut self.links, now.since_start);
        self.status.set_links(self.links.status());
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::at;
    use super::*;
    use crate::observe::counts::Counts;
    use crate::ports::follow::Seen;
    use crate::ports::link::tests::Fake;
    use std::rc::Rc;

    impl Linked for Rc<[Fake; 2]> {
        fn look(&self, links: &mut Links, now: Duration) {
            links.look(now, [&self[0], &self[1]]);
        }
    }

    #[test]
    fn a_link_that_is_lost_is_in_the_status() {
        let (ports, status) = (Rc::new([Fake::new(None), Fake::new(None)]), Arc::<Status>::default());
        let mut task = LinkWatch::new(false, Rc::clone(&ports), Arc::clone(&status));
        task.run(at(0));
        ports[1].seen.set(Seen::Down);
        task.run(at(200));
        let mut counts = Counts::default();
        status.fill(&mut counts, Duration::ZERO);
        let links =
            [&counts.ports.inside, &counts.ports.outside].map(|port| (port.link.link_up, port.link.link_changes));
        assert_eq!((links, counts.link_follow), ([(true, 0), (false, 1)], "off"));
    }
}
