//! What is used lives as long as its users, whatever safe code drops first. The EAL starts once per process, so each case
//! runs in a process of its own; one that touches memory that is gone dies by a signal.

use arrayvec::ArrayVec;
use dpdk_ffi::{Eal, Error, Mbuf, Mempool, Port, PortConfig, RxQueue, Started, ThreadRegistration, TxQueue};
use std::process::Command;
use std::sync::Arc;

const CONFIG: PortConfig =
    PortConfig { queues: 1, rx_descriptors: 256, tx_descriptors: 256, mtu: None, promiscuous: true };

/// Which case the process runs.
const CASE: &str = "PDMV2_TEST_CASE";

type Case = (&'static str, fn());

const CASES: [Case; 8] = [
    ("a packet outlives pool, port, queues and EAL", a_packet_outlives_all),
    ("nothing is out: the memory is given back", nothing_is_out),
    ("queues outlive the port and the pool", queues_outlive_port_and_pool),
    ("a packet waits in a port whose pool has no handle left", a_packet_in_a_port),
    ("a port is configured again with another pool", another_pool),
    ("packets in a thread's cache are back", a_threads_cache),
    ("the last handle goes on another thread", the_last_handle_elsewhere),
    ("a port that was configured half-way does not start", half_configured),
];

#[test]
fn safe_code_touches_no_memory_that_is_gone() {
    if let Ok(case) = std::env::var(CASE) {
        let (_, run) = CASES.iter().find(|(name, _)| *name == case).expect("a case");
        return run();
    }
    for (name, _) in CASES {
        let this = std::env::current_exe().expect("this program");
        let arguments = ["--exact", "safe_code_touches_no_memory_that_is_gone", "--nocapture"];
        let output = Command::new(this).args(arguments).env(CASE, name).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {}\n{said}", output.status);
    }
}

fn eal() -> Eal {
    let arguments = ["--no-huge", "-m", "64", "--no-pci", "--no-shconf", "--no-telemetry", "--iova-mode=va", "-l", "0"];
    let devices = ["--log-level=error", "--vdev=net_null0", "--vdev=net_ring0"];
    Eal::init(&[&arguments[..], &devices].concat()).expect("EAL")
}

fn pool(eal: &Eal, name: &str, cache: u32) -> Arc<Mempool> {
    Mempool::new(eal, name, 1023, cache, 2048 + 128, None).expect("pool")
}

fn started(eal: &Eal, name: &str, pool: &Arc<Mempool>) -> Port<Started> {
    let mut port = eal.port(name).expect("port");
    port.configure(&CONFIG, pool).expect("configured");
    port.start().expect("started")
}

fn queues(port: &mut Port<Started>) -> (RxQueue, TxQueue) {
    port.take_queues().pop().expect("queues")
}

fn receive(rx: &mut RxQueue) -> Mbuf {
    let mut packets: ArrayVec<Mbuf, 4> = ArrayVec::new();
    assert!(rx.burst(&mut packets, 4) > 0);
    packets.pop().expect("a packet")
}

/// Whether there is memory at this address.
fn mapped(address: usize) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    maps.lines().any(|line| {
        let range = line.split(' ').next().and_then(|r| r.split_once('-')).expect("a range");
        let [from, to] = [range.0, range.1].map(|t| usize::from_str_radix(t, 16).expect("an address"));
        (from..to).contains(&address)
    })
}

fn written(packet: &mut Mbuf) -> usize {
    packet.data_mut().fill(0xA5);
    packet.data().as_ptr() as usize
}

fn a_packet_outlives_all() {
    let eal = eal();
    let pool = pool(&eal, "p", 0);
    let mut port = started(&eal, "net_null0", &pool);
    let (mut rx, tx) = queues(&mut port);
    // No buffer is out now, but the queue can still take some out.
    drop((port, pool, eal));
    let mut packet = receive(&mut rx);
    let address = written(&mut packet);
    drop((rx, tx));
    assert!(mapped(address) && packet.data().iter().all(|&o| o == 0xA5));
    drop(packet);
}

fn nothing_is_out() {
    let eal = eal();
    let pool = pool(&eal, "p", 0);
    let mut port = started(&eal, "net_null0", &pool);
    let (mut rx, tx) = queues(&mut port);
    let address = written(&mut receive(&mut rx));
    drop((eal, pool, port));
    assert!(mapped(address), "the queues hold it");
    drop(tx);
    assert!(mapped(address), "one of them is enough");
    drop(rx);
    assert!(!mapped(address), "the EAL is cleaned up");
}

fn queues_outlive_port_and_pool() {
    let eal = eal();
    let pool = pool(&eal, "p", 0);
    let mut port = started(&eal, "net_null0", &pool);
    let (mut rx, mut tx) = queues(&mut port);
    let (port, refused) = port.stop().expect_err("its queues are out");
    assert!(matches!(refused, Error::QueuesOut(_)));
    drop((port, pool));
    assert!(matches!(eal.port("net_null0"), Err(Error::PortTaken(_))), "its queues have it");
    let mut packets: ArrayVec<Mbuf, 32> = ArrayVec::new();
    for _ in 0..200 {
        assert_eq!(rx.burst(&mut packets, 32), 32);
        assert_eq!(tx.burst(&mut packets), 32);
    }
    drop(rx);
    packets.clear();
    assert_eq!(tx.burst(&mut packets), 0);
    drop(tx);
    assert!(matches!(eal.port("net_null0"), Err(Error::NoPort { .. })), "closed with its last queue");
}

fn a_packet_in_a_port() {
    let eal = eal();
    let (small, other) = (pool(&eal, "small", 0), pool(&eal, "other", 0));
    let mut port = started(&eal, "net_ring0", &other);
    let (mut rx, mut tx) = queues(&mut port);
    let mut packet = Mbuf::from_pool(&small).expect("a packet");
    packet.append(64).expect("room");
    let address = written(&mut packet);
    let mut packets: ArrayVec<Mbuf, 4> = [packet].into_iter().collect();
    assert_eq!(tx.burst(&mut packets), 1);
    drop((small, other, port, tx));
    let packet = receive(&mut rx);
    drop((rx, eal));
    assert!(mapped(address) && packet.data() == [0xA5; 64]);
}

fn another_pool() {
    let eal = eal();
    let (first, second) = (pool(&eal, "first", 0), pool(&eal, "second", 0));
    let mut port = started(&eal, "net_null0", &first);
    drop(queues(&mut port));
    let mut port = port.stop().map_err(|(_, e)| e).expect("stopped");
    port.configure(&CONFIG, &second).expect("configured again");
    let mut port = port.start().expect("started");
    let (mut rx, tx) = queues(&mut port);
    drop(first);
    let packet = receive(&mut rx);
    assert!(second.in_use() > 0);
    drop((packet, rx, tx, port));
    assert_eq!(second.in_use(), 0);
}

fn a_threads_cache() {
    let eal = eal();
    let pool = pool(&eal, "p", 256);
    let other = eal.clone();
    let from = Arc::clone(&pool);
    let thread = std::thread::spawn(move || {
        let registered = ThreadRegistration::new(&other).expect("registered");
        let mut packets: Vec<_> = core::iter::from_fn(|| Mbuf::from_pool(&from)).take(300).collect();
        let address = packets[0].append(1).expect("room").as_ptr() as usize;
        let kept = packets.pop();
        drop(packets);
        drop(registered);
        (kept, address)
    });
    let (kept, address) = thread.join().expect("no panic");
    assert_eq!(pool.in_use(), 1);
    drop(kept);
    drop((pool, eal));
    assert!(!mapped(address), "all are back, wherever they lie");
}

fn the_last_handle_elsewhere() {
    let eal = eal();
    let pool = pool(&eal, "p", 0);
    let mut packet = Mbuf::from_pool(&pool).expect("a packet");
    let address = packet.append(64).expect("room").as_ptr() as usize;
    let thread = std::thread::spawn(move || drop((eal, pool)));
    drop(packet);
    thread.join().expect("no panic");
    assert!(mapped(address), "who drops an mbuf at the same moment must not lose its memory");
}

fn half_configured() {
    let eal = eal();
    let good = pool(&eal, "good", 0);
    let tiny = Mempool::new(&eal, "tiny", 1023, 0, 64, None).expect("pool");
    let mut port = eal.port("net_null0").expect("port");
    port.configure(&CONFIG, &good).expect("configured");
    // Its buffers are too small to receive into: the queues are not set up.
    port.configure(&PortConfig { queues: 2, ..CONFIG }, &tiny).expect_err("refused");
    assert!(matches!(port.start(), Err(Error::Unable { .. })));
}
