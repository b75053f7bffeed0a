//! What is kept, and what flows fall under, while settings replace one another.

use super::*;
use crate::state::standing::MOST_GONE;
use protocol::five_tuple::FiveTuple;

fn named(name: &str, mode: Mode) -> Policy {
    Policy { name: name.into(), ..Policy::everything(mode) }
}

fn rules(before: &Rules, names: &[&str], started_ns: u64) -> Rules {
    let policies = names.iter().map(|name| named(name, Mode::Clear)).collect();
    before.followed_by(PathConfig { policies, started_ns, ..PathConfig::default() }, 2)
}

#[test]
fn what_a_policy_keeps_goes_by_its_name_and_ends_with_it() {
    let first = rules(&Rules::default(), &["a", "b"], 10);
    first.counters(0, 1).expect("counters").added.add(7);
    let second = rules(&first, &["c", "b", "a"], 20);
    let third = rules(&second, &["b"], 30);
    let fourth = rules(&third, &["a"], 40);
    let of = |rules: &Rules, i: usize| {
        let (_, standing) = rules.policies().nth(i).expect("a policy");
        let added: u64 = standing.all().map(|c| c.added.get()).sum();
        (standing.id.0, standing.since_ns, added)
    };
    assert_eq!([of(&second, 0), of(&second, 1), of(&second, 2)], [(2, 20, 0), (1, 10, 0), (0, 10, 7)]);
    assert_eq!((of(&third, 0), of(&fourth, 0)), ((1, 10, 0), (3, 40, 0)), "'a' came anew");
    let twice = rules(&first, &["a", "a"], 50);
    assert_eq!((of(&twice, 0).0, of(&twice, 1).0), (0, 2), "one id stands for one policy");
}

#[test]
fn a_flows_policy_is_looked_up_once_under_each_rules() {
    let words = FiveTuple::default().words();
    let flow = FlowBack::default();
    let mut before = rules(&Rules::default(), &["a"], 1);
    flow.set_policy(before.word_of(0));
    for names in [&["b", "a"][..], &["a"], &["c", "d", "a"], &[], &["a"]] {
        let now = rules(&before, names, 1);
        assert!(now.id_of(&flow).is_none() && now.way(flow.policy()).is_none());
        let expected = (!names.is_empty()).then_some(0);
        assert_eq!(now.policy_of(Some(&flow), &words), expected, "{names:?}");
        assert_eq!(now.way(flow.policy()).map(|(index, _)| index), expected);
        assert_eq!(now.id_of(&flow), now.policies().next().map(|(_, standing)| standing.id));
        before = now;
    }
}

fn pair(name: &str, inside: &str, outside: &str) -> Pair {
    let list = |prefix: &str| if prefix.is_empty() { vec![] } else { vec![prefix.parse().expect("a prefix")] };
    Pair { name: name.into(), inside: list(inside), outside: list(outside) }
}

/// Flows by pair: what falls under a policy and a pair is counted of both, and neither goes down whatever is replaced.
#[test]
fn a_pair_is_counted_across_policies_and_a_policy_across_pairs() {
    let web = Policy { ports: vec![(443, 443)], ..named("web", Mode::Clear) };
    let lab = Policy { inside: vec!["2001:db8:1::/48".parse().expect("a prefix")], ..named("lab", Mode::Encrypted) };
    let policies = vec![web, lab, named("off", Mode::Off)];
    let config = |pairs: Vec<Pair>| PathConfig { policies: policies.clone(), pairs, ..PathConfig::default() };
    let (west, rest) = (pair("west", "2001:db8:1::/48", "2001:db8:a::/48"), pair("rest", "", "2001:db8:a::/48"));
    let rules = Rules::default().followed_by(config(vec![west.clone(), rest.clone()]), 2);
    let words = |src: &str, dst: &str, dport| {
        let of = |text: &str| text.parse::<std::net::Ipv6Addr>().expect("an address").octets();
        FiveTuple { src: of(src), sport: 999, dst: of(dst), dport, protocol: 17 }.words()
    };
    let of = |rules: &Rules, words: &[u64; 5]| {
        let at = rules.classify(words)?;
        let flow = FlowBack::default();
        flow.set_policy(rules.word_of(at));
        let policy = rules.policy(at).map(|policy| policy.name.clone())?;
        rules.counters(at as u32, 1)?.added.add(1);
        Some((policy, rules.pair_of(&flow).map(|pair| pair.name.clone()), rules.id_of(&flow)))
    };
    let said = |policy: &str, pair: &str, id| {
        Some((policy.to_owned(), Some(pair.to_owned()).filter(|pair| !pair.is_empty()), Some(PolicyId(id))))
    };
    let (inner, outer) = (words("2001:db8:1::1", "2001:db8:a::1", 443), words("2001:db8:2::1", "2001:db8:a::1", 443));
    assert_eq!(of(&rules, &inner), said("web", "west", 0));
    assert_eq!(of(&rules, &outer), said("web", "rest", 0));
    assert_eq!(of(&rules, &words("2001:db8:2::1", "2001:db8:b::1", 443)), said("web", "", 0));
    assert_eq!(of(&rules, &words("2001:db8:1::1", "2001:db8:a::1", 53)), said("lab", "west", 1));
    assert_eq!(of(&rules, &words("2001:db8:2::1", "2001:db8:a::1", 53)), None, "it is off, whatever pair names it");
    let sums = |rules: &Rules| {
        let sum = |all: &mut dyn Iterator<Item = &PolicyCounters>| all.map(|c| c.added.get()).sum::<u64>();
        let policies: Vec<_> = rules.policies().map(|(_, kept)| sum(&mut kept.all())).collect();
        (policies, rules.pairs().map(|(pair, kept)| (pair.name.clone(), sum(&mut kept.all()))).collect::<Vec<_>>())
    };
    let pairs = |west, rest| vec![("west".to_owned(), west), ("rest".to_owned(), rest)];
    assert_eq!(sums(&rules), (vec![3, 1, 0], pairs(2, 1)));

    // A pair goes: what was counted of it stays the policies'. It comes back, and counts on.
    let without = rules.followed_by(config(vec![rest.clone()]), 2);
    assert_eq!(of(&without, &inner), said("web", "rest", 0));
    assert_eq!(sums(&without), (vec![4, 1, 0], vec![("rest".to_owned(), 2)]));
    let again = without.followed_by(config(vec![west, rest]), 2);
    assert_eq!(of(&again, &inner), said("web", "west", 0));
    assert_eq!(sums(&again), (vec![5, 1, 0], pairs(3, 2)));
    // A policy goes: what was counted of it stays the pairs'.
    let fewer = PathConfig { policies: vec![named("lab", Mode::Clear)], ..again.config.clone() };
    assert_eq!(sums(&again.followed_by(fewer, 2)), (vec![1], pairs(3, 2)));
}

/// However often names come and go, what is kept of those that are gone has a bound.
#[test]
fn of_what_has_gone_the_oldest_is_forgotten() {
    let mut rules = Rules::default();
    for n in 0..500 {
        let policies = vec![named("stays", Mode::Clear), named(&format!("{n}"), Mode::Clear)];
        let pairs = vec![pair("stays", "::/0", ""), pair(&format!("{n}"), "::/1", "")];
        rules = rules.followed_by(PathConfig { policies, pairs, ..PathConfig::default() }, 1);
    }
    let most = MOST_GONE + 3;
    assert!(rules.policies().all(|(_, kept)| (3..=most).contains(&kept.by_worker().count())));
    assert!(rules.pairs().all(|(_, kept)| (2..=most).contains(&kept.counters().len())));
}

#[test]
fn a_policy_ends_by_its_lifetime_or_when_an_operator_says() {
    let config = |lifetime_ns, started_ns| {
        let policies = vec![Policy { lifetime_ns, ..named("a", Mode::Clear) }, named("b", Mode::Clear)];
        PathConfig { policies, pairs: vec![pair("p", "::/1", "")], started_ns, ..PathConfig::default() }
    };
    let rules = Rules::default().followed_by(config(Some(100), 1000), 1);
    let ends = |rules: &Rules| rules.policies().map(|(_, kept)| kept.ends_ns()).collect::<Vec<_>>();
    assert_eq!(ends(&rules), [Some(1100), None]);
    // Its classes, one with the pair and one without, and then those of the other.
    let expired = |rules: &Rules, now| [0, 1, 2, 3].map(|class| rules.expired(class, now));
    assert_eq!((expired(&rules, 1099), rules.ended(1099)), ([false; 4], 0));
    assert_eq!((expired(&rules, 1100), rules.ended(1100)), ([true, true, false, false], 1));
    let longer = rules.with_end("a", Some(5000), 1).expect("there is one");
    assert_eq!((ends(&longer), longer.ended(4999), longer.ended(5000)), (vec![Some(5000), None], 0, 1));
    let reloaded = longer.followed_by(config(Some(7), 2000), 1);
    assert_eq!(ends(&reloaded), [Some(5000), None], "what an operator says outlasts other settings");
    let for_good = longer.with_end("a", None, 1).and_then(|rules| rules.with_end("b", Some(9), 1)).expect("there are");
    assert_eq!((ends(&for_good), for_good.ended(u64::MAX)), (vec![None, Some(9)], 1));
    assert!(rules.with_end("c", None, 1).is_none());
    assert_ne!(rules.word_of(0), longer.word_of(0), "flows are asked anew");
}
