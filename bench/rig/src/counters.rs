//! The counters a box prints when it ends, and what must hold between those of two boxes.

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A box's counters.
#[derive(Clone, Debug)]
pub struct Counters(pub Value);

impl Counters {
    /// Finds them in what a box with `--json` has written.
    ///
    /// # Errors
    /// There is not exactly one JSON object.
    pub fn parse(out: &str) -> Result<Self> {
        let objects: Vec<_> = out.lines().filter(|l| l.starts_with('{')).collect();
        let [object] = objects.as_slice() else {
            bail!("a box has to end with exactly one line of JSON, not {}:\n{out}", objects.len())
        };
        Ok(Self(serde_json::from_str(object).context("a box's counters are not JSON")?))
    }

    /// A number by its place, as `/outbound/received`; 0 when it is not there (reasons that did not occur).
    #[must_use]
    pub fn get(&self, place: &str) -> u64 {
        self.0.pointer(place).and_then(Value::as_u64).unwrap_or_default()
    }

    /// The sum of the numbers in an object.
    #[must_use]
    pub fn sum(&self, place: &str) -> u64 {
        let object = self.0.pointer(place).and_then(Value::as_object);
        object.map(|o| o.values().filter_map(Value::as_u64).sum()).unwrap_or_default()
    }

    /// The names in an object.
    #[must_use]
    pub fn names(&self, place: &str) -> Vec<String> {
        let object = self.0.pointer(place).and_then(Value::as_object);
        object.map(|o| o.keys().cloned().collect()).unwrap_or_default()
    }

    /// The sum of one number over all policies.
    #[must_use]
    pub fn policies(&self, name: &str) -> u64 {
        let policies = self.0.pointer("/policies").and_then(Value::as_array);
        policies.into_iter().flatten().filter_map(|p| p.get(name)?.as_u64()).sum()
    }
}

/// What one box says of itself must add up: each packet counted once, and as the ports count them.
#[must_use]
pub fn contradictions(name: &str, counters: &Counters) -> Vec<String> {
    let get = |place: &str| counters.get(place);
    let mut found = Vec::new();
    let mut equal = |what: String, left: u64, right: u64| {
        if left != right {
            found.push(format!("{name}: {what}: {left} ≠ {right}"));
        }
    };
    for (direction, from, to, other, done) in [
        ("outbound", "inside", "outside", "inbound", &["added"][..]),
        ("inbound", "outside", "inside", "outbound", &["removed", "verified", "stripped"][..]),
    ] {
        let at = |what: &str| format!("/{direction}/{what}");
        let outcomes: u64 = done.iter().chain(&["passed", "dropped"]).map(|what| counters.sum(&at(what))).sum();
        let (received, too_big) = (get(&at("received")), get(&at("too_big")));
        equal(format!("{direction}: received = the sum of what became of it"), received, outcomes + too_big);
        equal(
            format!("{direction}: dropped = the sum of its reasons"),
            get(&at("dropped_total")),
            counters.sum(&at("dropped")),
        );
        equal(
            format!("{direction}: forwarded = received − dropped"),
            get(&at("forwarded")),
            received - get(&at("dropped_total")),
        );
        equal(
            format!("{direction}: received = what port {from} received"),
            received + get(&format!("/ports/{from}/discarded")),
            get(&format!("/ports/{from}/rx_packets")),
        );
        let sent = get(&at("forwarded")) - too_big + get(&format!("/{other}/too_big"));
        // Some drivers take what they cannot send, and count it as an error; others count every attempt at what they do not take.
        let [packets, errors] = ["tx_packets", "tx_errors"].map(|what| get(&format!("/ports/{to}/{what}")));
        let taken = sent.clamp(packets, packets + errors);
        equal(format!("{direction}: forwarded = what port {to} sent"), sent, taken);
    }
    found
}

/// What happened between two boxes in one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Crossing {
    /// Options that the sending box added, of any form.
    pub added: u64,
    /// Options that the receiving box found genuine.
    pub accepted: u64,
    /// Options that it refused.
    pub failed: u64,
    /// Packets that the one's port sent and the other's did not receive.
    pub lost: u64,
}

impl Crossing {
    /// Compares the sender's counters with the receiver's.
    ///
    /// # Errors
    /// The receiver's port has more than the sender's sent.
    pub fn new(sender: &Counters, receiver: &Counters) -> Result<Self> {
        let (sent, received) = (sender.get("/ports/outside/tx_packets"), receiver.get("/ports/outside/rx_packets"));
        let lost =
            sent.checked_sub(received).with_context(|| format!("{sent} packets sent, but {received} received"))?;
        Ok(Self {
            added: sender.sum("/outbound/added"),
            accepted: receiver.policies("accepted"),
            failed: receiver.policies("failed"),
            lost,
        })
    }

    /// Whether every option added was found genuine, or went with a packet that was lost on the wire.
    #[must_use]
    pub const fn adds_up(&self) -> bool {
        let found = self.accepted + self.failed;
        self.failed == 0 && found <= self.added && self.added - found <= self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(added: u64, accepted: u64, tx: u64, rx: u64) -> Counters {
        Counters(serde_json::json!({
            "outbound": {"received": tx, "forwarded": tx, "dropped_total": 0, "added": {"encrypted": added},
                "passed": {"neighbor_discovery": tx - added}, "dropped": {}, "too_big": 0},
            "inbound": {"received": rx, "forwarded": rx, "dropped_total": 0, "removed": {"encrypted": accepted},
                "passed": {"no_option": rx - accepted}, "dropped": {}},
            "policies": [{"accepted": accepted, "failed": 0}],
            "ports": {"inside": {"rx_packets": tx, "tx_packets": rx}, "outside": {"rx_packets": rx, "tx_packets": tx}},
        }))
    }

    #[test]
    fn counters_that_add_up_do() {
        let (a, b) = (counters(90, 50, 100, 60), counters(50, 90, 60, 100));
        assert_eq!(contradictions("a", &a), Vec::<String>::new());
        let crossing = Crossing::new(&a, &b).expect("no more received than sent");
        assert_eq!(crossing, Crossing { added: 90, accepted: 90, failed: 0, lost: 0 });
        assert!(crossing.adds_up());
        assert!(Crossing { added: 90, accepted: 89, failed: 0, lost: 1 }.adds_up());
    }

    #[test]
    fn what_does_not_add_up_is_named() {
        assert!(Crossing::new(&counters(90, 0, 100, 0), &counters(0, 90, 0, 101)).is_err());
        for (accepted, failed, lost) in [(89, 0, 0), (91, 0, 0), (89, 1, 0), (88, 0, 1)] {
            assert!(!Crossing { added: 90, accepted, failed, lost }.adds_up(), "{accepted} {failed} {lost}");
        }
        let mut a = counters(90, 50, 100, 60);
        // One that was taken and not sent, and one that was not taken in any of two attempts.
        for (packets, errors) in [(99, 1), (100, 2)] {
            a.0["ports"]["outside"]["tx_packets"] = packets.into();
            a.0["ports"]["outside"]["tx_errors"] = errors.into();
            assert_eq!(contradictions("a", &a), [""; 0]);
        }
        a.0["ports"]["outside"]["tx_errors"] = 0.into();
        a.0["ports"]["outside"]["tx_packets"] = 99.into();
        assert_eq!(contradictions("a", &a), ["a: outbound: forwarded = what port outside sent: 100 ≠ 99"]);
        a.0["outbound"]["received"] = 101.into();
        assert_eq!(contradictions("a", &a).len(), 4);
    }

    #[test]
    fn one_line_of_json_is_found_between_others() {
        assert_eq!(Counters::parse("log\n{\"a\":1}\n").expect("one").get("/a"), 1);
        assert!(Counters::parse("log\n").is_err());
        assert!(Counters::parse("{}\n{}\n").is_err());
    }
}
