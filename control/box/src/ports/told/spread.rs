//! How a port spreads packets over the workers' queues, in the words of logs and metrics.

use crate::config::Rss;
use crate::observe::counts::{RSS_FIELDS, RSS_KEYS};
use dpdk_ffi::{HashedBy, Spread};

/// What of IPv6 packets spreads them over a port's queues.
pub const fn rss_of(spread: &Spread) -> &'static str {
    match spread.ipv6 {
        Some(HashedBy::Addresses) => RSS_FIELDS[1],
        Some(HashedBy::Ports) => RSS_FIELDS[2],
        None if spread.hashes => RSS_FIELDS[3],
        Some(HashedBy::Nothing) | None => RSS_FIELDS[0],
    }
}

/// What key it hashes them under.
pub fn key_of(spread: &Spread) -> &'static str {
    match spread.symmetric() {
        _ if !spread.hashes => RSS_KEYS[0],
        Some(true) => RSS_KEYS[1],
        Some(false) => RSS_KEYS[2],
        None => RSS_KEYS[3],
    }
}

/// What is to be said of a port's spreading, if anything.
pub fn warnings(side: &str, driver: &str, rss: Rss, spread: &Spread) -> Vec<String> {
    let workers = spread.queues;
    if workers < 2 {
        return Vec::new();
    }
    if !spread.hashes {
        return vec![format!(
            "{side}: {workers} workers, and the driver '{driver}' does not say that it spreads packets over queues (RSS): \
             unless it does so in a way of its own, worker 0 gets all that comes in here, and the others nothing; use one \
             worker, or a port with RSS"
        )];
    }
    let mut warnings = Vec::new();
    if let Some(reached) = spread.reached.filter(|&reached| reached < workers) {
        warnings.push(format!(
            "{side}: {workers} workers, and the driver '{driver}' spreads packets over {reached} queue(s) of them: the other \
             {} worker(s) get nothing from here; use {reached} worker(s)",
            workers - reached
        ));
    }
    if spread.symmetric() == Some(false) {
        warnings.push(format!(
            "{side}: the driver '{driver}' keeps a hash key of its own: the two directions of a flow may meet on different \
             workers, which is right and slower"
        ));
    }
    if rss == Rss::Addresses && spread.ipv6 == Some(HashedBy::Ports) {
        warnings.push(format!(
            "{side}: the driver '{driver}', or the other port's, hashes IPv6 packets with their ports, which few find behind an \
             option: the two directions of a flow may meet on different workers, which is right and slower"
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_does_not_serve_all_workers_is_named() {
        let spread = |queues, hashes, key: &[u8], reached| Spread {
            queues,
            hashes,
            key: Some(key.to_vec()),
            reached,
            ipv6: Some(HashedBy::Addresses),
        };
        let said = |spread: &Spread| warnings("inside", "net_x", Rss::Addresses, spread);
        let (ours, other) = ([0x6D, 0x5A, 0x6D, 0x5A], [1, 2, 3, 4]);
        assert!(said(&spread(1, false, &other, Some(1))).is_empty(), "one worker gets all there is");
        assert!(said(&spread(4, true, &ours, Some(4))).is_empty());
        assert!(said(&Spread { key: None, ipv6: None, ..spread(4, true, &ours, None) }).is_empty(), "nothing is known");
        let none = said(&spread(2, false, &ours, None));
        assert!(none.len() == 1 && none[0].contains("worker 0 gets all") && none[0].contains("'net_x'"), "{none:?}");
        let some = said(&spread(4, true, &ours, Some(2)));
        assert!(some.len() == 1 && some[0].contains("use 2 worker(s)") && some[0].contains("other 2"), "{some:?}");
        assert!(said(&spread(4, true, &other, Some(4)))[0].contains("a hash key of its own"));
        let ports = Spread { ipv6: Some(HashedBy::Ports), ..spread(4, true, &ours, Some(4)) };
        assert!(said(&ports)[0].contains("with their ports"));
        assert!(warnings("inside", "net_x", Rss::Ports, &ports).is_empty(), "as it is configured");
    }

    #[test]
    fn what_is_in_force_has_a_name() {
        let of = |hashes, key: Option<&[u8]>, ipv6| {
            let spread = Spread { queues: 4, hashes, key: key.map(<[u8]>::to_vec), reached: None, ipv6 };
            (rss_of(&spread), key_of(&spread))
        };
        let (ours, other) = ([0x6D, 0x5A, 0x6D, 0x5A], [1, 2, 3, 4]);
        assert_eq!(of(false, None, None), ("off", "none"));
        assert_eq!(of(false, Some(&ours), Some(HashedBy::Nothing)), ("off", "none"));
        assert_eq!(of(true, Some(&ours), Some(HashedBy::Addresses)), ("addresses", "symmetric"));
        assert_eq!(of(true, Some(&other), Some(HashedBy::Ports)), ("ports", "own"));
        assert_eq!(of(true, None, None), ("unknown", "unknown"));
    }
}
