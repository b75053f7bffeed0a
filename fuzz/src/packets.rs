//! Packets to begin with: each kind of header chain that a box meets.

use protocol::wire::dest_opts::insert_into_vec;
use protocol::wire::option::{Form, Metrics, Prefix6, emit_clear, emit_pdm, emit_sealed};

/// A host behind box A.
pub const A: [u8; 16] = [0x20, 1, 0xD, 0xB8, 0, 0xA, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// A host behind box B.
pub const B: [u8; 16] = [0x20, 1, 0xD, 0xB8, 0, 0xB, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// A packet from its IPv6 header on.
pub fn packet(src: [u8; 16], dst: [u8; 16], next: u8, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0x60, 0, 0, 0];
    p.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    p.extend_from_slice(&[next, 64]);
    p.extend_from_slice(&src);
    p.extend_from_slice(&dst);
    p.extend_from_slice(payload);
    p
}

/// Packets without an option, from `src` to `dst`.
pub fn plain(src: [u8; 16], dst: [u8; 16]) -> Vec<Vec<u8>> {
    let udp = [0x12, 0x34, 1, 0xBB, 0, 16, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let mut syn = vec![0x12, 0x34, 1, 0xBB, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 2, 0xFF, 0xFF, 0, 0, 0, 0, 2, 4, 0x05, 0xA0];
    let echo = [128, 0, 0, 0, 0x56, 0x78, 0, 1, 9, 9];
    let chains: [(u8, Vec<u8>); 11] = [
        (17, udp.to_vec()),
        (6, syn.clone()),
        (58, echo.to_vec()),
        (60, [&[17, 0, 1, 4, 0, 0, 0, 0][..], &udp].concat()),
        (60, [&[17, 1, 0x1E, 4, 1, 2, 3, 4, 0xC9, 2, 5, 6, 1, 2, 0, 0][..], &udp].concat()),
        (0, [&[60, 0, 5, 2, 0, 0, 1, 0][..], &[17, 0, 0, 0, 0, 0, 0, 0], &udp].concat()),
        (43, [&[17, 2, 0, 1, 0, 0, 0, 0][..], &[7; 16], &udp].concat()),
        (43, [&[60, 4, 4, 1, 1, 0, 0, 0][..], &[7; 16], &[8; 16], &[6, 0, 1, 4, 0, 0, 0, 0], &syn].concat()),
        (43, [&[17, 1, 3, 2, 0xFE, 0x40, 0, 0, 1, 2, 8, 9, 0, 0, 0, 0][..], &udp].concat()),
        (50, vec![0, 0, 1, 0, 0, 0, 0, 9, 0xE5, 0xE6, 0xE7, 0xE8]),
        (44, [&[17, 0, 0, 0, 1, 2, 3, 4][..], &udp].concat()),
    ];
    syn[13] = 0x12;
    let mut all: Vec<_> = chains.iter().map(|(next, payload)| packet(src, dst, *next, payload)).collect();
    all.push(packet(src, dst, 6, &syn));
    all
}

/// The same with an option of each form in them, not sealed under any key.
pub fn with_options() -> Vec<Vec<u8>> {
    let (metrics, prefix) = (Metrics { psntp: 7, ..Metrics::default() }, Prefix6 { reserved: 0, prseq: 99, f: 1 });
    let sealed = emit_sealed(&prefix.emit(Form::Sealed), &[0xC1; 14], &[0x7A; 16]);
    let options = [
        (Form::Pdm, emit_pdm(&metrics).to_vec()),
        (Form::Clear, emit_clear(&prefix, &metrics).to_vec()),
        (Form::Sealed, sealed.to_vec()),
    ];
    let mut all = Vec::new();
    for packet in plain(A, B) {
        for (form, option) in &options {
            let mut packet = packet.clone();
            if insert_into_vec(&mut packet, option, *form).is_ok() {
                all.push(packet);
            }
        }
    }
    // Another sender's arrangement: the option between two others.
    let pdm = emit_pdm(&metrics);
    let header = [&[17, 3, 0x1E, 4, 1, 2, 3, 4][..], &pdm, &[0xC9, 2, 5, 6], &[1, 6, 0, 0, 0, 0, 0, 0]].concat();
    all.push(packet(A, B, 60, &[&header[..], &[0, 1, 0, 2, 0, 8, 0, 0]].concat()));
    all
}

/// Writes the Payload Length of a packet that should end where its octets do.
pub fn set_length(packet: &mut [u8]) {
    let len = packet.len().saturating_sub(40) as u16;
    if let Some(place) = packet.get_mut(4..6) {
        place.copy_from_slice(&len.to_be_bytes());
    }
}
