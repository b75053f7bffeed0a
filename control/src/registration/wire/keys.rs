//! Key sets as a box takes them: checked as a whole before any of it is used.

use super::{KeySet, MAX_NODES, MAX_SECRETS, Malformed, NodeInfo, bad, prefixes_from_wire, proto, scope_from_wire};
use pipeline::policy::Prefix;
use protocol::key_schedule::Secret;
use protocol::suite::Scope;
use std::time::Duration;

/// No secret is used for longer, whatever the message says.
const MAX_LIFETIME: Duration = Duration::from_secs(86_400 * 3650);

/// The secret that a box seals with, checked.
#[derive(Clone, Debug)]
pub struct SealingKeys {
    /// Its generation.
    pub generation: u32,
    /// The secret.
    pub secret: Secret,
    /// Sources that the box speaks for.
    pub prefixes: Vec<Prefix>,
    /// From its receipt on.
    pub expires_in: Duration,
}

/// A box of the other side, with the secrets that its packets are opened with, ascending by generation.
#[derive(Clone, Debug)]
pub struct OpeningKeys {
    /// The box.
    pub node: NodeInfo,
    /// Generation and secret.
    pub secrets: Vec<(u32, Secret)>,
}

/// A key set, checked.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Its number in its connection.
    pub revision: u64,
    /// What to seal with.
    pub sealing: Option<SealingKeys>,
    /// Whom to open.
    pub opening: Vec<OpeningKeys>,
}

const KEY_SET: &str = "key set";

fn secret(suite: Option<proto::Suite>, octets: &[u8]) -> Result<Secret, Malformed> {
    let Some(suite) = suite else { return bad(KEY_SET, "a secret without suite") };
    Secret::from_octets(suite.known(KEY_SET)?, octets).or(bad(KEY_SET, "a secret that has not Nh octets"))
}

impl TryFrom<&KeySet> for Keys {
    type Error = Malformed;

    fn try_from(set: &KeySet) -> Result<Self, Malformed> {
        if scope_from_wire(set.scope, KEY_SET)? == Scope::Client {
            return bad(KEY_SET, "scope client, which this version does not take");
        }
        if set.opening.len() > MAX_NODES || set.opening.iter().any(|o| o.secrets.len() > MAX_SECRETS) {
            return bad(KEY_SET, "too many boxes or secrets");
        }
        let sealing = set.sealing.as_ref().map(|s| {
            Ok(SealingKeys {
                generation: s.generation,
                secret: secret(s.suite, &s.secret)?,
                prefixes: prefixes_from_wire(s.prefixes.clone(), KEY_SET)?,
                expires_in: Duration::from_millis(s.expires_in_ms).min(MAX_LIFETIME),
            })
        });
        let opening = set.opening.iter().map(|o| {
            let Some(node) = o.node.clone() else { return bad(KEY_SET, "secrets of nobody") };
            let secrets = o.secrets.iter().map(|s| Ok((s.generation, secret(s.suite, &s.secret)?)));
            let secrets = secrets.collect::<Result<Vec<_>, _>>()?;
            if !secrets.is_sorted_by(|(a, _), (b, _)| a < b) {
                return bad(KEY_SET, "generations that do not ascend");
            }
            Ok(OpeningKeys { node: node.checked(KEY_SET)?, secrets })
        });
        Ok(Self { revision: set.revision, sealing: sealing.transpose()?, opening: opening.collect::<Result<_, _>>()? })
    }
}
