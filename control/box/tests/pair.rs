//! Both ports leave the process and return while workers live on. One EAL per process, so one test.

#![cfg(feature = "dpdk")]

use common::config::Checks;
use dpdk_ffi::ThreadRegistration;
use middlebox::config::Config;
use middlebox::observe::counts::PortCounts;
use middlebox::ports::dpdk::{Lcores, Opened, Pair};
use pipeline::ports::PortQueue;
use pipeline::ports::dpdk::DpdkQueue;
use pipeline::ports::lending::Borrower;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// `net_null` gives packets without end, and takes all.
const TEXT: &str = r#"
[node]
name = "a"
[eal]
args = ["-l", "0", "--no-huge", "-m", "64", "--no-pci", "--no-shconf", "--no-telemetry", "--iova-mode=va", "--log-level=error"]
[ports.inside]
device = "net_null0,size=100"
[ports.outside]
device = "net_null1,size=200"
[workers]
cores = [0]
mbufs = 8191
"#;

/// Forwards while it has queues, and hands them back when they are called in.
fn work(queues: &mut Borrower<DpdkQueue>, lcores: &Lcores, stop: &AtomicBool) {
    let _registered: ThreadRegistration = lcores.enter(0).expect("an lcore");
    let mut mine: Option<[DpdkQueue; 2]> = None;
    while !stop.load(Ordering::Relaxed) {
        mine = mine.or_else(|| queues.take());
        let Some([inside, outside]) = &mut mine else {
            std::thread::yield_now();
            continue;
        };
        let mut packets = arrayvec::ArrayVec::new();
        inside.receive(&mut packets);
        outside.transmit(&mut packets);
        outside.discard(&mut packets);
        if queues.is_called_in()
            && let Some(called) = mine.take()
        {
            queues.hand_back(called);
        }
    }
}

fn packets(pair: &Pair) -> [u64; 2] {
    let counts = pair.counts();
    [counts.inside.rx_packets, counts.outside.tx_packets]
}

/// Waits until more has been forwarded than this.
fn wait_for_more(pair: &Pair, than: [u64; 2]) -> [u64; 2] {
    let start = std::time::Instant::now();
    loop {
        let now = packets(pair);
        assert!(now[0] >= than[0] && now[1] >= than[1], "counters ran backwards: {than:?}, {now:?}");
        if now[0] > than[0] && now[1] > than[1] {
            return now;
        }
        assert!(start.elapsed().as_secs() < 60, "nothing is forwarded in a minute");
        std::thread::yield_now();
    }
}

#[test]
fn ports_are_given_up_and_taken_up_again_and_again() {
    let config = Config::parse(TEXT, Path::new("box.toml"), Checks::TextOnly).expect("a configuration");
    let opened = Opened::open(&config).expect("ports");
    assert_eq!(opened.outside_mtu(), 1500);
    let (pair, mut borrowers, lcores) = opened.start().expect("started");
    let mut queues = borrowers.pop().expect("one worker");
    let stop = AtomicBool::new(false);
    let settings = pair.settings();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| work(&mut queues, &lcores, &stop));
        let mut seen = wait_for_more(&pair, [0; 2]);
        pair.take_up().expect("both are here: nothing is done");
        for _ in 0..100 {
            pair.give_up().expect("given up");
            let away = packets(&pair);
            assert!(away[0] >= seen[0] && away[1] >= seen[1], "what was counted stays");
            assert_eq!(packets(&pair), away, "and nobody adds to it");
            let PortCounts { link, .. } = pair.counts().inside;
            assert!(!link.link_up);
            assert_eq!(pair.names(), ["net_null0", "net_null1"]);
            pair.give_up().expect("once more, which changes nothing");
            pair.take_up().expect("taken up");
            pair.tell();
            seen = wait_for_more(&pair, away);
        }
        for _ in 0..20 {
            pair.step_aside().expect("left alone");
            pair.step_aside().expect("once more, which changes nothing");
            let still = packets(&pair);
            assert!(still[0] >= seen[0] && still[1] >= seen[1]);
            assert!(pair.counts().inside.link.link_up, "the ports are here");
            assert_eq!(packets(&pair), still, "and nobody uses them");
            assert!(!pair.hold_beside(), "not while they are, nor of this driver");
            pair.take_up().expect("taken up");
            seen = wait_for_more(&pair, still);
        }
        assert!(pair.counts().inside.discarded > 0, "what waited meanwhile is old");
        assert_eq!(pair.settings(), settings);
        assert_eq!((pair.counts().inside.lost, pair.counts().inside.taken_up), (0, 0), "it was meant");
        // In the end, while they are away too.
        pair.give_up().expect("given up");
        stop.store(true, Ordering::Relaxed);
        worker.join().expect("no panic");
    });
    drop(queues);
    pair.take_up().expect("taken up, and nobody borrows the queues");
    pair.give_up().expect("what nobody has taken is here");
    pair.take_up().expect("taken up");
    pair.stop();
}
