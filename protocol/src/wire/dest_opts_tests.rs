use super::*;
use crate::wire::option::{Metrics, Prefix6, emit_clear, emit_encrypted, emit_pdm};

const FORMS: [Form; 3] = [Form::Pdm, Form::Clear, Form::Encrypted];

fn option(form: Form) -> Vec<u8> {
    let prefix = Prefix6 { reserved: 0, prseq: 5, f: 1 };
    let metrics = Metrics { psntp: 0xAAAA, ..Metrics::default() };
    match form {
        Form::Pdm => emit_pdm(&metrics).to_vec(),
        Form::Clear => emit_clear(&prefix, &metrics).to_vec(),
        Form::Encrypted => emit_encrypted(&prefix.emit(form), &[0xCC; 14], &[0xDD; 16]).to_vec(),
    }
}

fn packet(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0x60, 0, 0, 0, (payload.len() >> 8) as u8, payload.len() as u8, next, 64];
    p.extend_from_slice(&[0x20; 32]);
    p.extend_from_slice(payload);
    p
}

/// A UDP packet with one Destination Options header that holds this.
fn with(options: &[u8]) -> Vec<u8> {
    assert_eq!(options.len() % 8, 6);
    packet(ipv6::DEST_OPTS, &[&[ipv6::UDP, (options.len() / 8) as u8], options, &UDP8].concat())
}

const UDP8: [u8; 8] = [0x12, 0x34, 0x56, 0x78, 0, 8, 0, 0];

fn insert(p: &[u8], form: Form) -> Result<Vec<u8>, EditError> {
    let mut p = p.to_vec();
    insert_into_vec(&mut p, &option(form), form).map(|()| p)
}

fn remove(p: &[u8]) -> Vec<u8> {
    let mut p = p.to_vec();
    assert_eq!(remove_from_vec(&mut p), Ok(true));
    p
}

#[test]
fn new_headers_read_as_in_the_profile() {
    let before = packet(ipv6::UDP, &UDP8);
    for form in FORMS {
        let o = option(form);
        let expected = match form {
            Form::Pdm => [&[17, 1][..], &o, &[1, 0]].concat(),
            Form::Clear => [&[17, 2, 1, 0][..], &o].concat(),
            Form::Encrypted => [&[17, 4, 1, 0][..], &o].concat(),
        };
        let after = insert(&before, form).expect("room");
        assert_eq!(after[40..], [&expected[..], &UDP8].concat());
        assert_eq!((after[6], usize::from(after[5])), (ipv6::DEST_OPTS, 8 + form.header_len()));
        assert_eq!(remove(&after), before);
    }
}

#[test]
fn an_existing_header_grows() {
    let before = with(&[0x1E, 3, 9, 9, 9, 0]);
    for (form, units) in [(Form::Pdm, 2), (Form::Clear, 3), (Form::Encrypted, 5)] {
        let after = insert(&before, form).expect("room");
        let header = [&[17, units, 0x1E, 3, 9, 9, 9, 0][..], &option(form), &[1, 2, 0, 0], &UDP8].concat();
        assert_eq!(after[40..], header);
        assert_eq!(usize::from(after[5]), 16 + form.grow_len());
        assert_eq!(remove(&after), before);
    }
    // Also one with nothing but padding in it stays.
    let before = with(&[1, 4, 0, 0, 0, 0]);
    assert_eq!(remove(&insert(&before, Form::Encrypted).expect("room")), before);
}

#[test]
fn the_last_of_two_headers_grows_and_one_before_routing_does_not() {
    let two = [&[ipv6::DEST_OPTS, 0, 1, 4, 0, 0, 0, 0][..], &[ipv6::UDP, 0, 1, 4, 0, 0, 0, 0], &UDP8].concat();
    let after = insert(&packet(ipv6::DEST_OPTS, &two), Form::Clear).expect("room");
    assert_eq!((after[40..42].to_vec(), after[48..50].to_vec()), (vec![60, 0], vec![17, 3]));

    let routed = [&[ipv6::ROUTING, 0, 1, 4, 0, 0, 0, 0][..], &[ipv6::UDP, 0, 9, 0, 0, 0, 0, 0], &UDP8].concat();
    let before = packet(ipv6::DEST_OPTS, &routed);
    let after = insert(&before, Form::Clear).expect("room");
    assert_eq!(after[40..48], before[40..48]);
    assert_eq!((after[48], after[56..58].to_vec()), (ipv6::DEST_OPTS, vec![17, 2]));
    assert_eq!(remove(&after), before);
}

#[test]
fn esp_takes_the_sealed_form_only() {
    let before = packet(ipv6::ESP, &[0; 24]);
    let refused = Err(EditError::Insert(InsertError::ClearOutsideEsp));
    assert_eq!(insert(&before, Form::Pdm), refused);
    assert_eq!(insert(&before, Form::Clear), refused);
    let after = insert(&before, Form::Encrypted).expect("room");
    assert_eq!((after[6], after[40]), (ipv6::DEST_OPTS, ipv6::ESP));
    assert_eq!(remove(&after), before);
}

#[test]
fn full_headers_and_chains() {
    let filled = |units: usize| {
        let mut options = vec![0; units * 8 + 6];
        for gap in options.chunks_mut(257) {
            tlv::pad(gap);
        }
        let mut p = with(&options);
        p[41] = units as u8;
        p
    };
    for (form, grows) in [(Form::Pdm, 2), (Form::Clear, 3), (Form::Encrypted, 5)] {
        assert_eq!(insert(&filled(255), form), Err(EditError::Insert(InsertError::HeaderFull)));
        assert_eq!(insert(&filled(256 - grows), form), Err(EditError::Insert(InsertError::HeaderFull)));
        let before = filled(255 - grows);
        let after = insert(&before, form).expect("room");
        assert_eq!(after[41], 255);
        assert_eq!(remove(&after), before);
    }
    // A seventeenth header could not be walked on the other side.
    let routing = |count: usize| {
        let mut p = [ipv6::ROUTING, 0, 1, 0, 0, 0, 0, 0].repeat(count);
        p[(count - 1) * 8] = ipv6::UDP;
        packet(ipv6::ROUTING, &[&p[..], &UDP8].concat())
    };
    assert_eq!(insert(&routing(16), Form::Encrypted), Err(EditError::Insert(InsertError::HeaderFull)));
    let after = insert(&routing(15), Form::Encrypted).expect("room");
    assert_eq!(remove(&after), routing(15));
}

#[test]
fn payload_length_does_not_pass_its_field() {
    for form in FORMS {
        let fits = packet(ipv6::UDP, &vec![7; 65535 - form.header_len()]);
        let after = insert(&fits, form).expect("room");
        assert_eq!(after[4..6], [0xFF, 0xFF]);
        assert_eq!(remove(&after), fits);
        let one_more = packet(ipv6::UDP, &vec![7; 65536 - form.header_len()]);
        assert_eq!(insert(&one_more, form), Err(EditError::Insert(InsertError::PayloadTooLong)));
    }
}

#[test]
fn nothing_follows_and_octets_behind_the_payload() {
    let mut before = packet(ipv6::NO_NEXT, &[]);
    before.extend_from_slice(&[0xEE; 6]);
    for form in FORMS {
        let after = insert(&before, form).expect("room");
        assert_eq!(usize::from(after[5]), form.header_len());
        assert_eq!(after[after.len() - 6..], [0xEE; 6]);
        assert_eq!(remove(&after), before);
    }
}

#[test]
fn other_senders_arrangements_without_other_options() {
    let (clear, pdm) = (option(Form::Clear), option(Form::Pdm));
    let plain = packet(ipv6::UDP, &UDP8);
    for options in [
        [&[0, 0][..], &clear].concat(),
        [&clear[..], &[1, 0]].concat(),
        [&[0][..], &clear, &[0]].concat(),
        [&[1, 0][..], &pdm].concat(),
        [&[0, 1, 3, 7, 7, 7, 0, 1, 0][..], &clear, &[0]].concat(),
        [&[1, 4, 0, 0, 0, 0][..], &[0; 4], &pdm, &[1, 6, 0, 0, 0, 0, 0, 0]].concat(),
    ] {
        assert_eq!(remove(&with(&options)), plain, "{options:02x?}");
    }
}

#[test]
fn other_senders_arrangements_among_other_options() {
    let (clear, pdm) = (option(Form::Clear), option(Form::Pdm));
    let other = [0x1E, 1, 9];
    for (options, left) in [
        // In front: what follows stays where it was modulo 8, the gap gets the least padding.
        (
            [&[1, 0][..], &clear, &[0x3E, 4, 9, 9, 9, 9, 1, 0]].concat(),
            [&[1, 4, 0, 0, 0, 0][..], &[0x3E, 4, 9, 9, 9, 9, 1, 0]].concat(),
        ),
        (
            [&pdm[..], &other, &[0x3E, 5, 1, 2, 3, 4, 5]].concat(),
            [&[1, 2, 0, 0][..], &other, &[0x3E, 5, 1, 2, 3, 4, 5]].concat(),
        ),
        // In the middle, with padding on both sides.
        (
            [&other[..], &[0], &clear, &[0, 0x1E, 1, 9]].concat().into_iter().chain([0, 0]).collect(),
            [&other[..], &[1, 4, 0, 0, 0, 0], &other, &[0, 0]].concat(),
        ),
        // A gap of a multiple of eight closes for good.
        ([&other[..], &clear, &[1, 2, 0, 0], &other].concat(), [&other[..], &other].concat()),
        // At the end, but not behind a multiple of eight octets.
        ([&other[..], &pdm, &[1, 5, 0, 0, 0, 0, 0]].concat(), [&other[..], &[1, 1, 0]].concat()),
        // One octet left.
        ([&other[..], &[5, 0], &pdm, &[1, 3, 0, 0, 0]].concat(), [&other[..], &[5, 0, 0]].concat()),
    ] {
        assert_eq!(remove(&with(&options)), with(&left), "{options:02x?}");
    }
}

#[test]
fn tools_get_reasons() {
    let plain = packet(ipv6::UDP, &UDP8);
    let mut p = insert(&plain, Form::Pdm).expect("room");
    assert_eq!(insert(&p, Form::Pdm), Err(EditError::Present));
    assert_eq!(remove_from_vec(&mut p), Ok(true));
    assert_eq!(remove_from_vec(&mut p), Ok(false));
    assert_eq!(insert_into_vec(&mut p, &[0x0F, 10], Form::Pdm), Err(EditError::OptionLen));
    assert_eq!(insert(&[0x60], Form::Pdm), Err(EditError::Walk(WalkError::Truncated)));
    assert_eq!(p, plain);
    assert_eq!(EditError::Insert(InsertError::PayloadTooLong).to_string(), "the payload would pass 65535 octets");
}
