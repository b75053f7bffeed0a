use super::*;
use protocol::suite::Suite;
use registration::wire::{Node, proto};

fn node(octet: u8) -> Node {
    let prefixes = vec![proto::Prefix { address: vec![0; 16], length: 0 }];
    Node { name: format!("box-{octet}"), id: vec![octet; 16], prefixes, clients: Vec::new() }
}

fn secret(generation: u32) -> OpeningSecret {
    OpeningSecret { generation, suite: Some(Suite::default().ids().into()), secret: vec![generation as u8; 32] }
}

fn opening(octet: u8, generations: &[u32]) -> Opening {
    let secrets = generations.iter().map(|&g| secret(g)).collect();
    Opening { node: Some(node(octet)), secrets, client: Vec::new() }
}

fn first() -> OpeningChanges {
    let set = vec![opening(1, &[4, 5]), opening(2, &[5])];
    OpeningChanges { base: 0, version: 3, last: true, set, ..OpeningChanges::default() }
}

fn take(table: &mut OpeningTable, changes: &OpeningChanges) -> Result<(), Malformed> {
    table.take(&changes.encode_to_vec())
}

fn set(opening_version: u64) -> KeySet {
    KeySet { revision: 1, scope: proto::Scope::Node.into(), opening_version, ..KeySet::default() }
}

fn generations(table: &OpeningTable, version: u64) -> Vec<Vec<u32>> {
    let keys = table.keys(&set(version)).expect("a set of this version");
    keys.opening.iter().map(|o| o.secrets.iter().map(|(g, _)| *g).collect()).collect()
}

#[test]
fn changes_make_the_next_version() {
    let mut table = OpeningTable::default();
    take(&mut table, &first()).expect("in bounds");
    assert_eq!(generations(&table, 3), [vec![4, 5], vec![5]]);
    let ended = vec![
        Ended { generation: 4, ..Ended::default() },
        Ended { generation: 5, except_nodes: vec![vec![1; 16]], ..Ended::default() },
    ];
    let added = [1, 2].map(|octet| Added { id: vec![octet; 16], is_client: false, secrets: vec![secret(6)] });
    let mut part = OpeningChanges { base: 3, version: 4, ended, added: added.to_vec(), ..OpeningChanges::default() };
    take(&mut table, &part).expect("in bounds");
    assert!(table.keys(&set(4)).is_err() && table.keys(&set(3)).is_err(), "it is not whole");
    part =
        OpeningChanges { base: 3, version: 4, part: 1, last: true, set: vec![opening(9, &[6])], ..Default::default() };
    take(&mut table, &part).expect("in bounds");
    assert_eq!(generations(&table, 4), [vec![5, 6], vec![6], vec![6]]);
    // What is the same is not made anew.
    let [one, other] = [(); 2].map(|()| table.keys(&set(4)).expect("a set").opening);
    assert!(one.iter().zip(&other).all(|(a, b)| Arc::ptr_eq(a, b)));
    // The whole replaces all.
    take(&mut table, &OpeningChanges { version: 9, set: vec![opening(2, &[7])], ..first() }).expect("in bounds");
    assert_eq!(generations(&table, 9), [vec![7]]);
}

#[test]
fn what_does_not_follow_or_fit_is_refused() {
    let then = |change: &dyn Fn(&mut OpeningChanges)| {
        let mut table = OpeningTable::default();
        take(&mut table, &first()).expect("in bounds");
        let mut changes = OpeningChanges { base: 3, version: 4, last: true, ..OpeningChanges::default() };
        change(&mut changes);
        take(&mut table, &changes).map(|()| table)
    };
    assert!(then(&|_| ()).is_ok());
    type Change = fn(&mut OpeningChanges);
    let changes: [Change; 17] = [
        |c| c.base = 2,
        |c| c.version = 3,
        |c| c.part = 1,
        |c| c.removed_nodes = vec![vec![8; 16]],
        |c| c.removed_nodes = vec![vec![1; 15]],
        |c| c.removed_clients = vec![vec![1; 16]],
        |c| c.ended = vec![Ended { generation: 4, except_nodes: vec![vec![1; 17]], ..Ended::default() }],
        |c| c.set = vec![opening(1, &[5, 5])],
        |c| c.set = vec![opening(1, &[1, 2, 3, 4, 5, 6, 7, 8, 9])],
        |c| c.set = vec![Opening { node: None, ..opening(1, &[5]) }],
        |c| {
            c.set = (0..=MAX_NODES as u16)
                .map(|i| {
                    let mut one = opening(1, &[]);
                    one.node.iter_mut().for_each(|n| n.id[..2].copy_from_slice(&i.to_be_bytes()));
                    one
                })
                .collect();
        },
        |c| c.added = vec![Added { id: vec![8; 16], is_client: false, secrets: vec![secret(6)] }],
        |c| c.added = vec![Added { id: vec![1; 16], is_client: true, secrets: vec![secret(6)] }],
        |c| c.added = vec![Added { id: vec![1; 16], is_client: false, secrets: vec![secret(5)] }],
        |c| c.added = vec![Added { id: vec![1; 16], is_client: false, secrets: (6..=12).map(secret).collect() }],
        |c| {
            c.added = vec![Added {
                id: vec![1; 16],
                is_client: false,
                secrets: vec![OpeningSecret { generation: 6, suite: None, secret: vec![1; 32] }],
            }];
        },
        |c| {
            c.added = vec![Added {
                id: vec![1; 16],
                is_client: false,
                secrets: vec![OpeningSecret { generation: 6, suite: secret(6).suite, secret: vec![1; 31] }],
            }];
        },
    ];
    for (i, change) in changes.iter().enumerate() {
        assert!(then(change).is_err(), "change {i}");
    }
    let table = then(&|_| ()).expect("in bounds");
    for wrong in [3, 5] {
        assert!(table.keys(&set(wrong)).is_err(), "version {wrong}");
    }
    assert!(table.keys(&KeySet { opening: vec![opening(1, &[])], ..set(4) }).is_err());
    assert!(Keys::try_from(&set(4)).is_err(), "without the changes");
    assert!(OpeningTable::default().take(&[0xFF; 9]).is_err());
    // Two versions do not go through one another.
    let mut table = OpeningTable::default();
    take(&mut table, &OpeningChanges { last: false, ..first() }).expect("in bounds");
    assert!(take(&mut table, &first()).is_err());
}

#[test]
fn clients_stand_in_the_table_of_the_servers_side() {
    let client =
        |octet: u8, generations: &[u32]| Opening { node: None, client: vec![octet; 16], ..opening(octet, generations) };
    let mut table = OpeningTable::default();
    let set_of = vec![opening(1, &[]), client(3, &[4, 5]), client(4, &[5])];
    take(&mut table, &OpeningChanges { set: set_of, ..first() }).expect("in bounds");
    let keys = |table: &OpeningTable, scope: proto::Scope| {
        let keys = table.keys(&KeySet { scope: scope.into(), ..set(3) })?;
        Ok::<_, Malformed>(keys.opening[0].secrets.iter().map(|(g, of)| (*g, of.secrets().count())).collect::<Vec<_>>())
    };
    assert_eq!(keys(&table, proto::Scope::Client), Ok(vec![(4, 1), (5, 2)]));
    assert!(keys(&table, proto::Scope::Node).is_err(), "secrets of another scope");
}
