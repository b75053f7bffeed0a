//! Prefixes, one by one and together.

use protocol::prefix::Prefix;
use std::collections::BTreeMap;

/// Whether every address of `inner` is one of `outer`.
#[must_use]
pub fn is_within(inner: &Prefix, outer: &Prefix) -> bool {
    inner.len() >= outer.len() && outer.overlaps(inner)
}

/// Prefixes of which no two share an address.
#[derive(Clone, Debug, Default)]
pub struct Disjoint(BTreeMap<u128, Prefix>);

impl Disjoint {
    /// The prefix that shares an address with this one, if one does.
    #[must_use]
    pub fn overlapping(&self, prefix: &Prefix) -> Option<Prefix> {
        // Of disjoint ones only the last that begins before its end can reach it.
        self.0.range(..=prefix.last_bits()).next_back().map(|(_, p)| *p).filter(|p| p.overlaps(prefix))
    }

    /// Adds some that [`Disjoint::overlapping`] has nothing against. Among themselves they may lie within one another.
    pub fn insert_all(&mut self, prefixes: &[Prefix]) {
        let mut prefixes = prefixes.to_vec();
        // The wider ones first: what lies within them is then left out.
        prefixes.sort_by_key(Prefix::len);
        for prefix in prefixes {
            if self.overlapping(&prefix).is_none() {
                self.0.insert(u128::from_be_bytes(prefix.address()), prefix);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().expect("a prefix")
    }

    #[test]
    fn overlaps_are_found() {
        let mut set = Disjoint::default();
        for one in ["2001:db8:a::/48", "2001:db8:c::/48", "2001:db8:b:1::/64"] {
            assert_eq!(set.overlapping(&prefix(one)), None, "{one}");
            set.insert_all(&[prefix(one)]);
        }
        set.insert_all(&["2001:db8:e:1::/64", "2001:db8:e::/48", "2001:db8:e:2::/64"].map(prefix));
        for (one, other) in [
            ("2001:db8:a:5::/64", Some("2001:db8:a::/48")),
            ("2001:db8:a::/48", Some("2001:db8:a::/48")),
            ("2001:db8:b::/48", Some("2001:db8:b:1::/64")),
            ("::/0", Some("2001:db8:e::/48")),
            ("2001:db8:e:3::/64", Some("2001:db8:e::/48")),
            ("2001:db8:c:ffff:ffff:ffff:ffff:ffff", Some("2001:db8:c::/48")),
            ("2001:db8:b::/64", None),
            ("2001:db8:d::/48", None),
            ("::1", None),
        ] {
            assert_eq!(set.overlapping(&prefix(one)), other.map(prefix), "{one}");
        }
    }

    #[test]
    fn a_prefix_within_another() {
        let within = |a: &str, b: &str| is_within(&a.parse().expect("a prefix"), &b.parse().expect("a prefix"));
        assert!(within("2001:db8:a::/48", "2001:db8::/32") && within("2001:db8::/32", "2001:db8::/32"));
        assert!(within("2001:db8::1", "::/0") && within("2001:db8::1", "2001:db8::1"));
        assert!(!within("2001:db8::/32", "2001:db8:a::/48") && !within("2001:db9::/48", "2001:db8::/32"));
    }
}
