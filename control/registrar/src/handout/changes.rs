//! Changes of what boxes open, as they are put into messages.

use bytes::Bytes;
use prost::Message;
use registration::wire::{Added, Ended, Opening, OpeningChanges};
use zeroize::Zeroizing;

/// Octets of a message with changes, about. A box that reads slowly has one or two of them waiting for it.
pub(super) const CHUNK: usize = 8 << 10;
/// Whose secrets these are: a box's of the other side, or a client's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Whose {
    /// The box of this id.
    Node([u8; 16]),
    /// The client of this address.
    Client([u8; 16]),
}

impl Whose {
    pub(super) fn octets(&self) -> Vec<u8> {
        match self {
            Self::Node(id) | Self::Client(id) => id.to_vec(),
        }
    }
}

/// The changes from one version to the next.
pub(super) struct Changes {
    base: u64,
    version: u64,
    full: Vec<OpeningChanges>,
    now: OpeningChanges,
    octets: usize,
}

impl Changes {
    pub(super) fn new(base: u64, version: u64) -> Self {
        Self { base, version, full: Vec::new(), now: OpeningChanges::default(), octets: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.full.is_empty() && self.octets == 0
    }

    /// Room for so much more.
    fn room(&mut self, octets: usize) -> &mut OpeningChanges {
        if self.octets > 0 && self.octets + octets > CHUNK {
            self.full.push(std::mem::take(&mut self.now));
            self.octets = 0;
        }
        self.octets += octets + 4;
        &mut self.now
    }

    pub(super) fn remove(&mut self, key: &Whose) {
        let to = self.room(18);
        match key {
            Whose::Node(id) => to.removed_nodes.push(id.to_vec()),
            Whose::Client(address) => to.removed_clients.push(address.to_vec()),
        }
    }

    pub(super) fn end<'k>(&mut self, generation: u32, except: impl Iterator<Item = &'k Whose>) {
        let mut ended = Ended { generation, ..Ended::default() };
        for key in except {
            match key {
                Whose::Node(id) => ended.except_nodes.push(id.to_vec()),
                Whose::Client(address) => ended.except_clients.push(address.to_vec()),
            }
        }
        let octets = ended.encoded_len();
        self.room(octets).ended.push(ended);
    }

    pub(super) fn set(&mut self, entry: &Opening) {
        self.room(entry.encoded_len()).set.push(entry.clone());
    }

    pub(super) fn add(&mut self, added: Added) {
        self.room(added.encoded_len()).added.push(added);
    }

    /// In the order in which they are to be sent. The octets are overwritten when the last box has them.
    pub(super) fn finish(mut self) -> Vec<Bytes> {
        self.full.push(self.now);
        let last = self.full.len() - 1;
        let (base, version) = (self.base, self.version);
        let chunks = self.full.into_iter().enumerate().map(|(i, changes)| {
            let part = u32::try_from(i).unwrap_or(u32::MAX);
            let changes = OpeningChanges { base, version, part, last: i == last, ..changes };
            Bytes::from_owner(Zeroizing::new(changes.encode_to_vec()))
        });
        chunks.collect()
    }
}
