//! Where an option goes into a packet and how it comes out again (profile section 1, "Placement").
//!
//! Both ways are split in two: a plan, made from the walk alone, and its application to the octets. In between the
//! caller moves what stands before the option, which is the shorter part, and so decides where the room comes from.
//! What is behind the option never moves and never changes.

use super::ext_chain::{Chain, HeaderAt, MAX_HEADERS, OptionAt, WalkError, walk};
use super::ipv6;
use super::option::Form;
use super::tlv::{self, PADN, Tlvs};

/// Hdr Ext Len at its highest: a header of 2048 octets.
const MAX_HEADER: usize = 256 * 8;

/// Behind an option appended to a header.
const TAIL: [u8; 4] = [PADN, 2, 0, 0];

/// The two octets of padding in a new header.
const FILL: [u8; 2] = [PADN, 0];

/// Why an option does not go into a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InsertError {
    /// Hdr Ext Len would pass 255, or the new header would be one more than the other side walks.
    #[error("the Destination Options header, or the header chain, is full")]
    HeaderFull,
    /// Payload Length would pass 65535.
    #[error("the payload would pass 65535 octets")]
    PayloadTooLong,
    /// PDM or `PDMv2` in clear, to stand before ESP (RFC 8250 section 3.4.1).
    #[error("an option in clear does not go before ESP")]
    ClearOutsideEsp,
}

/// Writes what is constant in a header with nothing but an option of this form in it: all but the Next Header octet, and
/// the option itself, which stands at [`Form::option_at`].
///
/// # Panics
/// When it is shorter than [`Form::header_len`].
#[inline]
pub fn begin_header(header: &mut [u8], form: Form) {
    header[1] = form.header_units();
    let fill_at = match form {
        Form::Pdm => form.option_at() + form.option_len(),
        Form::Clear | Form::Encrypted => tlv::FIRST_AT,
    };
    header[fill_at..fill_at + FILL.len()].copy_from_slice(&FILL);
}

/// Where an option goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InsertPlan {
    /// Octets before the insertion point.
    pub at: usize,
    /// Octets that are inserted.
    pub len: usize,
    form: Form,
    /// The Next Header octet that names the upper layer; it will name a new header.
    named_at: usize,
    /// The header that grows instead.
    grows: Option<HeaderAt>,
}

/// Plans to put an option of this form into the packet that `chain` was walked over. The caller has seen that there is
/// none yet ([`Chain::option`]).
///
/// # Errors
/// [`InsertError`]: the packet goes without.
#[inline]
pub fn plan_insert(chain: &Chain, packet: &[u8], form: Form) -> Result<InsertPlan, InsertError> {
    debug_assert!(chain.upper_offset <= packet.len(), "the chain is of another packet");
    if chain.esp && form != Form::Encrypted {
        return Err(InsertError::ClearOutsideEsp);
    }
    let len = match chain.last_dest_opts {
        Some(header) if header.len + form.grow_len() > MAX_HEADER => return Err(InsertError::HeaderFull),
        Some(_) => form.grow_len(),
        None if chain.headers >= MAX_HEADERS => return Err(InsertError::HeaderFull),
        None => form.header_len(),
    };
    if chain.payload_end + len > ipv6::HEADER_LEN + ipv6::MAX_PAYLOAD {
        return Err(InsertError::PayloadTooLong);
    }
    Ok(InsertPlan { at: chain.upper_offset, len, form, named_at: chain.upper_named_at, grows: chain.last_dest_opts })
}

impl InsertPlan {
    /// Writes the option and what it changes: the gap, Next Header or Hdr Ext Len, and Payload Length. `packet` begins
    /// with the `at` octets from before the insertion point, already moved, then come `len` octets of gap, whose
    /// content does not matter.
    ///
    /// # Panics
    /// When `option` is not of the form that was planned, or `packet` is shorter than `at + len`.
    #[inline]
    pub fn apply(&self, packet: &mut [u8], option: &[u8]) {
        let gap = self.at..self.at + self.len;
        if let Some(header) = self.grows {
            let (place, tail) = packet[gap].split_at_mut(self.form.option_len());
            place.copy_from_slice(option);
            tail.copy_from_slice(&TAIL);
            packet[header.offset + 1] += (self.len / 8) as u8;
        } else {
            let next = core::mem::replace(&mut packet[self.named_at], ipv6::DEST_OPTS);
            let header = &mut packet[gap];
            header[0] = next;
            begin_header(header, self.form);
            header[self.form.option_at()..][..self.form.option_len()].copy_from_slice(option);
        }
        let payload_len = ipv6::payload_len(packet);
        ipv6::set_payload_len(packet, payload_len + self.len);
    }
}

/// What leaves a packet with its option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RemovePlan {
    /// Octets before those that vanish.
    pub at: usize,
    /// Octets that vanish.
    pub len: usize,
    /// Whether the option stands as [`plan_insert`] would have put it, and so may be a box's; else it is another sender's.
    pub as_inserted: bool,
    edit: Edit,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Edit {
    /// The header goes.
    Unlink(HeaderAt),
    /// The header at this offset shrinks; so much padding stands behind what vanishes.
    Shrink { header: usize, padding: usize },
}

/// Plans to take the PDM option out of the packet that `chain` was walked over; `None`: there is none.
#[inline]
#[must_use]
pub fn plan_remove(chain: &Chain, packet: &[u8]) -> Option<RemovePlan> {
    let option = chain.option?;
    let at = option.header;
    let header = packet.get(at.offset..at.offset + at.len)?;
    let place = option.offset - at.offset;
    let end = place + option.form.option_len();
    let fill_at = if option.form == Form::Pdm { end } else { tlv::FIRST_AT };
    let as_inserted = chain.last_dest_opts == Some(at);
    if at.len == option.form.header_len() && header.get(fill_at..fill_at + FILL.len()) == Some(&FILL) {
        return Some(RemovePlan { at: at.offset, len: at.len, as_inserted, edit: Edit::Unlink(at) });
    }
    if header.get(end..) == Some(&TAIL) {
        let edit = Edit::Shrink { header: at.offset, padding: 0 };
        return Some(RemovePlan { at: option.offset, len: option.form.grow_len(), as_inserted, edit });
    }
    rearrange(header, option)
}

/// An option that another sender put elsewhere: it and the padding around it become the least padding that leaves the
/// options behind it where they were, modulo 8. With nothing else in it the whole header goes.
#[cold]
fn rearrange(header: &[u8], OptionAt { header: at, offset, .. }: OptionAt) -> Option<RemovePlan> {
    let (mut from, mut until) = (tlv::FIRST_AT, header.len());
    let mut passed = false;
    for option in Tlvs::of(header) {
        let option = option.ok()?;
        if at.offset + option.at == offset {
            passed = true;
        } else if !option.is_padding() {
            if passed {
                until = option.at;
                break;
            }
            from = option.end;
        }
    }
    if from == tlv::FIRST_AT && until == header.len() {
        return Some(RemovePlan { at: at.offset, len: at.len, as_inserted: false, edit: Edit::Unlink(at) });
    }
    let padding = (until - from) % 8;
    let edit = Edit::Shrink { header: at.offset, padding };
    Some(RemovePlan { at: at.offset + from, len: until - from - padding, as_inserted: false, edit })
}

impl RemovePlan {
    /// Where what it changes ends, octets from the IPv6 header on.
    #[inline]
    #[must_use]
    pub const fn reaches(&self) -> usize {
        let padding = match self.edit {
            Edit::Unlink(_) => 0,
            Edit::Shrink { padding, .. } => padding,
        };
        self.at + self.len + padding
    }

    /// Changes what the option's removal changes: Next Header or Hdr Ext Len, padding, and Payload Length. After it the
    /// caller moves the `at` octets at the front up by `len`, over those that vanish.
    ///
    /// # Panics
    /// When `packet` is shorter than the one that was planned for.
    #[inline]
    pub fn apply(&self, packet: &mut [u8]) {
        match self.edit {
            Edit::Unlink(header) => packet[header.named_at] = packet[header.offset],
            Edit::Shrink { header, padding } => {
                packet[header + 1] -= (self.len / 8) as u8;
                let gap = self.at + self.len;
                tlv::pad(&mut packet[gap..gap + padding]);
            }
        }
        let payload_len = ipv6::payload_len(packet);
        ipv6::set_payload_len(packet, payload_len - self.len);
    }
}

/// Why [`insert_into_vec`] left a packet as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EditError {
    /// The packet may not have an option.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// The option does not fit.
    #[error(transparent)]
    Insert(#[from] InsertError),
    /// The packet has one already.
    #[error("the packet already has a PDM option")]
    Present,
    /// The octets given are not an option of the form given.
    #[error("the option is not of its form's length")]
    OptionLen,
}

/// Puts an option into a packet that begins with its IPv6 header. For tools and tests; it moves the payload.
///
/// # Errors
/// [`EditError`]; the packet is as it was.
pub fn insert_into_vec(packet: &mut Vec<u8>, option: &[u8], form: Form) -> Result<(), EditError> {
    let chain = walk(packet, packet.len())?;
    if chain.option.is_some() {
        return Err(EditError::Present);
    }
    if option.len() != form.option_len() {
        return Err(EditError::OptionLen);
    }
    let plan = plan_insert(&chain, packet, form)?;
    packet.splice(plan.at..plan.at, core::iter::repeat_n(0, plan.len));
    plan.apply(packet, option);
    Ok(())
}

/// Takes the PDM option out of a packet that begins with its IPv6 header; `false` when there is none. For tools and
/// tests; it moves the payload.
///
/// # Errors
/// [`WalkError`]; the packet is as it was.
pub fn remove_from_vec(packet: &mut Vec<u8>) -> Result<bool, WalkError> {
    let chain = walk(packet, packet.len())?;
    let Some(plan) = plan_remove(&chain, packet) else { return Ok(false) };
    plan.apply(packet);
    packet.drain(plan.at..plan.at + plan.len);
    Ok(true)
}

#[cfg(all(test, not(loom)))]
#[path = "dest_opts_tests.rs"]
mod tests;
