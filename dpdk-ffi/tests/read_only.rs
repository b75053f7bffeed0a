//! Packets whose octets are shared, or in memory that is not their pool's: never written to, and copied when they have to be.

use dpdk_ffi::{Eal, Mbuf, Mempool};
use std::sync::Arc;

fn octets(m: &mut Mbuf, pattern: &[u8]) {
    m.append(pattern.len()).expect("room").copy_from_slice(pattern);
}

/// Nothing that changes octets, or takes room, does so.
fn is_read_only(m: &mut Mbuf, expected: &[u8]) {
    assert!(!m.is_writable());
    assert!(m.data_mut().is_empty() && m.append(1).is_none() && !m.prepend(1));
    assert_eq!((m.headroom(), m.tailroom(), m.data()), (0, 0, expected));
    assert!(m.window::<0, 1>().is_none() && m.grow_window::<0, 1>(0).is_none());
}

/// The octets around a packet's start: within its buffer, and nowhere else.
fn windows(pool: &Arc<Mempool>) {
    let mut m = Mbuf::from_pool(pool).expect("a buffer");
    octets(&mut m, &[7; 60]);
    m.data_mut()[0] = 1;
    let window = m.window::<40, 112>().expect("room");
    assert_eq!((window[40], window[41], window[99]), (1, 7, 7));
    window[0] = 0xAA;
    let window: *const [u8; 112] = window;
    assert_eq!((m.headroom(), m.pkt_len()), (128, 60), "nothing moves");
    for n in 1..=3 {
        let grown: *const [u8; 112] = m.grow_window::<40, 112>(40).expect("room");
        assert!(n > 1 || grown == window, "the first is the one from before");
        assert_eq!((m.headroom(), m.pkt_len(), m.data().len()), (128 - 40 * n, 60 + 40 * n, 60 + 40 * n));
        assert_eq!((n > 1 || m.data()[0] == 0xAA, m.data()[40]), (true, 1), "{n}");
        m.data_mut()[0] = 1;
    }
    assert!(m.window::<40, 112>().is_none() && m.grow_window::<40, 112>(40).is_none(), "8 octets are left before it");
    assert_eq!((m.headroom(), m.pkt_len()), (8, 180));
    assert!(m.trim_front(40) && m.grow_window::<40, 112>(41).is_none() && m.grow_window::<40, 112>(24).is_some());
    assert_eq!((m.headroom(), m.pkt_len()), (24, 164));
    // At the end of the buffer.
    let mut m = Mbuf::from_pool(pool).expect("a buffer");
    octets(&mut m, &[7; 2048]);
    assert!(m.trim_front(2048 - 72) && m.window::<40, 112>().is_some());
    assert!(m.trim_front(1) && m.window::<40, 112>().is_none() && m.grow_window::<40, 112>(40).is_none());
    assert_eq!(m.pkt_len(), 71);
}

fn is_writable(m: &mut Mbuf, expected: &[u8]) {
    assert!(m.is_writable());
    assert_eq!((m.data(), m.pkt_len(), m.segments(), m.headroom()), (expected, expected.len(), 1, 128));
    m.data_mut().fill(9);
    assert!(m.prepend(40) && m.trim_front(40));
    assert!(m.data().iter().all(|&o| o == 9));
}

fn shared_packets_are_copied(pool: &Arc<Mempool>) {
    let mut first = Mbuf::from_pool(pool).expect("a buffer");
    octets(&mut first, b"hello");
    let mut second = first.share(pool).expect("a buffer");
    is_read_only(&mut first, b"hello");
    is_read_only(&mut second, b"hello");
    assert!(second.make_writable());
    is_writable(&mut second, b"hello");
    assert_eq!(first.data(), b"hello", "the other one is as it was");
    assert!(first.is_writable(), "and is alone now");
    assert!(first.make_writable(), "which costs nothing");
    // The owner of the octets is copied as well as who shares them.
    let third = first.share(pool).expect("a buffer");
    assert!(first.make_writable());
    is_writable(&mut first, b"hello");
    assert_eq!(
        (third.data(), pool.in_use()),
        (&b"hello"[..], 4),
        "three packets, and the octets that the third shares"
    );
    drop((first, second, third));
    assert_eq!(pool.in_use(), 0);
}

fn packets_in_other_memory_are_copied(pool: &Arc<Mempool>) {
    for len in [0, 1, 5, 60, 1500, 2048] {
        let pattern: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let mut m = Mbuf::outside_of_pool(pool, &pattern).expect("a buffer");
        is_read_only(&mut m, &pattern);
        if len == 0 {
            assert!(!m.make_writable(), "there is nothing to copy");
            continue;
        }
        assert!(m.make_writable());
        is_writable(&mut m, &pattern);
    }
    // Longer than a buffer of the pool: in segments, of which the first can be written.
    let pattern: Vec<u8> = (0..9000u16).map(|i| i as u8).collect();
    let mut m = Mbuf::outside_of_pool(pool, &pattern).expect("a buffer");
    assert!(m.make_writable() && m.is_writable());
    assert_eq!((m.pkt_len(), m.segments(), m.data()), (9000, 5, &pattern[..2048]));
    drop(m);
    assert!(Mbuf::outside_of_pool(pool, &[0; 70_000]).is_none());
    assert_eq!(pool.in_use(), 0);
}

fn without_a_buffer_nothing_changes(pool: &Arc<Mempool>) {
    let mut m = Mbuf::outside_of_pool(pool, b"hello").expect("a buffer");
    let mut all: Vec<_> = core::iter::from_fn(|| Mbuf::from_pool(pool)).collect();
    assert!(!m.make_writable());
    is_read_only(&mut m, b"hello");
    assert!(m.share(pool).is_none() && Mbuf::outside_of_pool(pool, b"hello").is_none());
    all.pop();
    assert!(m.make_writable());
    is_writable(&mut m, b"hello");
    drop((m, all));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn what_may_not_be_written_is_copied() {
    let arguments = ["--no-huge", "-m", "64", "--no-pci", "--no-shconf", "--no-telemetry", "--iova-mode=va", "-l", "0"];
    let eal = Eal::init(&[&arguments[..], &["--log-level=error"]].concat()).expect("EAL");
    let pool = Mempool::new(&eal, "test", 1023, 0, 2048 + 128, None).expect("pool");
    windows(&pool);
    shared_packets_are_copied(&pool);
    packets_in_other_memory_are_copied(&pool);
    without_a_buffer_nothing_changes(&pool);
    // A pool of mbufs without room of their own gives none for a copy.
    let headers = Mempool::new(&eal, "headers", 63, 0, 0, None).expect("pool");
    let mut first = Mbuf::from_pool(&pool).expect("a buffer");
    octets(&mut first, b"hello");
    let mut second = first.share(&headers).expect("a buffer");
    assert!(!second.make_writable());
    is_read_only(&mut second, b"hello");
}
