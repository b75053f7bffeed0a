//! Packets in buffers of a device.

use crate::observe::counters::Outcome;
use crate::observe::reasons::Reason;
use crate::state::policies::Mode;
use crate::testing::{self, SMALL, back, frame, out};
use dpdk_ffi::{Eal, Mbuf, Mempool};
use protocol::wire::option::Form;

/// Packets as some drivers hand them over (mlx5 with `mprq_en`): in memory that is not the pool's. One EAL per process,
/// so one test.
#[test]
fn packets_in_memory_of_a_device_go_in_and_out_as_copies() {
    let arguments = ["--no-huge", "-m", "64", "--no-pci", "--no-shconf", "--no-telemetry", "--iova-mode=va", "-l", "0"];
    let eal = Eal::init(&[&arguments[..], &["--log-level=error"]].concat()).expect("EAL");
    let pool = Mempool::new(&eal, "test", 63, 0, 2048 + 128, None).expect("pool");
    for (mode, form) in [(Mode::Pdm, Form::Pdm), (Mode::Clear, Form::Clear), (Mode::Encrypted, Form::Encrypted)] {
        let worker = |is_a| {
            let config = testing::config(vec![testing::policy(mode)]);
            testing::worker(testing::side(config, testing::ring(is_a, 1, 1), SMALL, 1).shared, 0)
        };
        let (mut a, mut b) = (worker(true), worker(false));
        for i in 0..3 {
            let original = frame(1000, 10 + i);
            let mut packet = Mbuf::outside_of_pool(&pool, &original).expect("a buffer");
            assert_eq!(out(&mut a, &mut packet, 5), Outcome::Added(form));
            let sealed = packet.data().to_vec();
            // On the way two hold it: a switch that copies packets to a third port, for one.
            let kept = packet.share(&pool).expect("a buffer");
            assert_eq!(back(&mut b, &mut packet, 5), Outcome::Removed(form));
            assert_eq!((packet.data(), kept.data()), (&original[..], &sealed[..]));
            // With no buffer left the next one passes as it came.
            let mut packet = Mbuf::outside_of_pool(&pool, &original).expect("a buffer");
            let rest: Vec<_> = core::iter::from_fn(|| Mbuf::from_pool(&pool)).collect();
            assert_eq!(out(&mut a, &mut packet, 5), Outcome::Passed(Reason::ReadOnly));
            assert_eq!(packet.data(), &original[..]);
            drop(rest);
        }
        assert_eq!((a.counters.copied.get(), b.counters.copied.get()), (3, 3));
    }
    assert_eq!(pool.in_use(), 0);
}
