use super::*;

/// Whoever leaves first, each packet is dealt with by one of the two.
#[test]
fn loom_what_is_left_in_a_ring_is_dealt_with_once() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let ring = Ring::<u32>::new(2);
        let (mut outgoing, mut incoming) = (Outgoing::new(&ring), Incoming::new(ring, 0));
        let giver = loom::thread::spawn(move || {
            let mut mine = ArrayVec::<u32, BURST>::new();
            for packet in 0..3 {
                if let Err(packet) = outgoing.put(packet) {
                    mine.push(packet);
                }
                outgoing.announce();
            }
            if outgoing.leave() {
                outgoing.take_back(&mut mine);
            }
            mine
        });
        let mut all = ArrayVec::<u32, BURST>::new();
        incoming.take(&mut all, incoming.waiting());
        if incoming.leave() {
            incoming.take(&mut all, incoming.waiting());
        }
        let taken = all.len();
        assert!(all.is_sorted());
        all.extend(giver.join().expect("no panic"));
        all.sort_unstable();
        assert_eq!(all[..], [0, 1, 2], "{taken} of them taken over");
    });
}
