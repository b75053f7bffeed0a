//! A box that starts in the middle of things.

use crate::boxes::{self, SOON, turn};
use rig::counters::Counters;
use rig::forwarders::BoxConfig;
use rig::{Options, Rig, Side};
use rustix::process::Signal;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Datagrams on a namespace's loopback, one after the other, until it is dropped.
struct Chatter {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Chatter {
    fn start(rig: &Rig, side: Side) -> Self {
        let socket = rig.place(side).enter(|| UdpSocket::bind("127.0.0.1:0")).expect("namespace").expect("socket");
        socket.connect(socket.local_addr().expect("an address")).expect("connected");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let core = core_affinity::CoreId { id: rig::core(side.other()) };
        let thread = std::thread::spawn(move || {
            // Not the core that the box starts on.
            core_affinity::set_for_current(core);
            // That nobody reads them, and most are thrown away, does not matter: they have been on the interface.
            while !stopped.load(Ordering::Relaxed) {
                socket.send(b"for nobody else").expect("sent");
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Chatter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// DPDK's packet socket hears all interfaces of its namespace until it is bound to one: on a machine that talks on
/// another one meanwhile, a box would forward some of that.
#[test]
fn e2e_a_box_forwards_nothing_of_other_interfaces() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new(Options::default()).expect("rig");
    let chatter = Chatter::start(&rig, Side::A);
    let mut running = boxes::start(&rig, Side::A, &BoxConfig::default());
    drop(chatter);
    running.signal(Signal::TERM);
    assert!(running.wait(SOON).expect("an end").success(), "{}", running.tail());
    let counters = Counters::parse(&running.out()).expect("counters");
    // Nothing is at the wire's other end.
    for place in ["/inbound/received", "/outbound/forwarded", "/ports/outside/rx_packets", "/ports/inside/tx_packets"] {
        assert_eq!(counters.get(place), 0, "{place}: {}", counters.0);
    }
}
