//! A registrar's static public keys as a file that is brought to the other side.

use crate::kem::{PrivateKey, PublicKey};
use crate::parties::Identity;
use anyhow::{Context, bail};
use std::path::Path;

/// A registrar's static public keys as text: one line for each KEM.
#[must_use]
pub fn public_keys(name: &str, seed: &[u8; 32]) -> String {
    let line = |key: &PrivateKey| format!("{} {}\n", key.kem(), hex::encode(key.public().octets()));
    let lines: String = Identity::from_seed(name, seed).keys.iter().map(line).collect();
    format!("# Static public keys of registrar {name}\n{lines}")
}

/// The inverse of [`public_keys`].
///
/// # Errors
/// A line that is no public key.
pub fn read_public_keys(path: &Path) -> anyhow::Result<Vec<PublicKey>> {
    let place = path.display();
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{place}: cannot be read; bring NAME.static.pub from the other side"))?;
    let mut keys: Vec<PublicKey> = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty() && !l.starts_with('#')) {
        let key = line.trim().split_once(' ').and_then(|(kem, octets)| {
            let kem = protocol::suite::Kem::from_name(kem)?;
            PublicKey::from_octets(kem, &hex::decode(octets.trim()).ok()?).ok()
        });
        let number = i + 1;
        let key = key.with_context(|| {
            format!("{place}:{number}: not a public key; bring NAME.static.pub from the other side as it is")
        })?;
        if keys.iter().any(|k| k.kem() == key.kem()) {
            bail!("{place}:{number}: a second key for {}; keep one", key.kem());
        }
        keys.push(key);
    }
    Ok(keys)
}
