//! The safe layer on DPDK's software ports: no hugepages, no hardware. One EAL per process, so one test.

use arrayvec::ArrayVec;
use dpdk_ffi::{Eal, Error, Mbuf, Mempool, PortConfig, RxQueue, ThreadRegistration, TxQueue};
use std::path::Path;
use std::sync::Arc;

const CONFIG: PortConfig =
    PortConfig { queues: 1, rx_descriptors: 256, tx_descriptors: 256, mtu: None, promiscuous: true };

/// A classic pcap file, microseconds, Ethernet.
fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xA1B2_C3D4u32, 0x0004_0002, 0, 0, 65535, 1] {
        file.extend_from_slice(&word.to_ne_bytes());
    }
    for frame in frames {
        for word in [0, 0, frame.len() as u32, frame.len() as u32] {
            file.extend_from_slice(&word.to_ne_bytes());
        }
        file.extend_from_slice(frame);
    }
    file
}

fn buffers_come_and_go(pool: &Arc<Mempool>) {
    let mut m = Mbuf::from_pool(pool).expect("a buffer");
    assert_eq!((m.pkt_len(), m.segments(), m.headroom(), pool.in_use()), (0, 1, 128, 1));
    m.append(5).expect("room").copy_from_slice(b"hello");
    assert!(m.prepend(128) && !m.prepend(1));
    assert_eq!((m.pkt_len(), m.headroom(), &m.data()[128..]), (133, 0, &b"hello"[..]));
    m.data_mut()[..128].fill(7);
    assert!(m.trim_front(130) && !m.trim_front(4));
    assert_eq!(m.data(), b"llo");
    assert!(m.truncate(1) && !m.truncate(2));
    assert_eq!((m.data(), m.pkt_len(), m.headroom()), (&b"l"[..], 1, 130));
    let room = m.tailroom();
    assert!(m.append(room + 1).is_none() && m.append(room).is_some());
    drop(m);
    // All of them, and not one more; dropped in another order.
    let mut all: Vec<_> = core::iter::from_fn(|| Mbuf::from_pool(pool)).collect();
    assert_eq!((all.len() as u32, pool.in_use()), (pool.size(), pool.size()));
    all.reverse();
    let half = all.split_off(all.len() / 2);
    drop(half);
    drop(all);
    assert_eq!(pool.in_use(), 0);
}

/// What is sent comes back in order, also when the ring is full; nothing is lost or freed twice.
fn what_is_sent_comes_back(eal: &Eal, pool: &Arc<Mempool>, mut rx: RxQueue, mut tx: TxQueue) -> (RxQueue, TxQueue) {
    let mut sent = 0u32;
    let mut burst: ArrayVec<Mbuf, 32> = ArrayVec::new();
    loop {
        while !burst.is_full() {
            let Some(mut m) = Mbuf::from_pool(pool) else { break };
            let number = sent + burst.len() as u32;
            m.append(4).expect("room").copy_from_slice(&number.to_be_bytes());
            burst.push(m);
        }
        let (before, taken) = (burst.len(), tx.burst(&mut burst));
        assert_eq!(burst.len(), before - taken);
        sent += taken as u32;
        if taken == 0 {
            break;
        }
    }
    let left: Vec<u8> = burst.iter().flat_map(|m| m.data().to_vec()).collect();
    assert_eq!(
        left,
        (sent..sent + burst.len() as u32).flat_map(u32::to_be_bytes).collect::<Vec<_>>(),
        "the rest stays, in order"
    );
    let mut came = 0u32;
    let mut received: ArrayVec<Mbuf, 32> = ArrayVec::new();
    let thread = std::thread::spawn({
        let eal = eal.clone();
        move || {
            let registration = ThreadRegistration::new(&eal).expect("registered");
            while rx.burst(&mut received, 7) > 0 {
                assert!(received.len() <= 7);
                for m in received.drain(..) {
                    assert_eq!(m.data(), came.to_be_bytes());
                    came += 1;
                }
            }
            drop(registration);
            (rx, came)
        }
    });
    let (rx, came) = thread.join().expect("no panic");
    assert_eq!(came, sent);
    drop(burst);
    assert_eq!(pool.in_use(), 0);
    (rx, tx)
}

/// Frames of all lengths come from one file and go to another, octet by octet.
fn a_capture_goes_through(eal: &Eal, pool: &Arc<Mempool>, frames: &[Vec<u8>], output: &Path) {
    let mut pcap = eal.port("net_pcap0").expect("port");
    pcap.configure(&CONFIG, pool).expect("configured");
    let mut pcap = pcap.start().expect("started");
    assert!(pcap.link().expect("link").up);
    assert!(pcap.info().expect("info").driver.contains("pcap"));
    let (mut rx, mut tx) = pcap.take_queues().pop().expect("a pair");
    let mut got = 0;
    let mut burst: ArrayVec<Mbuf, 32> = ArrayVec::new();
    while got < frames.len() {
        let n = rx.burst(&mut burst, 32);
        assert!(n > 0, "{got} frames came");
        for (m, frame) in burst.iter().zip(&frames[got..]) {
            assert_eq!(m.pkt_len(), frame.len());
            assert_eq!(m.segments(), if frame.len() > 2048 { 2 } else { 1 });
            assert_eq!(m.data(), &frame[..m.data().len()]);
        }
        got += n;
        while !burst.is_empty() {
            tx.burst(&mut burst);
        }
    }
    let stats = pcap.stats().expect("statistics");
    assert_eq!((stats.rx_packets, stats.tx_packets), (100, 100));
    drop((rx, tx));
    drop(pcap);
    let written = std::fs::read(output).expect("output");
    let mut at = 24;
    for frame in frames {
        assert_eq!(&written[at + 16..at + 16 + frame.len()], &frame[..]);
        at += 16 + frame.len();
    }
    assert_eq!((at, pool.in_use()), (written.len(), 0));
}

#[test]
fn ports_queues_and_buffers() {
    let dir = std::env::temp_dir();
    let (input, output) =
        (dir.join(format!("pdmv2-in-{}", std::process::id())), dir.join(format!("pdmv2-out-{}", std::process::id())));
    let frames: Vec<Vec<u8>> =
        (0..100u8).map(|i| (0..60 + u16::from(i) * 30).map(|o| (o as u8) ^ i).collect()).collect();
    std::fs::write(&input, capture(&frames)).expect("input");
    let pcap = format!("--vdev=net_pcap0,rx_pcap={},tx_pcap={}", input.display(), output.display());
    let arguments = [
        "--no-huge",
        "-m",
        "64",
        "--no-pci",
        "--no-shconf",
        "--iova-mode=va",
        "-l",
        "0",
        "--log-level=error",
        "--vdev=net_ring0",
        &pcap,
    ];
    let allowed = || std::thread::available_parallelism().map_or(1, usize::from);
    let cpus = allowed();
    let eal = Eal::init(&arguments).expect("EAL");
    assert_eq!(allowed(), cpus, "the thread may run where it could before");
    assert!(matches!(Eal::init(&arguments), Err(Error::SecondEal)));
    assert!(eal.port_names().contains(&"net_ring0".to_owned()));

    let pool = Mempool::new(&eal, "test", 1023, 0, 2048 + 128, None).expect("pool");
    assert!(
        matches!(Mempool::new(&eal, "test", 1023, 0, 2176, None), Err(Error::Mempool { .. })),
        "the name is in use"
    );
    buffers_come_and_go(&pool);

    let mut ring = eal.port("net_ring0").expect("port");
    assert!(matches!(eal.port("net_ring0"), Err(Error::PortTaken(_))));
    assert!(matches!(eal.port("net_ring9"), Err(Error::NoPort { .. })));
    assert!(ring.configure(&PortConfig { queues: 2000, ..CONFIG }, &pool).is_err());
    ring.configure(&CONFIG, &pool).expect("configured");
    let mut ring = ring.start().expect("started");
    let (rx, tx) = ring.take_queues().pop().expect("a pair");
    assert!(ring.take_queues().is_empty(), "each queue is given out once");

    let (rx, tx) = what_is_sent_comes_back(&eal, &pool, rx, tx);

    let (ring, error) = ring.stop().expect_err("queues are out");
    assert!(matches!(error, Error::QueuesOut(_)));
    drop((rx, tx));
    let ring = ring.stop().map_err(|(_, e)| e).expect("stopped");
    drop(ring);
    eal.port("net_ring0").expect_err("closed, it is gone for good");

    a_capture_goes_through(&eal, &pool, &frames, &output);
    drop((pool, eal));
    let _ = (std::fs::remove_file(input), std::fs::remove_file(output));
}
