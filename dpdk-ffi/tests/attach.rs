//! Ports that come and go while the EAL and the pools stay. One EAL per process, so one test.

use arrayvec::ArrayVec;
use dpdk_ffi::{Eal, Error, Mbuf, Mempool, Port, PortConfig, Stopped};
use std::sync::Arc;

const CONFIG: PortConfig =
    PortConfig { queues: 1, rx_descriptors: 256, tx_descriptors: 256, mtu: None, promiscuous: true };

/// Packets that go in come out again, as often as the port goes and comes back.
fn once_round(port: Port<Stopped>, pool: &Arc<Mempool>, round: u32) -> Port<Stopped> {
    let mut port = port;
    port.configure(&CONFIG, pool).expect("configured");
    let mut port = port.start().expect("started");
    let (mut rx, mut tx) = port.take_queues().pop().expect("a pair");
    let mut burst: ArrayVec<Mbuf, 32> = ArrayVec::new();
    for i in 0..32 {
        let mut packet = Mbuf::from_pool(pool).expect("a buffer: none was lost in the rounds before");
        packet.append(8).expect("room").copy_from_slice(&(u64::from(round) << 32 | i).to_be_bytes());
        burst.push(packet);
    }
    assert_eq!(tx.burst(&mut burst), 32);
    assert_eq!(rx.burst(&mut burst, 32), 32);
    for (i, packet) in burst.iter().enumerate() {
        assert_eq!(packet.data(), (u64::from(round) << 32 | i as u64).to_be_bytes());
    }
    burst.clear();
    assert_eq!(port.stats().expect("statistics").rx_packets, 32, "a port that came back counts from zero");
    let (port, error) = port.stop().expect_err("queues are out");
    assert!(matches!(error, Error::QueuesOut(_)));
    drop((rx, tx));
    port.stop().map_err(|(_, e)| e).expect("stopped")
}

#[test]
fn devices_leave_and_return_with_traffic_and_nothing_is_lost() {
    let arguments = "--no-huge -m 64 --no-pci --no-shconf --no-telemetry --iova-mode=va -l 0 --log-level=error \
                     --vdev=net_ring0 --vdev=net_null0";
    let eal = Eal::init(&arguments.split_whitespace().collect::<Vec<_>>()).expect("EAL");
    let pool = Mempool::new(&eal, "test", 63, 0, 2048 + 128, None).expect("pool");
    let null = eal.port("net_null0").expect("it stays");
    // The first was there from the start, all others are attached; many more than memory would last for.
    let mut ring = eal.port("net_ring0").expect("port");
    for round in 0..300 {
        let port = once_round(ring, &pool, round);
        assert!(matches!(eal.attach("net_ring0"), Err(Error::PortTaken(_))), "it is in use");
        port.detach().expect("detached");
        assert_eq!(eal.port_names(), ["net_null0"]);
        assert!(matches!(eal.port("net_ring0"), Err(Error::NoPort { .. })));
        ring = eal.attach("net_ring0").expect("attached");
        assert_eq!(pool.in_use(), 0);
    }
    // Closed and not detached, as an attempt that failed half-way leaves it: the device is in the way, and is taken all the same.
    drop(ring);
    let ring = eal.attach("net_ring0").expect("attached");
    assert!(!ring.removed() && !ring.gone());
    ring.detach().expect("detached");

    let other =
        eal.attach("net_null7,size=100").expect("a device that the command line did not name, with an argument");
    let mut other = other;
    other.configure(&CONFIG, &pool).expect("configured");
    let mut other = other.start().expect("started");
    let (mut rx, tx) = other.take_queues().pop().expect("a pair");
    let mut burst: ArrayVec<Mbuf, 4> = ArrayVec::new();
    assert!(rx.burst(&mut burst, 4) == 4 && burst[0].pkt_len() == 100);
    drop((burst, rx, tx));
    other.stop().map_err(|(_, e)| e).expect("stopped").detach().expect("detached");

    for (device, what) in [("net_nothing0", "rte_dev_probe failed"), ("0000:00:77.7", "rte_dev_probe failed")] {
        let error = eal.attach(device).expect_err("there is none").to_string();
        assert!(error.contains(what) && error.contains(device), "{error}");
    }
    assert!(matches!(eal.attach("net\0"), Err(Error::BadText(_))));
    null.detach().expect("detached");
    assert!(eal.port_names().is_empty());
    assert_eq!(pool.in_use(), 0);
}
