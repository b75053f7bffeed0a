//! Batches as octets: `kind(1)`, then for each value `name length(2) name there(1) [value length(4) value]`; and in pieces
//! that fit a request to etcd.

use super::Batch;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// Octets of a piece: some of them fit the 1.5 MiB that etcd takes in a request, and the 4 MiB of an answer.
pub const PIECE: usize = 256 << 10;

type Values = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// What a record does to the values before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// These are all.
    Snapshot = 0,
    /// These change.
    Change = 1,
}

/// A record's octets.
#[must_use]
pub fn encode(kind: Kind, batch: &Batch) -> Zeroizing<Vec<u8>> {
    let len =
        |(name, value): &(String, Option<Zeroizing<Vec<u8>>>)| 7 + name.len() + value.as_ref().map_or(0, |v| v.len());
    // Room for all of it: a vector that grows leaves copies behind.
    let mut out = Zeroizing::new(Vec::with_capacity(1 + batch.iter().map(len).sum::<usize>()));
    out.push(kind as u8);
    for (name, value) in batch {
        // Names are made here, and short.
        out.extend_from_slice(&(name.len() as u16).to_be_bytes());
        out.extend_from_slice(name.as_bytes());
        out.push(value.is_some().into());
        if let Some(value) = value {
            out.extend_from_slice(&(value.len() as u32).to_be_bytes());
            out.extend_from_slice(value);
        }
    }
    out
}

/// Does to the values what the record says; `None` when it is not of this form.
#[must_use]
pub fn apply(octets: &[u8], values: &mut Values) -> Option<()> {
    let (&kind, mut rest) = octets.split_first()?;
    match kind {
        0 => values.clear(),
        1 => {}
        _ => return None,
    }
    while !rest.is_empty() {
        let (len, after) = rest.split_first_chunk()?;
        let (name, after) = after.split_at_checked(u16::from_be_bytes(*len).into())?;
        let name = std::str::from_utf8(name).ok()?;
        let (&there, after) = after.split_first()?;
        rest = after;
        if there == 1 {
            let (len, after) = rest.split_first_chunk()?;
            let (value, after) = after.split_at_checked(u32::from_be_bytes(*len) as usize)?;
            values.insert(name.to_owned(), value.to_vec().into());
            rest = after;
        } else {
            values.remove(name);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_and_nothing_half() {
        let batch = vec![("a".to_owned(), Some(vec![1, 2, 3].into())), ("b".to_owned(), None)];
        let octets = encode(Kind::Change, &batch);
        let start = || Values::from([("b".to_owned(), vec![9].into()), ("c".to_owned(), vec![7].into())]);
        let mut values = start();
        apply(&octets, &mut values).expect("applied");
        let shown: Vec<_> = values.iter().map(|(n, v)| (n.as_str(), v.to_vec())).collect();
        assert_eq!(shown, [("a", vec![1, 2, 3]), ("c", vec![7])]);
        let snapshot = encode(Kind::Snapshot, &batch);
        apply(&snapshot, &mut values).expect("applied");
        assert_eq!(values.len(), 1);
        // Between the values it may end; nowhere else.
        let whole: Vec<_> = (1..octets.len()).filter(|&n| apply(&octets[..n], &mut start()).is_some()).collect();
        assert_eq!(whole, [1, 12]);
        assert!(apply(&[2], &mut start()).is_none());
    }
}
