//! What must hold for every packet: insertion and removal undo each other, removal disturbs no other option, and no
//! octets make the walk or the plans panic.

mod wire_gen;

use proptest::prelude::*;
use protocol::wire::dest_opts::{EditError, InsertError, insert_into_vec, plan_insert, plan_remove, remove_from_vec};
use protocol::wire::ext_chain::{Chain, MAX_HEADERS, walk};
use protocol::wire::option::Form;
use wire_gen::{FORMS, Header, Model, Tlv, foreign_packets, packets, pdm_option};

/// Octets in front of the packet in a buffer, as an Ethernet header with a tag.
const L2: usize = 18;

/// Puts the option in as the packet path does: what stands before it moves into headroom. Gives the new packet.
fn insert_by_moving_the_front(packet: &[u8], chain: &Chain, option: &[u8], form: Form) -> Vec<u8> {
    let plan = plan_insert(chain, packet, form).expect("room");
    let mut frame = vec![0xA5; plan.len + L2];
    frame.extend_from_slice(packet);
    frame.copy_within(plan.len..plan.len + L2 + plan.at, 0);
    plan.apply(&mut frame[L2..], option);
    frame.split_off(L2)
}

/// Takes the option out as the packet path does.
fn remove_by_moving_the_front(packet: &[u8], chain: &Chain) -> Vec<u8> {
    let plan = plan_remove(chain, packet).expect("an option");
    let mut frame = vec![0xA5; L2];
    frame.extend_from_slice(packet);
    plan.apply(&mut frame[L2..]);
    frame.copy_within(0..L2 + plan.at, plan.len);
    frame.split_off(plan.len + L2)
}

/// Every form goes into the packet that can, where it belongs, and comes out again without a trace.
fn every_form_comes_and_goes(before: &[u8], options: &[Tlv]) -> Result<(), TestCaseError> {
    let chain = walk(before, before.len()).expect("a valid packet");
    for (form, option) in FORMS.into_iter().zip(options) {
        let mut after = before.to_vec();
        match insert_into_vec(&mut after, option, form) {
            Ok(()) => {}
            Err(EditError::Insert(refused)) => {
                prop_assert_eq!(&after[..], before);
                let header = chain.last_dest_opts.map_or(0, |h| h.len);
                match refused {
                    InsertError::ClearOutsideEsp => prop_assert!(chain.esp && form != Form::Encrypted),
                    InsertError::HeaderFull => {
                        prop_assert!(header + form.grow_len() > 2048 || header == 0 && chain.headers == MAX_HEADERS);
                    }
                    InsertError::PayloadTooLong => prop_assert!(before.len() + form.header_len() > 65535),
                }
                continue;
            }
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        }
        prop_assert!(!chain.esp || form == Form::Encrypted);
        let with = walk(&after, after.len()).expect("still a valid packet");
        prop_assert_eq!(with.five_tuple, chain.five_tuple);
        prop_assert_eq!(&after[with.upper_offset..], &before[chain.upper_offset..], "all behind it is the same");
        prop_assert_eq!(with.payload_end - chain.payload_end, after.len() - before.len());
        let found = with.option.expect("the option");
        prop_assert_eq!(found.form, form);
        prop_assert_eq!(Some(found.header), with.last_dest_opts);
        prop_assert_eq!(found.offset % if form == Form::Pdm { 2 } else { 4 }, 0);
        prop_assert_eq!(&after[found.offset..found.offset + form.option_len()], &option[..]);
        prop_assert_eq!(&insert_by_moving_the_front(before, &chain, option, form), &after);

        prop_assert_eq!(&remove_by_moving_the_front(&after, &with)[..], before);
        prop_assert_eq!(remove_from_vec(&mut after), Ok(true));
        prop_assert_eq!(&after[..], before);
    }
    Ok(())
}

/// An option and where it begins in its header, padding left out.
type Placed = (Vec<u8>, usize);

fn options_of(header: &[u8]) -> Vec<Placed> {
    let (mut at, mut found) = (2, Vec::new());
    while at < header.len() {
        let end = if header[at] == 0 { at + 1 } else { at + 2 + usize::from(header[at + 1]) };
        assert!(end <= header.len(), "an option overruns its header: {header:02x?}");
        if header[at] > 1 {
            found.push((header[at..end].to_vec(), at));
        }
        at = end;
    }
    found
}

/// Splits a packet that is known to be valid into its headers, the upper layer last.
fn split(packet: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let (mut next, mut at, mut parts) = (packet[6], 40, Vec::new());
    while matches!(next, 0 | 43 | 60) {
        let end = at + (usize::from(packet[at + 1]) + 1) * 8;
        parts.push((next, packet[at..end].to_vec()));
        (next, at) = (packet[at], end);
    }
    parts.push((next, packet[at..].to_vec()));
    parts
}

fn three_options() -> impl Strategy<Value = Vec<Tlv>> {
    FORMS.map(|form| pdm_option(form).boxed()).to_vec()
}

fn foreign_option_goes(model: &Model, place: usize, option: &Tlv) -> Result<(), TestCaseError> {
    let before = model.emit();
    let Header::Options { options, .. } = &model.headers[place] else {
        return Err(TestCaseError::fail("it is in an options header"));
    };
    let chain = walk(&before, before.len()).expect("a valid packet");
    let found = chain.option.expect("the option");
    prop_assert_eq!(&before[found.offset..found.offset + option.len()], &option[..]);

    let after = remove_by_moving_the_front(&before, &chain);
    let mut other_way = before.clone();
    prop_assert_eq!(remove_from_vec(&mut other_way), Ok(true));
    prop_assert_eq!(&other_way, &after);
    prop_assert_eq!(remove_from_vec(&mut other_way), Ok(false));

    let without = walk(&after, after.len()).expect("still a valid packet");
    prop_assert_eq!((without.five_tuple, without.esp, without.option), (chain.five_tuple, chain.esp, None));
    prop_assert_eq!(before.len() - after.len(), chain.payload_end - without.payload_end);
    prop_assert_eq!((before.len() - after.len()) % 8, 0);

    let (mut was, mut is) = (split(&before), split(&after));
    prop_assert_eq!(was.remove(place).0, 60);
    if is.len() == was.len() {
        // The whole header is gone: there was no other option in it. The one that named it names the next.
        prop_assert!(options.iter().all(|o| o[0] <= 1 || o == option));
        if place > 0 {
            was[place - 1].1[0] = was[place].0;
        }
    } else {
        let (kind, header) = is.remove(place);
        prop_assert_eq!(kind, 60);
        prop_assert_eq!(usize::from(header[1]), header.len() / 8 - 1);
        let expected: Vec<Placed> = options_of(&before[found.header.offset..found.header.offset + found.header.len])
            .into_iter()
            .filter(|(octets, _)| octets != option)
            .collect();
        let kept = options_of(&header);
        prop_assert_eq!(kept.len(), expected.len());
        for ((a, at), (b, was_at)) in kept.iter().zip(&expected) {
            prop_assert_eq!(a, b);
            prop_assert_eq!(at % 8, was_at % 8, "{:?} moved out of its alignment", a);
        }
        let ours = found.header.offset + found.header.len == found.offset + option.len() + 4
            && before[found.offset + option.len()..][..4] == [1, 2, 0, 0];
        prop_assert!(ours || !kept.is_empty(), "only padding is left: {:02x?}", header);
    }
    prop_assert_eq!(was, is, "all other headers are the same");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_walk_finds_what_is_there(model in packets()) {
        let packet = model.emit();
        let chain = walk(&packet, packet.len()).expect("a valid packet");
        prop_assert_eq!(&chain.five_tuple.octets()[..], &model.five_tuple()[..]);
        prop_assert_eq!(&packet[chain.upper_offset..chain.payload_end], &model.upper[..]);
        prop_assert_eq!(packet[chain.upper_named_at], model.protocol);
        prop_assert_eq!(&packet[chain.payload_end..], &model.trailing[..]);
        prop_assert_eq!(chain.esp, model.protocol == 50);
        prop_assert_eq!(chain.headers, model.headers.len());
        prop_assert_eq!(chain.last_dest_opts.is_some(), model.ends_in_dest_opts());
        prop_assert_eq!(chain.option, None);
    }

    #[test]
    fn add_then_remove_is_the_identity(model in packets(), options in three_options()) {
        every_form_comes_and_goes(&model.emit(), &options)?;
    }

    #[test]
    fn foreign_options_go_and_leave_the_others((model, place, option) in foreign_packets()) {
        foreign_option_goes(&model, place, &option)?;
    }

    #[test]
    fn what_a_removal_leaves_can_carry_an_option((model, _, _) in foreign_packets(), options in three_options()) {
        let mut packet = model.emit();
        prop_assert_eq!(remove_from_vec(&mut packet), Ok(true));
        every_form_comes_and_goes(&packet, &options)?;
    }

    #[test]
    fn a_first_segment_is_enough_or_cut_off(model in packets(), cut: prop::sample::Index) {
        let packet = model.emit();
        let first = cut.index(packet.len() + 1);
        let chain = walk(&packet, packet.len()).expect("a valid packet");
        // ESP and protocols without ports need their header chain only.
        match walk(&packet[..first], packet.len()) {
            Ok(same) => prop_assert!(same == chain && first >= chain.upper_offset),
            Err(_) => prop_assert!(first < chain.upper_offset + 6),
        }
    }

    #[test]
    fn damaged_packets_are_refused_or_handled(
        (model, _, _) in foreign_packets(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut: Option<prop::sample::Index>,
        options in three_options(),
    ) {
        let mut packet = model.emit();
        for (place, octet) in damage {
            let reach = packet.len().min(120);
            packet[place.index(reach)] = octet;
        }
        if let Some(cut) = cut {
            packet.truncate(cut.index(packet.len()));
        }
        anything_is_refused_or_handled(&mut packet, &options)?;
    }

    #[test]
    fn any_octets_are_refused_or_handled(
        start: [u8; 8],
        first in prop::sample::select(vec![0u8, 43, 60, 60, 6, 17, 50, 58, 44]),
        mut octets in prop::collection::vec(prop_oneof![0u8..4, Just(0x0F), Just(60), Just(43), any::<u8>()], 0..300),
        options in three_options(),
        raw: bool,
        total in 0usize..70000,
    ) {
        if !raw && octets.len() >= 40 {
            octets[..8].copy_from_slice(&start);
            octets[0] = 0x60;
            let payload = octets.len() as u16 - 40;
            octets[4..6].copy_from_slice(&payload.to_be_bytes());
            octets[6] = first;
        }
        let _ = walk(&octets, total).map(|chain| {
            assert!(chain.payload_end <= total);
            for form in FORMS {
                let _ = plan_insert(&chain, &octets, form);
            }
            let _ = plan_remove(&chain, &octets);
        });
        anything_is_refused_or_handled(&mut octets, &options)?;
    }
}

/// For whatever the walk accepts, all that was promised for valid packets holds.
fn anything_is_refused_or_handled(packet: &mut Vec<u8>, options: &[Tlv]) -> Result<(), TestCaseError> {
    let before = packet.clone();
    let chain = match walk(packet, packet.len()) {
        Ok(chain) => chain,
        Err(error) => {
            prop_assert_eq!(remove_from_vec(packet), Err(error));
            prop_assert_eq!(&before, packet);
            return Ok(());
        }
    };
    prop_assert_eq!(remove_from_vec(packet), Ok(chain.option.is_some()));
    if chain.option.is_some() {
        let without = walk(packet, packet.len()).expect("still a valid packet");
        prop_assert_eq!((without.five_tuple, without.option), (chain.five_tuple, None));
    }
    every_form_comes_and_goes(packet, options)
}
