//! What mutation starts from.

use protocol::wire::dest_opts::insert_into_vec;
use protocol::wire::option::{Form, Metrics, Prefix6, emit_clear, emit_encrypted, emit_pdm};

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0x60, 0, 0, 0];
    p.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    p.extend_from_slice(&[next, 64]);
    p.extend_from_slice(&[0x20, 1, 0xD, 0xB8, 0, 0xA, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    p.extend_from_slice(&[0x20, 1, 0xD, 0xB8, 0, 0xB, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    p.extend_from_slice(payload);
    p
}

/// IPv6 packets with every kind of header the walk knows, bare and with each form of the option.
pub fn packets() -> Vec<Vec<u8>> {
    let udp = [0, 53, 0x30, 0x39, 0, 12, 0, 0, 1, 2, 3, 4];
    let tcp = [&[0, 80, 0xC0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0x60, 2, 0xFF, 0xFF, 0, 0, 0, 0, 2, 4, 5, 0xB4][..], b"hello"]
        .concat();
    let with = |header: &[u8]| [header, &udp].concat();
    let routing = |kind: u8, left: u8, segments: &[u8]| {
        [&[17, segments.len() as u8 / 8, kind, left, 0, 0, 0, 0][..], segments, &udp].concat()
    };
    let mut plain = vec![
        ipv6(17, &udp),
        ipv6(6, &tcp),
        ipv6(58, &[128, 0, 0, 0, 0x12, 0x34, 0, 1, 9, 9]),
        ipv6(58, &[135, 0, 0, 0, 0, 0, 0, 0]),
        ipv6(58, &[1, 0, 0, 0, 0, 0, 0, 0]),
        ipv6(50, &[0, 0, 0, 1, 0, 0, 0, 2, 5, 5, 5, 5]),
        ipv6(51, &with(&[17, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1])),
        ipv6(44, &with(&[17, 0, 0, 0, 0, 0, 0, 1])),
        ipv6(59, &[]),
        ipv6(0, &with(&[17, 0, 5, 2, 0, 0, 1, 0])),
        ipv6(0, &with(&[17, 0, 0xC2, 4, 0, 1, 0, 0])),
        ipv6(60, &with(&[17, 0, 1, 4, 0, 0, 0, 0])),
        ipv6(60, &with(&[17, 1, 0x1E, 5, 1, 2, 3, 4, 5, 0, 0x3E, 1, 7, 0, 1, 0])),
        ipv6(60, &with(&[60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0])),
        ipv6(43, &routing(0, 1, &[0x30; 32])),
        ipv6(43, &routing(2, 1, &[0x31; 16])),
        ipv6(43, &routing(3, 2, &[0x32; 24])),
        ipv6(43, &routing(4, 1, &[0x33; 32])),
        ipv6(43, &routing(9, 0, &[])),
    ];
    let metrics = Metrics { scale_dtlr: 10, psntp: 7, ..Metrics::default() };
    let head = Prefix6 { reserved: 0, prseq: 12345, f: 1 };
    for packet in plain.clone() {
        let options = [
            (Form::Pdm, emit_pdm(&metrics).to_vec()),
            (Form::Clear, emit_clear(&head, &metrics).to_vec()),
            (Form::Encrypted, emit_encrypted(&head.emit(Form::Encrypted), &[3; 14], &[4; 16]).to_vec()),
        ];
        for (form, option) in options {
            let mut packet = packet.clone();
            if insert_into_vec(&mut packet, &option, form).is_ok() {
                plain.push(packet);
            }
        }
    }
    plain
}

/// The same in Ethernet, some under VLAN tags.
pub fn frames() -> Vec<Vec<u8>> {
    let tags: [&[u8]; 3] = [&[], &[0x81, 0, 0, 7], &[0x88, 0xA8, 0, 1, 0x81, 0, 0, 2]];
    let frame = |(i, packet): (usize, Vec<u8>)| {
        [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], tags[i % 3], &[0x86, 0xDD], &packet].concat()
    };
    packets().into_iter().enumerate().map(frame).collect()
}

/// Configurations and a key file.
pub fn texts() -> Vec<Vec<u8>> {
    let key_file = "version = 1\nkem = \"x25519\"\nkdf = \"hkdf-sha256\"\naead = \"aes-128-gcm\"\nscope = \"node\"\n\
        salt = \"5f53df4638b3eef3c57bd1b53efc8394ea8cb1ed16df9194c62905819607fb2f\"\n\
        secret = \"8340e6669c09394fb4d26b2a418825522aa4dfe28b0ab71a46735bc4edab583c\"\n\
        [[node]]\nname = \"a\"\nid = \"2001:db8::1\"\nside = \"client\"\nprefixes = [\"2001:db8:a::/48\"]\n\
        [[node]]\nname = \"b\"\nid = \"00112233445566778899aabbccddeeff\"\nside = \"server\"\nprefixes = [\"2001:db8:b::/48\"]\n";
    let configs = [
        include_str!("../../configs/box-a.toml"),
        include_str!("../../configs/box-b.toml"),
        include_str!("../../configs/ci-tap.toml"),
        include_str!("../../configs/registrar-west.toml"),
        include_str!("../../configs/registrar-east.toml"),
        key_file,
    ];
    configs.iter().map(|c| c.as_bytes().to_vec()).collect()
}

/// The first vectors of each section.
pub fn vectors() -> Vec<Vec<u8>> {
    let text = include_str!("../../protocol/tests/vectors/pdmv2.json");
    let section = |name: &str| {
        let start = text.find(&format!("\"{name}\""))?;
        let object = start + text[start..].find('{')?;
        let mut depth = 0;
        let end = text[object..].find(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth == 0
        })?;
        Some(format!("{{\"{name}\": [{}]}}", &text[object..=object + end]).into_bytes())
    };
    ["key_file", "key_schedule_and_seal", "delta_time", "packets"].into_iter().filter_map(section).collect()
}
