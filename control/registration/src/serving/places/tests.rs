use super::*;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// As a listener for TLS has them: silent, has spoken.
const STAGES: &[Stage] = &[
    Stage { safe: Some(ms(100)), patience: Some(ms(5000)), crowded: Some(ms(1000)) },
    Stage { safe: Some(ms(500)), patience: Some(ms(5000)), crowded: Some(ms(2000)) },
    Stage { safe: None, patience: None, crowded: None },
];

fn places(all: usize, reserved: usize) -> Places {
    Places::new(Rules { all, reserved, stages: STAGES })
}

fn comer(address: &str, known: bool, most: usize) -> Comer {
    Comer { source: Source::from(address.parse::<IpAddr>().expect("an address")), known, most }
}

#[test]
fn what_one_host_can_be_many_of_is_one_source() {
    let of = |address: &str| Source::from(address.parse::<IpAddr>().expect("an address"));
    assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
    assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
}

#[test]
fn the_slow_end_sooner_when_it_is_crowded() {
    let (mut p, start) = (places(10, 0), Instant::now());
    let (silent, mut silent_lost) = p.enter(start, comer("192.0.2.1", false, 10)).expect("a place");
    let (spoke, mut spoke_lost) = p.enter(start, comer("192.0.2.2", false, 10)).expect("a place");
    let (working, mut working_lost) = p.enter(start, comer("192.0.2.3", false, 10)).expect("a place");
    p.advance(start, spoke, 1);
    p.advance(start, working, 2);
    p.sweep(start + ms(4999));
    assert_eq!(p.counts().taken, 3);
    for i in 0..5 {
        p.enter(start + ms(4999), comer(&format!("198.51.100.{i}"), false, 10)).expect("a place");
    }
    p.sweep(start + ms(4999));
    assert_eq!((silent_lost.try_recv(), spoke_lost.try_recv()), (Ok(Lost::Slow), Ok(Lost::Slow)));
    assert!(working_lost.try_recv().is_err(), "who works is not slow");
    p.sweep(start + ms(9998));
    assert_eq!(p.counts(), PlaceCounts { taken: 1, refused: 0, lost: 7 });
    p.leave(silent);
    p.leave(working);
    assert_eq!(p.counts().taken, 0);
    assert!(p.by_source.is_empty() && p.unknown == 0);
}

#[test]
fn one_source_gets_no_more_than_its_most_and_displaces_only_itself() {
    let (mut p, start) = (places(100, 0), Instant::now());
    let (_, mut other) = p.enter(start, comer("192.0.2.9", false, 10)).expect("a place");
    let mut mine: Vec<_> = (0..10).map(|_| p.enter(start, comer("192.0.2.1", false, 10)).expect("a place").1).collect();
    assert!(p.enter(start + ms(99), comer("192.0.2.1", false, 10)).is_none(), "all have just come");
    assert!(p.enter(start + ms(100), comer("192.0.2.1", false, 10)).is_some());
    assert_eq!(mine[0].try_recv(), Ok(Lost::Displaced));
    assert!(mine[1..].iter_mut().all(|lost| lost.try_recv().is_err()) && other.try_recv().is_err());
    assert_eq!(p.counts(), PlaceCounts { taken: 11, refused: 1, lost: 1 });
}

#[test]
fn the_unknown_never_get_what_is_reserved_nor_the_place_of_the_known() {
    let (mut p, start) = (places(8, 3), Instant::now());
    for i in 0..20 {
        p.enter(start + ms(200 * i), comer(&format!("198.51.100.{i}"), false, 8)).expect("of the oldest");
    }
    assert_eq!(p.counts().taken, 5);
    let later = start + ms(10_000);
    let mut known: Vec<_> =
        (0..8).map(|i| p.enter(later, comer(&format!("192.0.2.{i}"), true, 8)).expect("a place").1).collect();
    assert_eq!((p.counts().taken, p.unknown), (8, 0), "three places were free, five were made free");
    assert!(p.enter(later + ms(60_000), comer("198.51.100.1", false, 8)).is_none());
    assert!(known.iter_mut().all(|lost| lost.try_recv().is_err()));
    assert!(p.enter(later + ms(60_000), comer("192.0.2.99", true, 8)).is_some(), "among themselves the oldest goes");
}

#[test]
fn who_has_more_than_a_share_goes_first_then_who_has_shown_less() {
    let (mut p, start) = (places(16, 0), Instant::now());
    // Silent from many addresses, older than the three of one that have spoken.
    let mut few: Vec<_> =
        (0..13).map(|i| p.enter(start, comer(&format!("198.51.100.{i}"), false, 8)).expect("a place").1).collect();
    let mut many = Vec::new();
    for _ in 0..3 {
        let (id, lost) = p.enter(start + ms(10), comer("192.0.2.1", false, 8)).expect("a place");
        p.advance(start + ms(10), id, 1);
        many.push(lost);
    }
    p.enter(start + ms(1000), comer("203.0.113.1", false, 8)).expect("a place");
    assert_eq!(many[0].try_recv(), Ok(Lost::Displaced), "three are more than an eighth");
    p.enter(start + ms(1000), comer("203.0.113.2", false, 8)).expect("a place");
    assert!(many[1].try_recv().is_err(), "two are a share");
    assert_eq!(few[0].try_recv(), Ok(Lost::Displaced), "silent ones go before those that have spoken");
}

/// A flood of silent connections from one address, at different rates, against boxes whose handshake takes its time: the
/// boxes of other addresses always get through, and those of the same address do at the rate that was seen to shut all out.
#[test]
fn a_flood_of_silent_connections() {
    for (per_second, same_address) in [(65, true), (65, false), (500, true), (5000, false), (20_000, false)] {
        let (mut p, start) = (places(256, 64), Instant::now());
        let (step, round_trip) = (Duration::from_secs(1) / per_second, ms(80));
        let (mut through, mut tried) = (0, 0);
        let mut under_way: Option<(u64, oneshot::Receiver<Lost>, Instant)> = None;
        for i in 0..per_second * 8 {
            let now = start + step * i;
            let _ = p.enter(now, comer("198.51.100.1", false, 128));
            if i % 50 == 0 {
                p.sweep(now);
            }
            assert!(p.counts().taken <= 256);
            let lost = under_way.as_mut().is_some_and(|(_, lost, _)| lost.try_recv().is_ok());
            under_way = match under_way.filter(|_| !lost) {
                None => {
                    tried += 1;
                    let from = if same_address { "198.51.100.1" } else { "192.0.2.1" };
                    p.enter(now, comer(from, false, 128)).map(|(id, lost)| {
                        // Its first message comes with the connection, or hardly later.
                        p.advance(now, id, 1);
                        (id, lost, now)
                    })
                }
                Some((id, _, began)) if now - began >= round_trip * 2 => {
                    through += 1;
                    p.leave(id);
                    None
                }
                waiting => waiting,
            };
        }
        let least = tried - 1;
        assert!(through >= least && through > 10, "{per_second}/s: {through} of {tried}");
    }
}
