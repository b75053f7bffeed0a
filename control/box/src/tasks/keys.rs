//! Looks after the keys: what must not wait at every turn, the rest now and then.

use super::{Now, SLOW, Task};
use crate::keys::source::KeySource;
use crate::status::Status;
use pipeline::state::shared::Shared;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The keys, which several tasks of the control thread look after. What they come to is in the status when a task has
/// done its part, and so is what the box prints at its end.
#[derive(Clone)]
pub struct Keys {
    source: Rc<RefCell<KeySource>>,
    status: Arc<Status>,
}

impl Keys {
    /// These keys; `status` is told of the generation, and of the registration, at once and after each change.
    #[must_use]
    pub fn new(source: KeySource, status: Arc<Status>) -> Self {
        let this = Self { source: Rc::new(RefCell::new(source)), status };
        this.change(|_| ());
        this
    }

    /// Does something with the keys, and tells the status what came of it.
    pub fn change(&self, with: impl FnOnce(&mut KeySource)) {
        let mut keys = self.source.borrow_mut();
        with(&mut keys);
        self.status.set_keys(keys.generation(), keys.registration());
    }

    /// Waits for keys to come, at most so long.
    pub fn wait(&self, most: Duration) {
        self.source.borrow().wait(most);
    }

    /// Generation sealed under.
    #[must_use]
    pub fn generation(&self) -> Option<u32> {
        self.source.borrow().generation()
    }
}

/// Takes keys into use that have come, and leaves those that have expired.
pub struct UrgentKeys(pub Keys);

impl Task for UrgentKeys {
    fn name(&self) -> &'static str {
        "keys"
    }

    fn period(&self) -> Duration {
        Duration::ZERO
    }

    fn run(&mut self, now: Now) {
        self.0.change(|keys| keys.quick_tick(now.at));
    }
}

/// Moves generations along: new ones, peers' ones, what no worker uses any more.
pub struct Generations {
    /// The keys.
    pub keys: Keys,
    /// What workers use.
    pub shared: Arc<Shared>,
}

impl Task for Generations {
    fn name(&self) -> &'static str {
        "generations"
    }

    fn period(&self) -> Duration {
        SLOW
    }

    fn run(&mut self, now: Now) {
        self.keys.change(|keys| keys.tick(&self.shared, now.at));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::ageing::tests::shared;
    use super::super::tests::at;
    use super::*;
    use crate::config::Config;
    use crate::keys::recorder::Recorder;
    use crate::observe::counts::Counts;
    use common::config::Checks;
    use common::key_file::{KeyFile, Node, Scope, Side};
    use protocol::suite::Suite;
    use std::time::Instant;

    /// Keys of a file of two nodes, in use, what is told of them, and the directory they are in.
    pub fn keys_of_a_file() -> (Keys, Arc<Status>, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("a directory");
        let node = |name: &str, side, prefix: &str| Node {
            name: name.into(),
            id: [name.len() as u8; 16],
            side,
            prefixes: vec![prefix.parse().expect("a prefix")],
        };
        let nodes = vec![node("a", Side::Client, "2001:db8:a::/48"), node("bb", Side::Server, "2001:db8:b::/48")];
        let file = KeyFile::generate(Suite::default(), Scope::Node, nodes).expect("a key file");
        common::private_file::write_new(&dir.path().join("k"), file.to_toml().as_bytes()).expect("written");
        let text = "[node]\nname = \"a\"\n[ports.inside]\ndevice = \"net_null0\"\n[ports.outside]\ndevice = \"net_null1\"\n\
                    [keys]\nfile = \"k\"\n[[policy]]\nname = \"all\"\nmode = \"encrypted\"\n";
        let mut config = Config::parse(text, &dir.path().join("a.toml"), Checks::Everything).expect("a configuration");
        let mut keys = KeySource::of(&config.node, config.registration.take(), config.keys.take(), Recorder::default())
            .expect("keys")
            .expect("a key file's");
        keys.start();
        let status = Arc::<Status>::default();
        (Keys::new(keys, Arc::clone(&status)), status, dir)
    }

    /// Generation that the status tells.
    pub fn told(status: &Status) -> Option<u32> {
        let mut counts = Counts::default();
        status.fill(&mut counts, Duration::from_secs(3));
        assert!(counts.registration.is_none());
        counts.generation
    }

    #[test]
    fn the_status_says_what_is_sealed_under_from_the_start_and_after_each_task() {
        let (keys, status, dir) = keys_of_a_file();
        assert_eq!(told(&status), Some(1), "before any task has run");
        UrgentKeys(keys.clone()).run(at(0));
        assert_eq!(told(&status), Some(1));
        // It is left, and the next one cannot be taken: a directory is where the state file was.
        let mut files = std::fs::read_dir(dir.path()).expect("directory").flatten().map(|e| e.path());
        let state = files.find(|p| p.extension().is_some_and(|e| e == "state")).expect("state file");
        std::fs::rename(&state, dir.path().join("aside")).expect("moved");
        std::fs::create_dir(&state).expect("something else in its place");
        keys.change(|keys| keys.resumed(crate::resumption::Cause::ALL[0]));
        assert_eq!(told(&status), None);
        // It is back, and the task that takes the next generation tells it itself.
        std::fs::remove_dir(&state).expect("removed");
        std::fs::rename(dir.path().join("aside"), &state).expect("back");
        let (mut task, start) = (Generations { keys, shared: shared() }, Instant::now());
        while told(&status).is_none() && start.elapsed() < Duration::from_secs(60) {
            task.run(at(0));
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(told(&status), Some(2));
    }
}
