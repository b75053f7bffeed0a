//! The parser: whatever the octets are the walk ends without panic, what is put in comes out again, and what was taken
//! out is gone.
//!
//! Input: form (1), octets of further segments (1), the packet's first segment.

use crate::{mark, packets};
use protocol::wire::dest_opts::{plan_insert, plan_remove};
use protocol::wire::ext_chain::{Chain, walk};
use protocol::wire::option::{Form, Metrics, Prefix6, emit_clear, emit_pdm, emit_sealed};

/// See [`crate::Target::run`].
pub fn run(data: &[u8]) -> u64 {
    let [form, more, packet @ ..] = data else { return 0 };
    let total = packet.len() + usize::from(*more);
    let chain = match walk(packet, total) {
        Ok(chain) => chain,
        Err(error) => return mark(&format!("{error:?}")),
    };
    assert!(
        chain.upper_offset <= packet.len() && chain.upper_offset <= chain.payload_end && chain.payload_end <= total
    );
    assert!(chain.upper_named_at < chain.upper_offset && chain.headers <= 16);
    let what = match chain.option {
        Some(_) => {
            let without = remove(packet, &chain);
            let after = walk(&without, total - (packet.len() - without.len())).expect("what is left is a valid packet");
            assert_eq!((after.option, after.five_tuple, after.esp), (None, chain.five_tuple, chain.esp));
            assert_eq!(packet[chain.upper_offset..], without[after.upper_offset..], "nothing behind it moved");
            assert_eq!(chain.payload_end - after.payload_end, packet.len() - without.len());
            format!("removed {}", packet.len() - without.len())
        }
        None => {
            let metrics = Metrics { global_pointer: 0x1122_3344, psntp: 0x5566, ..Metrics::default() };
            let prefix = Prefix6 { reserved: 0, prseq: 0x7FFF, f: 1 };
            let (form, option) = match form % 3 {
                0 => (Form::Pdm, emit_pdm(&metrics).to_vec()),
                1 => (Form::Clear, emit_clear(&prefix, &metrics).to_vec()),
                _ => (Form::Sealed, emit_sealed(&prefix.emit(Form::Sealed), &[0xAA; 14], &[0xBB; 16]).to_vec()),
            };
            match plan_insert(&chain, packet, form) {
                Err(error) => format!("{error:?}"),
                Ok(plan) => {
                    let mut with = packet[..plan.at].to_vec();
                    with.resize(plan.at + plan.len, 0xEE);
                    with.extend_from_slice(&packet[plan.at..]);
                    plan.apply(&mut with, &option);
                    let after = walk(&with, total + plan.len).expect("a valid packet with an option is valid");
                    let at = after.option.expect("the option that was put in");
                    assert_eq!((at.form, after.five_tuple, after.esp), (form, chain.five_tuple, chain.esp));
                    assert_eq!(with[at.offset..at.offset + option.len()], option);
                    assert_eq!(remove(&with, &after), packet, "add and remove is the identity");
                    format!("added {form:?} {}", plan.len)
                }
            }
        }
    };
    mark(&format!("{what} {} {} {}", chain.headers, chain.last_dest_opts.is_some(), chain.five_tuple.protocol))
}

fn remove(packet: &[u8], chain: &Chain) -> Vec<u8> {
    let plan = plan_remove(chain, packet).expect("there is an option");
    assert!(plan.len % 8 == 0 && plan.at + plan.len <= chain.upper_offset);
    let mut packet = packet.to_vec();
    plan.apply(&mut packet);
    packet.drain(plan.at..plan.at + plan.len);
    packet
}

/// See [`crate::Target::seeds`].
pub fn seeds() -> Vec<Vec<u8>> {
    let all = packets::plain(packets::A, packets::B).into_iter().chain(packets::with_options());
    all.enumerate().map(|(i, packet)| [&[i as u8, (i % 7 / 6) as u8 * 9][..], &packet].concat()).collect()
}

/// See [`crate::Target::repair`].
pub fn repair(input: &mut Vec<u8>) {
    if let Some(packet) = input.get_mut(2..) {
        packets::set_length(packet);
        if let Some(version) = packet.first_mut() {
            *version = 0x60;
        }
    }
}
