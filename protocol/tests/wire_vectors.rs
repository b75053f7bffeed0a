//! The vectors of the specification, as far as they need no key: delta times, and whole packets in both directions.

mod spec;

use protocol::delta_time::{Scaled, from_nanos, to_attos};
use protocol::five_tuple::FiveTuple;
use protocol::wire::dest_opts::{insert_into_vec, remove_from_vec};
use protocol::wire::ext_chain::walk;
use protocol::wire::option::{Form, Metrics, Prefix6, emit_clear};
use protocol::wire::profile::AAD_LEN;
use spec::{number, objects, octets};

#[test]
fn delta_times() {
    for object in objects("delta_time") {
        let scaled = from_nanos(number(&object, "nanoseconds"));
        assert_eq!(scaled, Scaled { value: number(&object, "delta"), scale: number(&object, "scale") }, "{object}");
        let exact = number::<u128>(&object, "nanoseconds") * 1_000_000_000;
        assert_eq!(to_attos(scaled), Some(exact >> scaled.scale << scaled.scale), "{object}");
    }
}

/// `before` with this option is `after`, and `after` without it is `before`.
fn comes_and_goes(before: &[u8], option: &[u8], form: Form, after: &[u8]) {
    let mut packet = before.to_vec();
    assert_eq!(insert_into_vec(&mut packet, option, form), Ok(()));
    assert_eq!(hex::encode(&packet), hex::encode(after));
    assert_eq!(remove_from_vec(&mut packet), Ok(true));
    assert_eq!(hex::encode(&packet), hex::encode(before));
}

#[test]
fn packets() {
    for object in objects("packets") {
        let [packet, clear, sealed] = ["packet", "packet_clear", "packet_sealed"].map(|name| octets(&object, name));
        for octets in [&packet, &clear, &sealed] {
            let tuple = walk(octets, octets.len()).expect("a valid packet").five_tuple;
            assert_eq!(hex::encode(tuple.octets()), object["five_tuple"].as_str().expect("text"));
            assert_eq!(FiveTuple::from_octets(&tuple.octets()), tuple);
        }
        let m = &object["metrics"];
        let metrics = Metrics {
            scale_dtlr: number(m, "scale_dtlr"),
            scale_dtls: number(m, "scale_dtls"),
            global_pointer: number(m, "global_pointer"),
            psntp: number(m, "psntp"),
            psnlr: number(m, "psnlr"),
            delta_tlr: number(m, "delta_tlr"),
            delta_tls: number(m, "delta_tls"),
        };
        let f = (number::<u32>(&object, "kri") & 1) as u8;
        let prefix = Prefix6 { reserved: 0, prseq: number(&object, "prseq"), f };
        comes_and_goes(&packet, &emit_clear(&prefix, &metrics), Form::Clear, &clear);

        let found = walk(&sealed, sealed.len()).expect("a valid packet").option.expect("an option");
        assert_eq!(found.form, Form::Encrypted);
        let option = &sealed[found.offset..found.offset + Form::Encrypted.option_len()];
        assert_eq!(option[..AAD_LEN], prefix.emit(Form::Encrypted));
        comes_and_goes(&packet, option, Form::Encrypted, &sealed);
    }
}
