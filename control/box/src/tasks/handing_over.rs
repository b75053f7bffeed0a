//! Lets a process that takes over have the keys' state, and takes it back. The control thread does that, since the keys are its own.

use super::keys::Keys;
use super::{Now, Task};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

/// The control thread turns every some milliseconds; a disk may take its time.
const PATIENCE: Duration = Duration::from_secs(8);

enum Order {
    LetGo(SyncSender<()>),
    TakeBack,
}

/// Where the control thread is told.
#[derive(Clone, Debug)]
pub struct Orders(Sender<Order>);

/// Does what is ordered.
pub struct HandingOver {
    /// `None`: the box has no keys.
    keys: Option<Keys>,
    orders: Receiver<Order>,
}

/// The task, and where it is told what to do.
#[must_use]
pub fn handing_over(keys: Option<Keys>) -> (HandingOver, Orders) {
    let (order, orders) = channel();
    (HandingOver { keys, orders }, Orders(order))
}

impl Orders {
    /// From when this returns the keys' state is free.
    ///
    /// # Errors
    /// The control thread does not say that it is: it may be let go of later, and is to be taken back.
    pub fn let_go(&self) -> anyhow::Result<()> {
        let (done, told) = sync_channel(1);
        let sent = self.0.send(Order::LetGo(done)).is_ok();
        anyhow::ensure!(sent && told.recv_timeout(PATIENCE).is_ok(), "the control thread does not let go of the keys");
        Ok(())
    }

    /// It is this process's again, as soon as the control thread gets to it.
    pub fn take_back(&self) {
        let _ = self.0.send(Order::TakeBack); // the box ends
    }
}

impl Task for HandingOver {
    fn name(&self) -> &'static str {
        "handing over"
    }

    fn period(&self) -> Duration {
        Duration::ZERO
    }

    fn run(&mut self, now: Now) {
        for order in self.orders.try_iter() {
            let change = |with: fn(&mut crate::keys::source::KeySource, std::time::Instant)| {
                if let Some(keys) = &self.keys {
                    keys.change(|keys| with(keys, now.at));
                }
            };
            match order {
                Order::LetGo(done) => {
                    change(crate::keys::source::KeySource::let_go);
                    let _ = done.send(()); // it has given up waiting, and has it taken back
                }
                Order::TakeBack => change(|keys, _| keys.take_back()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::tests::{keys_of_a_file, told};
    use super::super::tests::at;
    use super::*;
    use crate::config::Config;
    use crate::keys::recorder::Recorder;
    use crate::keys::source::KeySource;
    use common::config::Checks;
    use std::time::Instant;

    /// What another process of the box would do.
    fn another(dir: &std::path::Path) -> Option<u32> {
        let text = "[node]\nname = \"a\"\n[ports.inside]\ndevice = \"net_null0\"\n[ports.outside]\ndevice = \"net_null1\"\n\
                    [keys]\nfile = \"k\"\n[[policy]]\nname = \"all\"\nmode = \"encrypted\"\n";
        let mut config = Config::parse(text, &dir.join("a.toml"), Checks::Everything).expect("a configuration");
        let keys = KeySource::of(&config.node, None, config.keys.take(), Recorder::default()).expect("keys");
        let mut keys = keys.expect("a key file's");
        keys.start();
        keys.generation()
    }

    #[test]
    fn the_other_takes_the_next_generation_and_each_goes_on_under_its_own() {
        let (keys, status, dir) = keys_of_a_file();
        assert_eq!((told(&status), another(dir.path())), (Some(1), None), "it is locked");
        let (mut task, orders) = handing_over(Some(keys.clone()));
        let waiting = std::thread::spawn(move || orders.let_go().map(|()| orders));
        let start = Instant::now();
        while !waiting.is_finished() && start.elapsed() < Duration::from_secs(30) {
            task.run(at(0));
            std::thread::sleep(Duration::from_millis(1));
        }
        let orders = waiting.join().expect("no panic").expect("let go");
        assert_eq!(another(dir.path()), Some(2));
        // The one that let go stays at its own, also when it takes the file back; the next one is nobody's yet.
        assert_eq!(told(&status), Some(1));
        keys.change(KeySource::persist);
        orders.take_back();
        task.run(at(1));
        assert_eq!(told(&status), Some(1));
        assert_eq!(another(dir.path()), None, "it is locked again");
        keys.change(|keys| keys.resumed(crate::resumption::Cause::ALL[0]));
        assert_eq!(told(&status), Some(3));
    }

    #[test]
    fn while_the_state_is_anothers_nothing_new_is_sealed_under() {
        let (keys, status, dir) = keys_of_a_file();
        keys.change(|keys| keys.let_go(Instant::now()));
        assert_eq!(another(dir.path()), Some(2));
        keys.change(|keys| keys.resumed(crate::resumption::Cause::ALL[0]));
        assert_eq!(told(&status), None, "its own may be a copy's too, and there is no other");
        keys.change(KeySource::take_back);
        let shared = super::super::ageing::tests::shared();
        let start = Instant::now();
        while told(&status).is_none() && start.elapsed() < Duration::from_secs(60) {
            keys.change(|keys| keys.tick(&shared, Instant::now()));
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(told(&status), Some(3));
    }

    #[test]
    fn a_box_without_keys_lets_go_of_nothing() {
        let (mut task, orders) = handing_over(None);
        let waiting = std::thread::spawn(move || orders.let_go());
        while !waiting.is_finished() {
            task.run(at(0));
            std::thread::sleep(Duration::from_millis(1));
        }
        waiting.join().expect("no panic").expect("done");
        let (task, orders) = handing_over(None);
        drop(task);
        assert!(orders.let_go().expect_err("nobody does it").to_string().contains("does not let go"));
    }
}
