//! Times of receipt as a driver writes them: `net_pcap`, which reads a capture, and puts each packet's time beside it.

use arrayvec::ArrayVec;
use dpdk_ffi::{Eal, Mbuf, Mempool, PortConfig};

/// A capture of these packets, each with its time in microseconds since 1970.
fn capture(packets: &[(u64, &[u8])]) -> Vec<u8> {
    let header: [u32; 6] = [0xA1B2_C3D4, 2 | 4 << 16, 0, 0, 65535, 1];
    let mut file = header.map(u32::to_le_bytes).concat();
    for (us, octets) in packets {
        let len = octets.len() as u32;
        let record = [(us / 1_000_000) as u32, (us % 1_000_000) as u32, len, len];
        file.extend(record.map(u32::to_le_bytes).concat());
        file.extend_from_slice(octets);
    }
    file
}

#[test]
fn a_driver_says_when_each_packet_came() {
    let file = std::env::temp_dir().join(format!("pdmv2-stamps-{}.pcap", std::process::id()));
    let times = [1_700_000_000_000_000, 1_700_000_000_000_250, 1_700_000_001_999_999];
    let packets = times.each_ref().map(|&us| (us, &[7u8; 60][..]));
    std::fs::write(&file, capture(&packets)).expect("capture");
    let [asked, not_asked] = ["net_pcap0", "net_pcap1"];
    let vdev = |name| format!("--vdev={name},rx_pcap={}", file.display());
    let mut arguments: Vec<String> =
        ["--no-huge", "-m", "64", "--no-pci", "--no-shconf", "--no-telemetry", "--iova-mode=va", "-l", "0"]
            .map(str::to_owned)
            .into();
    arguments.extend([vdev(asked), vdev(not_asked), "--log-level=error".to_owned()]);
    let eal = Eal::init(&arguments).expect("EAL, and DPDK's driver net_pcap");
    let pool = Mempool::new(&eal, "p", 1023, 0, 2048 + 128, None).expect("pool");
    let config = PortConfig { queues: 1, rx_descriptors: 256, tx_descriptors: 256, mtu: None, promiscuous: true };
    for name in [asked, not_asked] {
        let mut port = eal.port(name).expect("port");
        port.want_stamps(name == asked);
        port.configure(&config, &pool).expect("configured");
        let mut port = port.start().expect("started");
        let (mut rx, _tx) = port.take_queues().pop().expect("a queue");
        let mut came = ArrayVec::<Mbuf, 8>::new();
        assert_eq!(rx.burst(&mut came, 8), 3);
        assert_eq!(port.stamps().is_some(), name == asked);
        assert_eq!(rx.stamps(), port.stamps());
        if let Some(stamps) = rx.stamps() {
            let read: Vec<_> = came.iter().map(|packet| packet.stamp(stamps)).collect();
            assert_eq!(read, times.map(Some), "in ticks of the driver's: DPDK 22.11 has microseconds");
        }
    }
    std::fs::remove_file(&file).expect("removed");
}
