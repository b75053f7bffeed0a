//! Looks after the keys: what must not wait at every turn, the rest now and then.

use super::{Now, SLOW, Task};
use crate::keys::source::KeySource;
use crate::status::Status;
use pipeline::state::shared::Shared;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The keys, which several tasks of the control thread look after.
pub type Keys = Rc<RefCell<KeySource>>;

/// Takes keys into use that have come, and leaves those that have expired.
pub struct UrgentKeys {
    /// The keys.
    pub keys: Keys,
    /// Is told of the generation, and of the registration.
    pub status: Arc<Status>,
}

impl Task for UrgentKeys {
    fn name(&self) -> &'static str {
        "keys"
    }

    fn period(&self) -> Duration {
        Duration::ZERO
    }

    fn run(&mut self, now: Now) {
        let mut keys = self.keys.borrow_mut();
        keys.quick_tick(now.at);
        self.status.set_keys(keys.generation(), keys.registration());
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
        self.keys.borrow_mut().tick(&self.shared, now.at);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::tests::at;
    use super::*;
    use crate::config::Config;
    use crate::keys::recorder::Recorder;
    use crate::observe::counts::Counts;
    use common::config::Checks;
    use common::key_file::{KeyFile, Node, Scope, Side};
    use protocol::suite::Suite;

    /// Keys of a file of two nodes, in use, and the directory they are in.
    pub fn keys_of_a_file() -> (Keys, tempfile::TempDir) {
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
        (Rc::new(RefCell::new(keys)), dir)
    }

    #[test]
    fn the_status_says_what_is_sealed_under() {
        let (keys, _dir) = keys_of_a_file();
        let status = Arc::<Status>::default();
        UrgentKeys { keys, status: Arc::clone(&status) }.run(at(0));
        let mut counts = Counts::default();
        status.fill(&mut counts, Duration::from_secs(3));
        assert_eq!((counts.generation, counts.registration.is_none()), (Some(1), true));
    }
}
