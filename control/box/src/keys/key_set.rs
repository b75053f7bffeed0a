//! Key sets as a box takes them: checked as a whole before any of it is used.

use protocol::generation_keys::{self, GenerationKeys};
use protocol::key_schedule::Secret;
use protocol::prefix::Prefix;
use protocol::suite::{Scope, Suite};
use registration::wire::{
    ClientSecrets, KeySet, MAX_CLIENTS, MAX_NODES, MAX_SECRETS, Malformed, NodeInfo, Token, array, bad,
    prefixes_from_wire, proto, scope_from_wire,
};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// No secret is used for longer, whatever the message says.
const MAX_LIFETIME: Duration = Duration::from_secs(86_400 * 3650);

/// What a box seals with, checked.
#[derive(Clone, Debug)]
pub struct SealingKeys {
    /// Its generation.
    pub generation: u32,
    /// The secret; in scope client those of the clients.
    pub keys: GenerationKeys,
    /// Sources that the box speaks for.
    pub prefixes: Vec<Prefix>,
    /// From its receipt on.
    pub expires_in: Duration,
    /// For so long the other side's boxes open what this one seals with it, though it is out of touch. `None`: not known.
    pub opened_for: Option<Duration>,
}

/// A box of the other side, with what its packets are opened with, ascending by generation.
#[derive(Clone, Debug)]
pub struct OpeningKeys {
    /// The box.
    pub node: NodeInfo,
    /// Generation and secret; in scope client those of the clients.
    pub secrets: Vec<(u32, GenerationKeys)>,
}

/// A key set, checked.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Its number in its connection.
    pub revision: u64,
    /// Whose secrets there are.
    pub scope: Scope,
    /// What to seal with.
    pub sealing: Option<SealingKeys>,
    /// Whom to open; shared with the sets before and after it, as far as they are the same.
    pub opening: Vec<Arc<OpeningKeys>>,
    /// To be shown when the process registers again.
    pub token: Option<Token>,
}

const KEY_SET: &str = "key set";

fn known(suite: Option<proto::Suite>, message: &'static str) -> Result<Suite, Malformed> {
    let Some(suite) = suite else { return bad(message, "a secret without suite") };
    suite.known(message)
}

fn secret(suite: Suite, octets: &[u8], message: &'static str) -> Result<Secret, Malformed> {
    Secret::from_octets(suite, octets).or(bad(message, "a secret that has not Nh octets"))
}

/// A secret, with its suite, as it stands in a message.
pub(super) fn secret_of(
    message: &'static str,
    suite: Option<proto::Suite>,
    octets: &[u8],
) -> Result<Secret, Malformed> {
    secret(known(suite, message)?, octets, message)
}

/// Each generation's secrets, ascending.
pub(super) type OfClients = Vec<(u32, Arc<generation_keys::ClientSecrets>)>;

fn of_clients(set: &KeySet) -> Result<OfClients, Malformed> {
    if set.clients.len() > MAX_SECRETS || set.clients.iter().any(|c| c.secrets.len() > MAX_CLIENTS) {
        return bad(KEY_SET, "too many clients or generations of them");
    }
    let one = |ClientSecrets { generation, suite, secrets }: &ClientSecrets| {
        let suite = known(*suite, KEY_SET)?;
        let mut seen = HashSet::new();
        let secrets = secrets.iter().map(|c| {
            let address = array(&c.address, KEY_SET, "a client's address has 16 octets")?;
            if !seen.insert(address) {
                return bad(KEY_SET, "a client that stands there twice");
            }
            Ok((address, secret(suite, &c.secret, KEY_SET)?))
        });
        let secrets = secrets.collect::<Result<Vec<_>, _>>()?;
        Ok((*generation, Arc::new(generation_keys::ClientSecrets::new(suite, secrets))))
    };
    set.clients.iter().map(one).collect()
}

impl TryFrom<&KeySet> for Keys {
    type Error = Malformed;

    /// Checks a set that has all in it.
    fn try_from(set: &KeySet) -> Result<Self, Malformed> {
        if set.opening_version != 0 {
            return bad(KEY_SET, "a version of what to open, without the changes that make it");
        }
        if set.opening.len() > MAX_NODES || set.opening.iter().any(|o| o.secrets.len() > MAX_SECRETS) {
            return bad(KEY_SET, "too many boxes or secrets");
        }
        let opening = set.opening.iter().map(|o| {
            let Some(node) = o.node.clone() else { return bad(KEY_SET, "secrets of nobody") };
            let node = node.checked(KEY_SET)?;
            let secrets = o
                .secrets
                .iter()
                .map(|s| Ok((s.generation, GenerationKeys::Ready(secret_of(KEY_SET, s.suite, &s.secret)?))));
            let secrets = secrets.collect::<Result<Vec<_>, _>>()?;
            if !secrets.is_sorted_by(|(a, _), (b, _)| a < b) {
                return bad(KEY_SET, "generations that do not ascend");
            }
            Ok(Arc::new(OpeningKeys { node, secrets }))
        });
        Self::of(set, opening.collect::<Result<_, _>>()?, Vec::new())
    }
}

impl Keys {
    /// A set, with whom to open. The clients' secrets of the whole side, where there are any, or those in the set.
    pub(super) fn of(set: &KeySet, opening: Vec<Arc<OpeningKeys>>, all_clients: OfClients) -> Result<Self, Malformed> {
        let scope = scope_from_wire(set.scope, KEY_SET)?;
        let client = scope == Scope::Client;
        let mut of_clients = of_clients(set)?;
        if !all_clients.is_empty() {
            if !of_clients.is_empty() || all_clients.len() > MAX_SECRETS {
                return bad(KEY_SET, "too many clients or generations of them");
            }
            of_clients = all_clients;
        }
        // In scope client all secrets stand in one place, in the others there are none of clients.
        let elsewhere =
            set.sealing.iter().any(|s| !s.secret.is_empty()) || opening.iter().any(|o| !o.secrets.is_empty());
        if if client { elsewhere } else { !of_clients.is_empty() } {
            return bad(KEY_SET, "secrets of another scope");
        }
        if !of_clients.is_sorted_by(|(a, _), (b, _)| a < b) {
            return bad(KEY_SET, "generations that do not ascend");
        }
        let keys_of = |secrets: &Arc<_>, sealer_is_client| GenerationKeys::Clients {
            secrets: Arc::clone(secrets),
            sealer_is_client,
        };
        let sealing = set.sealing.as_ref().map(|s| {
            let suite = known(s.suite, KEY_SET)?;
            let keys = if client {
                match of_clients.iter().find(|(g, _)| *g == s.generation) {
                    Some((_, of)) => keys_of(of, set.client_side),
                    // The other side has named no clients yet.
                    None if set.opening_version != 0 && !set.client_side => {
                        keys_of(&Arc::new(generation_keys::ClientSecrets::new(suite, [])), false)
                    }
                    None => return bad(KEY_SET, "a generation without its clients' secrets"),
                }
            } else {
                GenerationKeys::Ready(secret(suite, &s.secret, KEY_SET)?)
            };
            if keys.suite() != suite {
                return bad(KEY_SET, "two suites in one generation");
            }
            Ok(SealingKeys {
                generation: s.generation,
                keys,
                prefixes: prefixes_from_wire(s.prefixes.clone(), KEY_SET)?,
                expires_in: Duration::from_millis(s.expires_in_ms).min(MAX_LIFETIME),
                opened_for: s.opened_for_ms.map(|ms| Duration::from_millis(ms).min(MAX_LIFETIME)),
            })
        });
        let opening = if client {
            let secrets: Vec<_> = of_clients.iter().map(|(g, of)| (*g, keys_of(of, !set.client_side))).collect();
            let with = |o: Arc<OpeningKeys>| Arc::new(OpeningKeys { node: o.node.clone(), secrets: secrets.clone() });
            opening.into_iter().map(with).collect()
        } else {
            opening
        };
        let token = Token::from_wire(set.token.as_ref(), KEY_SET)?;
        Ok(Self { revision: set.revision, scope, sealing: sealing.transpose()?, opening, token })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use registration::wire::{ClientSecret, Opening, Sealing};

    #[test]
    fn clients_secrets_stand_in_one_place() {
        let prefixes = vec!["2001:db8:a::/48".parse().expect("a prefix")];
        let node = NodeInfo { name: "box-a".into(), id: [7; 16], prefixes, clients: vec![[3; 16]] };
        let suite = Some(proto::Suite::from(Suite::default().ids()));
        let of = |generation, addresses: &[u8]| {
            let secret = |&a: &u8| ClientSecret { address: vec![a; 16], secret: vec![a; 32] };
            ClientSecrets { generation, suite, secrets: addresses.iter().map(secret).collect() }
        };
        let set = |change: &dyn Fn(&mut KeySet)| {
            let (secret, prefixes) = (Vec::new(), Vec::new());
            let sealing = Sealing { generation: 4, secret, suite, prefixes, expires_in_ms: 1, opened_for_ms: Some(2) };
            let opening = vec![Opening { node: Some((&node).into()), ..Opening::default() }];
            let clients = vec![of(3, &[1]), of(4, &[1, 2])];
            let scope = proto::Scope::Client.into();
            let sealing = Some(sealing);
            let (revision, client_side, token, opening_version) = (1, true, None, 0);
            let mut set = KeySet { revision, scope, sealing, opening, clients, client_side, token, opening_version };
            change(&mut set);
            Keys::try_from(&set)
        };
        let keys = set(&|_| ()).expect("in bounds");
        let sealing = keys.sealing.expect("sealing").keys;
        let tuple = |src, dst| protocol::five_tuple::FiveTuple { src, dst, sport: 1, dport: 2, protocol: 17 };
        assert!(sealing.has(&tuple([2; 16], [9; 16])) && !sealing.has(&tuple([9; 16], [2; 16])));
        let (generation, opening) = &keys.opening[0].secrets[1];
        assert_eq!((*generation, keys.opening[0].secrets.len()), (4, 2));
        // Both directions under the client's secret, each with its own 5-tuple.
        let secret = Secret::from_octets(Suite::default(), &[2; 32]).expect("Nh octets");
        for (keys, tuple) in [(&sealing, tuple([2; 16], [9; 16])), (opening, tuple([9; 16], [2; 16]))] {
            let session = keys.session(&tuple, 5).expect("a client of it");
            assert_eq!(session.key, secret.session(&tuple, 5).key);
        }
        assert!(opening.session(&tuple([2; 16], [9; 16]), 5).is_none());
        type Change = fn(&mut KeySet);
        let changes: [Change; 8] = [
            |s| s.scope = 1,
            |s| s.clients.swap(0, 1),
            |s| s.clients.truncate(1),
            |s| s.clients[0].secrets[0].address.push(0),
            |s| s.clients[0].secrets[0].secret.truncate(31),
            |s| s.clients[1].secrets[0].address = vec![2; 16],
            |s| s.clients[0].suite = None,
            |s| s.sealing.iter_mut().for_each(|s| s.secret = vec![1; 32]),
        ];
        for (i, change) in changes.iter().enumerate() {
            assert!(set(change).is_err(), "change {i}");
        }
    }
}
