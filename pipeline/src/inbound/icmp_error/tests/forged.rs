//! Errors that prove nothing, and errors without end.

use super::*;

/// What must change nothing, neither in the message nor in the box.
#[track_caller]
pub(super) fn changes_nothing(side: &Side, worker: &mut Worker, sent: &[u8], finding: Option<Finding>, what: &str) {
    let counts = |w: &Worker| Finding::ALL.iter().map(|&f| found(w, f)).collect::<Vec<_>>();
    let (before, flows) = (counts(worker), side.shared.table.used());
    let (outcome, frame) = back(worker, sent, 5);
    assert_eq!(outcome, Outcome::Passed(Reason::NoOption), "{what}");
    assert_eq!(frame, sent, "{what}");
    let mut expected = before;
    if let Some(finding) = finding {
        expected[finding as usize] += 1;
    }
    assert_eq!(counts(worker), expected, "{what}");
    assert_eq!(side.shared.table.used(), flows, "{what}");
    assert_eq!((side.shared.path_mtus.used(), side.shared.path_mtus.epoch()), (0, 0), "{what}");
}

#[test]
fn a_forged_error_changes_nothing() {
    for (mode, form) in FORMS {
        let (side, mut worker, packet, measured) = sent(mode, ipv6::UDP, false, 1444);
        let forged = |edit: &dyn Fn(&mut Vec<u8>)| {
            let mut quoted = measured.clone();
            edit(&mut quoted);
            too_big(1400, &quoted)
        };
        let mut check = |sent: &[u8], finding, what: &str| changes_nothing(&side, &mut worker, sent, finding, what);
        check(&too_big(1400, &packet), None, "no option quoted: nothing to do");
        for (at, what) in [(41 + form.header_len(), "a port"), (39, "an address"), (23, "the host's address")] {
            check(&forged(&|q| q[at] ^= 1), Some(Finding::NotOurs), what);
        }
        // Number by number: only the one that was sent will do.
        let psntp = 40 + form.option_at() + if form == Form::Pdm { 4 } else { 12 };
        let steps = if form == Form::Encrypted { 1..=1u16 } else { 1..=u16::MAX };
        for step in steps {
            let add = |q: &mut Vec<u8>| {
                let number = u16::from_be_bytes([q[psntp], q[psntp + 1]]).wrapping_add(step);
                q[psntp..psntp + 2].copy_from_slice(&number.to_be_bytes());
            };
            check(&forged(&add), Some(Finding::NotSent), "a number that was never sent");
        }
        if form != Form::Pdm {
            let prefix = 40 + form.option_at();
            for bit in 0..16 {
                let flip = |q: &mut Vec<u8>| q[prefix + 4 + bit / 8] ^= 1 << (bit % 8);
                check(&forged(&flip), Some(Finding::NotSent), "PRSEQ or F");
            }
        }
        if form == Form::Encrypted {
            for octet in 6..36 {
                check(&forged(&|q| q[44 + octet] ^= 0x10), Some(Finding::NotSent), "ciphertext or tag");
            }
            check(&forged(&|q| q[46..80].fill(0)), None, "no option of ours at all");
        }
        for mtu in [0, 1, 1279, measured.len() as u32, 9000, u32::MAX] {
            check(&too_big(mtu, &measured), Some(Finding::BadMtu), "an MTU that says nothing");
        }
        let mut wrong = too_big(1400, &measured);
        wrong[1000] ^= 1;
        check(&wrong, Some(Finding::BadChecksum), "a wrong checksum");
        let mut to_other = too_big(1400, &measured);
        to_other[14 + 39] ^= 1;
        check(&to_other, Some(Finding::NotSent), "not to whom it quotes");
        let mut other_form = Mode::Clear;
        if mode == Mode::Clear {
            other_form = Mode::Pdm;
        }
        let (_, _, _, other) = sent(other_form, ipv6::UDP, false, 1444);
        check(&too_big(1400, &other), Some(Finding::NotOurs), "another form");
        // And the genuine one still is.
        assert_ne!(back(&mut worker, &too_big(1400, &measured), 5).1, too_big(1400, &measured));
    }
}

#[test]
fn another_boxs_packet_is_not_ours() {
    let (_, _, _, of_another) = sent(Mode::Encrypted, ipv6::UDP, false, 1444);
    let path = PathConfig { started_ns: 9, ..config(Mode::Encrypted) };
    let side = testing::side(path, testing::ring(true, 2, 1), SMALL, 1);
    let mut worker = Worker::new(Arc::clone(&side.shared), 0);
    changes_nothing(&side, &mut worker, &too_big(1400, &of_another), Some(Finding::NotOurs), "no flow");
    out(&mut worker, &[ethernet(0), of_host(ipv6::UDP, false, 1444)].concat(), 5);
    changes_nothing(&side, &mut worker, &too_big(1400, &of_another), Some(Finding::NotSent), "another generation");
}

#[test]
fn a_flood_costs_a_bounded_amount_and_changes_nothing() {
    let (side, mut worker, _, measured) = sent(Mode::Encrypted, ipv6::UDP, false, 1444);
    let genuine = too_big(1400, &measured);
    let mut mended = 0;
    for _ in 0..5000 {
        let (_, frame) = back(&mut worker, &genuine, 6);
        mended += u64::from(frame != genuine);
    }
    assert_eq!((mended, found(&worker, Finding::Mended), found(&worker, Finding::TooOften)), (1000, 1000, 4000));
    assert_eq!(worker.counters.path_mtus_learnt.get(), 1);
    assert_ne!(back(&mut worker, &genuine, 2 * SECOND).1, genuine, "a second later it is heard again");
    // Forged ones do not keep genuine ones out.
    let mut forged = measured.clone();
    forged[70] ^= 1;
    for _ in 0..5000 {
        back(&mut worker, &too_big(1400, &forged), 3 * SECOND);
    }
    assert_ne!(back(&mut worker, &genuine, 3 * SECOND).1, genuine);
    assert_eq!(side.shared.table.used(), 1);
    assert_eq!(worker.counters.trials.get() + worker.counters.derivations.get(), 1, "one key, one opening each");
}

/// However many destinations have routers that say something: flows are made to ask again a hundred times a second.
#[test]
fn news_of_paths_come_at_a_bounded_rate() {
    let side = box_a(config(Mode::Pdm));
    let mut worker = Worker::new(Arc::clone(&side.shared), 0);
    for i in 0..500u16 {
        let mut packet = of_host(ipv6::UDP, false, 1444);
        packet[38..40].copy_from_slice(&i.to_be_bytes());
        let (_, frame) = out(&mut worker, &[ethernet(0), packet].concat(), 5);
        let (_, heard) = back(&mut worker, &too_big(1400, &frame[14..]), 5);
        assert_eq!(mtu_of(&heard), 1384, "each host hears what it needs");
    }
    assert_eq!((side.shared.path_mtus.used(), side.shared.path_mtus.epoch()), (100, 100));
}

/// A box without keys numbers its options in clear all the same.
#[test]
fn options_in_clear_are_known_again_without_any_key() {
    for mode in [Mode::Pdm, Mode::Clear] {
        let side = testing::side(config(mode), crate::state::keyring::KeyRing::default(), SMALL, 1);
        let mut worker = Worker::new(Arc::clone(&side.shared), 0);
        let packet = of_host(ipv6::UDP, false, 1444);
        let (_, frame) = out(&mut worker, &[ethernet(0), packet.clone()].concat(), 5);
        let (_, heard) = back(&mut worker, &too_big(1400, &frame[14..]), 6);
        assert_eq!(found(&worker, Finding::Mended), 1);
        assert_eq!(heard[62..], packet[..heard.len() - 62]);
    }
}
