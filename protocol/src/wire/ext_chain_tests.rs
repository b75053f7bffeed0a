use super::*;

/// An IPv6 packet from 1:… to 2:… with this first Next Header and payload.
fn packet(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0x60, 0, 0, 0, (payload.len() >> 8) as u8, payload.len() as u8, next, 64];
    p.extend_from_slice(&[1; 16]);
    p.extend_from_slice(&[2; 16]);
    p.extend_from_slice(payload);
    p
}

fn whole(p: &[u8]) -> Result<Chain, WalkError> {
    walk(p, p.len())
}

fn of(next: u8, payload: &[u8]) -> Result<Chain, WalkError> {
    whole(&packet(next, payload))
}

/// A header of `next`, its length and this body.
fn header(next: u8, body: &[u8]) -> Vec<u8> {
    let mut h = vec![next, (body.len() as u8 + 2) / 8 - 1];
    h.extend_from_slice(body);
    assert_eq!(h.len() % 8, 0);
    h
}

const UDP8: [u8; 8] = [0x12, 0x34, 0x56, 0x78, 0, 8, 0, 0];
const PADDING: [u8; 6] = [1, 4, 0, 0, 0, 0];

#[test]
fn plain_upper_layers() {
    for protocol in [ipv6::TCP, ipv6::UDP, ipv6::UDPLITE, ipv6::SCTP, ipv6::DCCP] {
        let chain = of(protocol, &UDP8).expect("chain");
        let tuple = FiveTuple { src: [1; 16], sport: 0x1234, dst: [2; 16], dport: 0x5678, protocol };
        assert_eq!(chain.five_tuple, tuple);
        assert_eq!((chain.upper_offset, chain.upper_named_at, chain.payload_end, chain.headers), (40, 6, 48, 0));
        assert_eq!((chain.last_dest_opts, chain.option, chain.esp), (None, None, false));
        assert_eq!(of(protocol, &UDP8[..3]), Err(WalkError::Truncated));
    }
    for protocol in [ipv6::NO_NEXT, ipv6::MOBILITY, ipv6::HIP, ipv6::SHIM6, ipv6::IPV6, 89, 253, 255] {
        let tuple = of(protocol, &UDP8).expect("chain").five_tuple;
        assert_eq!((tuple.sport, tuple.dport, tuple.protocol), (0, 0, protocol));
        assert_eq!(of(protocol, &[]).expect("chain").payload_end, 40);
    }
    let esp = of(ipv6::ESP, &UDP8).expect("chain");
    assert_eq!((esp.esp, esp.five_tuple.sport, esp.five_tuple.dport, esp.five_tuple.protocol), (true, 0, 0, 50));
}

#[test]
fn icmpv6_by_type() {
    for kind in 0..=255 {
        let got =
            of(ipv6::ICMPV6, &[kind, 0, 0, 0, 0xAB, 0xCD, 0, 1]).map(|c| (c.five_tuple.sport, c.five_tuple.dport));
        match kind {
            128 | 129 => assert_eq!(got, Ok((0xABCD, 0xABCD))),
            133 | 134 | 135 | 136 | 137 | 141 | 142 | 148 | 149 => assert_eq!(got, Err(WalkError::NeighborDiscovery)),
            130 | 131 | 132 | 143 | 151 | 152 | 153 => assert_eq!(got, Err(WalkError::Mld)),
            _ => assert_eq!(got, Ok((0, 0))),
        }
    }
    assert_eq!(of(ipv6::ICMPV6, &[128, 0, 0, 0, 0xAB]), Err(WalkError::Truncated));
    assert_eq!(of(ipv6::ICMPV6, &[]), Err(WalkError::Truncated));
}

#[test]
fn not_ipv6_or_cut_off() {
    let p = packet(ipv6::UDP, &UDP8);
    assert_eq!(walk(&[], 0), Err(WalkError::Truncated));
    assert_eq!(walk(&[0x45], 1), Err(WalkError::NotIpv6));
    assert_eq!(walk(&p[..39], 48), Err(WalkError::Truncated));
    assert_eq!(walk(&p[..43], 48), Err(WalkError::Truncated), "ports behind the first segment");
    assert!(walk(&p[..44], 48).is_ok(), "the rest may be in other segments");
    assert_eq!(walk(&p[..44], 47), Err(WalkError::Truncated), "payload beyond the frame");
    assert!(walk(&p, 60).is_ok(), "trailing octets");
    let mut four = p.clone();
    four[0] = 0x45;
    assert_eq!(whole(&four), Err(WalkError::NotIpv6));
    // Ports behind the payload but within the frame are not ports.
    let mut short = p;
    short[5] = 3;
    assert_eq!(whole(&short), Err(WalkError::Truncated));
}

#[test]
fn empty_payloads() {
    assert_eq!(of(ipv6::HOP_BY_HOP, &[]), Err(WalkError::Jumbogram));
    assert_eq!(of(ipv6::DEST_OPTS, &[]), Err(WalkError::Truncated));
    assert!(of(ipv6::NO_NEXT, &[]).is_ok());
}

#[test]
fn chains_and_what_names_what() {
    let p = [
        header(ipv6::DEST_OPTS, &[5, 2, 0, 0, 1, 0]),
        header(ipv6::ROUTING, &PADDING),
        header(ipv6::DEST_OPTS, &[4, 0, 0, 0, 0, 0]),
        header(ipv6::UDP, &[&PADDING[..], &[1, 6, 0, 0, 0, 0, 0, 0]].concat()),
        UDP8.to_vec(),
    ]
    .concat();
    let chain = of(ipv6::HOP_BY_HOP, &p).expect("chain");
    assert_eq!((chain.upper_offset, chain.upper_named_at, chain.headers), (80, 64, 4));
    assert_eq!(chain.last_dest_opts, Some(HeaderAt { offset: 64, len: 16, named_at: 56 }));
    assert_eq!(chain.five_tuple.dst, [2; 16], "no segments left");
}

#[test]
fn a_header_before_another_extension_header_is_not_the_last() {
    let p = [header(ipv6::ROUTING, &PADDING), header(ipv6::UDP, &[4, 0, 0, 0, 0, 0]), UDP8.to_vec()].concat();
    assert_eq!(of(ipv6::DEST_OPTS, &p).expect("chain").last_dest_opts, None);
    let p = [header(ipv6::DEST_OPTS, &PADDING), header(ipv6::ESP, &PADDING), UDP8.to_vec()].concat();
    let chain = of(ipv6::DEST_OPTS, &p).expect("chain");
    assert_eq!(chain.last_dest_opts, Some(HeaderAt { offset: 48, len: 8, named_at: 40 }), "the second of two");
    assert!(chain.esp);
}

#[test]
fn what_is_never_touched() {
    let then =
        |next| of(ipv6::DEST_OPTS, &[header(next, &PADDING), header(ipv6::UDP, &PADDING), UDP8.to_vec()].concat());
    for (next, error) in [
        (ipv6::FRAGMENT, WalkError::Fragment),
        (ipv6::AH, WalkError::AuthenticationHeader),
        (ipv6::HOP_BY_HOP, WalkError::MalformedHeader),
    ] {
        assert_eq!(then(next), Err(error));
    }
    assert_eq!(of(ipv6::FRAGMENT, &[]), Err(WalkError::Fragment));
    assert_eq!(of(ipv6::AH, &[]), Err(WalkError::AuthenticationHeader));
    let jumbo = [header(ipv6::UDP, &[0xC2, 4, 0, 1, 0, 0]), UDP8.to_vec()].concat();
    assert_eq!(of(ipv6::HOP_BY_HOP, &jumbo), Err(WalkError::Jumbogram));
    assert!(of(ipv6::DEST_OPTS, &jumbo).is_ok(), "means nothing in a Destination Options header");
}

#[test]
fn sixteen_headers_and_no_more() {
    let chain = |count: usize, last: u8| {
        let mut p = Vec::new();
        for i in 0..count {
            p.extend(header(if i + 1 < count { ipv6::DEST_OPTS } else { last }, &PADDING));
        }
        p.extend_from_slice(&UDP8);
        of(ipv6::DEST_OPTS, &p)
    };
    assert_eq!(chain(16, ipv6::UDP).expect("chain").headers, 16);
    assert_eq!(chain(17, ipv6::UDP), Err(WalkError::TooManyHeaders));
    assert_eq!(chain(400, ipv6::UDP), Err(WalkError::TooManyHeaders));
}

#[test]
fn headers_that_contradict_themselves_or_do_not_end() {
    for kind in [ipv6::HOP_BY_HOP, ipv6::DEST_OPTS] {
        let bad = [header(ipv6::UDP, &[5, 5, 0, 0, 0, 0]), UDP8.to_vec()].concat();
        assert_eq!(of(kind, &bad), Err(WalkError::MalformedHeader));
        let bad = [header(ipv6::UDP, &[1, 3, 0, 0, 0, 5]), UDP8.to_vec()].concat();
        assert_eq!(of(kind, &bad), Err(WalkError::MalformedHeader), "a type without a length");
        assert_eq!(of(kind, &[ipv6::UDP]), Err(WalkError::Truncated));
        assert_eq!(of(kind, &[ipv6::UDP, 1, 1, 4, 0, 0, 0, 0]), Err(WalkError::Truncated));
    }
}

#[test]
fn pdm_options_wherever_they_stand() {
    let clear: Vec<u8> = [&[1, 0, 0x0F, 18, 0x2A, 0xBC][..], &[7; 16]].concat();
    let p = [header(ipv6::ROUTING, &clear), header(ipv6::UDP, &[4, 0, 0, 0, 0, 0]), UDP8.to_vec()].concat();
    let at = HeaderAt { offset: 40, len: 24, named_at: 6 };
    let found = OptionAt { form: Form::Clear, header: at, offset: 44 };
    let chain = of(ipv6::DEST_OPTS, &p).expect("chain");
    assert_eq!((chain.option, chain.last_dest_opts), (Some(found), None));
    // In a Hop-by-Hop header the type means nothing.
    let p = [header(ipv6::UDP, &clear), UDP8.to_vec()].concat();
    assert_eq!(of(ipv6::HOP_BY_HOP, &p).expect("chain").option, None);
    let twice = [header(ipv6::DEST_OPTS, &clear), header(ipv6::UDP, &clear), UDP8.to_vec()].concat();
    assert_eq!(of(ipv6::DEST_OPTS, &twice), Err(WalkError::MalformedOption));
    let side_by_side = [header(ipv6::UDP, &[&clear[2..], &clear[2..], &PADDING].concat()), UDP8.to_vec()].concat();
    assert_eq!(of(ipv6::DEST_OPTS, &side_by_side), Err(WalkError::MalformedOption));
}

#[test]
fn pdm_options_of_other_lengths_and_versions() {
    for len in 0..=46u8 {
        for version in 0..16 {
            let mut body = vec![version << 4; 62];
            body[..2].copy_from_slice(&[0x0F, len]);
            let end = usize::from(len) + 2;
            crate::wire::tlv::pad(&mut body[end..]);
            let got = of(ipv6::DEST_OPTS, &[header(ipv6::UDP, &body), UDP8.to_vec()].concat());
            if len == 10 || (len == 18 || len == 34) && version == 2 {
                assert_eq!(got.expect("chain").option.map(|o| o.form), Form::from_data_len(len));
            } else {
                assert_eq!(got, Err(WalkError::MalformedOption), "length {len}, version {version}");
            }
        }
    }
    let over = [header(ipv6::UDP, &[0x0F, 10, 0, 0, 0, 0]), UDP8.to_vec()].concat();
    assert_eq!(of(ipv6::DEST_OPTS, &over), Err(WalkError::MalformedHeader));
}

#[test]
fn segments_left_name_the_final_destination() {
    let route = |next, kind, left, address: u8| header(next, &[&[kind, left, 0, 0, 0, 0][..], &[address; 16]].concat());
    let to = |p: &[Vec<u8>]| of(ipv6::ROUTING, &[p.concat(), UDP8.to_vec()].concat()).map(|c| c.five_tuple.dst);
    assert_eq!(to(&[route(ipv6::UDP, 4, 1, 9)]), Ok([9; 16]));
    assert_eq!(to(&[route(ipv6::UDP, 4, 0, 9)]), Ok([2; 16]));
    assert_eq!(to(&[route(ipv6::UDP, 99, 0, 9)]), Ok([2; 16]));
    assert_eq!(to(&[route(ipv6::UDP, 99, 1, 9)]), Err(WalkError::UnknownRouting));
    assert_eq!(to(&[route(ipv6::UDP, 0, 2, 9)]), Err(WalkError::MalformedHeader));
    assert_eq!(to(&[route(ipv6::ROUTING, 4, 1, 9), route(ipv6::UDP, 2, 1, 8)]), Ok([8; 16]), "the last has the say");
    assert_eq!(to(&[route(ipv6::ROUTING, 4, 1, 9), route(ipv6::UDP, 2, 0, 8)]), Ok([9; 16]));
}
