//! What each section of a file of vectors is checked against.

use super::object::{Check, Object};
use protocol::aead::{self, Slot};
use protocol::delta_time::{Scaled, from_nanos, to_attos};
use protocol::five_tuple::{FiveTuple, OCTETS};
use protocol::key_schedule::{Prk, ScopeId, Secret, SessionKey, SharedSecret, file_generation_secret};
use protocol::suite::Aead;
use protocol::wire::dest_opts::{insert_into_vec, remove_from_vec};
use protocol::wire::ext_chain::walk;
use protocol::wire::option::{
    Form, METRICS_LEN, Metrics, PREFIX_LEN, Prefix6, TAG_LEN, emit_clear, emit_pdm, emit_sealed,
};
use std::net::Ipv6Addr;
use std::slice;

/// The check of a section's objects; `None`: there is no such section.
pub fn of(section: &str) -> Option<Check> {
    Some(match section {
        "key_file" => key_file,
        "key_schedule_and_seal" => key_schedule_and_seal,
        "delta_time" => delta_time,
        "packets" => packets,
        _ => return None,
    })
}

/// From a key file's secret to a generation's (profile section 9).
fn key_file(o: &mut Object<'_>) -> Option<()> {
    let suite = o.suite()?;
    let file_secret = SharedSecret::new(&o.octets("file_secret")?);
    let (salt, generation) = (o.array("salt")?, o.number("generation")?);
    let shared = o.good("file_secret", file_generation_secret(suite, &salt, &file_secret, generation))?;
    o.holds("shared_secret", shared.as_bytes())
}

/// From a shared secret to the two PDMv2 options, and from the sealed one back (profile sections 1, 2 and 5).
fn key_schedule_and_seal(o: &mut Object<'_>) -> Option<()> {
    let suite = o.suite()?;
    let shared = SharedSecret::new(&o.octets("shared_secret")?);
    let salt = o.array("salt")?;
    let scope = scope(o)?;
    let secret = o.good("shared_secret", Prk::new(suite, &salt, &shared))?.secret(&scope);
    o.holds("secret", secret.as_bytes());

    let tuple = tuple(o)?;
    let kri = o.number("kri")?;
    let session = secret.session(&tuple, kri);
    o.holds("key", &session.key[..suite.aead.nk()]);
    o.holds("base_nonce", &session.base_nonce);

    let prefix = prefix(o, kri)?;
    o.holds("nonce", &session.nonce(prefix.prseq));

    let metrics = o.metrics()?;
    if o.has("option_pdm") {
        o.holds("option_pdm", &emit_pdm(&metrics));
    }
    let clear = o.octets("option_clear")?;
    o.same("option_clear", &clear, &emit_clear(&prefix, &metrics));
    reads(o, "option_clear", &clear, &prefix, &metrics);
    let sealed = o.octets("option_sealed")?;
    let keys = Keys { aead: suite.aead, session };
    o.same("option_sealed", &sealed, &keys.seal(&prefix, &metrics));
    keys.opens(o, "option_sealed", &sealed, &prefix, &metrics);
    Some(())
}

/// Nanoseconds to value and scale, and back up to what the scale cuts off (profile section 3).
fn delta_time(o: &mut Object<'_>) -> Option<()> {
    let nanos = o.number("nanoseconds")?;
    let scaled = from_nanos(nanos);
    let (delta, scale) = (o.number("delta")?, o.number("scale")?);
    o.counts("delta", scaled.value);
    o.counts("scale", scaled.scale);
    let exact = u128::from(nanos) * 1_000_000_000;
    let (lost, back) = (exact - (exact >> scaled.scale << scaled.scale), to_attos(Scaled { value: delta, scale }));
    if back != Some(exact - lost) {
        let show = |attos: Option<u128>| attos.map_or("more than 128 bits".to_owned(), |a| format!("{a:#x} as"));
        o.differs("delta (back to attoseconds)", show(Some(exact - lost)), show(back));
    }
    Some(())
}

/// A whole packet with and without each option, both ways (profile section 1, "Placement").
fn packets(o: &mut Object<'_>) -> Option<()> {
    let suite = o.suite()?;
    let secret = o.octets("secret")?;
    let secret = o.good("secret", Secret::from_octets(suite, &secret))?;
    let kri = o.number("kri")?;
    let prefix = prefix(o, kri)?;
    let metrics = o.metrics()?;

    let packet = o.octets("packet")?;
    let tuple = match walk(&packet, packet.len()) {
        Ok(chain) => {
            o.holds("five_tuple", &chain.five_tuple.octets());
            chain.five_tuple
        }
        // Not to be touched, and the file agrees when it gives nothing to compare with.
        Err(error) => {
            if o.has("five_tuple") {
                o.fail("packet", error.to_string());
            }
            FiveTuple::default()
        }
    };
    let keys = Keys { aead: suite.aead, session: secret.session(&tuple, kri) };
    let sealed = keys.seal(&prefix, &metrics);
    with_option(o, "packet_pdm", &packet, Form::Pdm, &emit_pdm(&metrics), |_, _| ());
    let clear = emit_clear(&prefix, &metrics);
    with_option(o, "packet_clear", &packet, Form::Clear, &clear, |o, option| {
        reads(o, "packet_clear", option, &prefix, &metrics);
    });
    with_option(o, "packet_sealed", &packet, Form::Sealed, &sealed, |o, option| {
        keys.opens(o, "packet_sealed", option, &prefix, &metrics);
    });
    Some(())
}

/// The packet with this option is what the field holds, and what the field holds comes back as the packet; `read` looks
/// at the option found in it. A packet that may not have the option has a field that is null or missing; PDM is optional.
fn with_option(
    o: &mut Object<'_>,
    field: &'static str,
    packet: &[u8],
    form: Form,
    option: &[u8],
    read: impl FnOnce(&mut Object<'_>, &[u8]),
) -> Option<()> {
    let mut made = packet.to_vec();
    let inserted = insert_into_vec(&mut made, option, form);
    if !o.has(field) {
        match inserted {
            Ok(()) if form == Form::Pdm => {}
            Ok(()) => o.fail(field, format!("is missing, where the implementation makes {}", hex::encode(made))),
            Err(error) => o.same(&format!("{field} ({error})"), packet, &made),
        }
        return Some(());
    }
    let expected = o.octets(field)?;
    match inserted {
        Ok(()) => o.same(field, &expected, &made),
        Err(error) => o.fail(field, format!("the implementation makes none: {error}")),
    }
    let chain = o.good(field, walk(&expected, expected.len()))?;
    let tuple: [u8; OCTETS] = o.array("five_tuple")?;
    o.same(&format!("{field} (its five_tuple)"), &tuple, &chain.five_tuple.octets());
    match chain.option {
        Some(at) if at.form == form => read(o, expected.get(at.offset..)?.get(..form.option_len())?),
        Some(at) => o.fail(field, format!("has an option of {} octets", at.form.option_len())),
        None => o.fail(field, "has no option"),
    }
    let mut back = expected;
    o.good(field, remove_from_vec(&mut back))?;
    o.same(&format!("{field} (option removed)"), packet, &back);
    Some(())
}

/// What one packet is sealed with.
struct Keys {
    aead: Aead,
    session: SessionKey,
}

impl Keys {
    fn seal(&self, prefix: &Prefix6, metrics: &Metrics) -> [u8; Form::Sealed.option_len()] {
        let aad = prefix.emit(Form::Sealed);
        let nonce = self.session.nonce(prefix.prseq);
        let mut slot = Slot { key: self.session.key, nonce, aad, text: metrics.emit(), tag: [0; TAG_LEN] };
        aead::seal(self.aead, slice::from_mut(&mut slot));
        emit_sealed(&aad, &slot.text, &slot.tag)
    }

    /// The option as received opens to these metrics.
    fn opens(&self, o: &mut Object<'_>, field: &str, option: &[u8], prefix: &Prefix6, metrics: &Metrics) {
        let field = format!("{field} (opened)");
        let Some((&aad, text, &tag)) = parts(option) else {
            return o.fail(&field, format!("an option of {} octets", option.len()));
        };
        same_prefix(o, &field, &aad, prefix);
        let Some(found) = Prefix6::parse(&aad) else { return };
        let nonce = self.session.nonce(found.prseq);
        let mut slot = Slot { key: self.session.key, nonce, aad, text: *text, tag };
        if aead::open(self.aead, slice::from_mut(&mut slot)) == 1 {
            o.same(&field, &metrics.emit(), &Metrics::parse(&slot.text).emit());
        } else {
            o.fail(&field, "the tag does not verify");
        }
    }
}

type Parts<'a> = (&'a [u8; PREFIX_LEN], &'a [u8; METRICS_LEN], &'a [u8; TAG_LEN]);

/// Additional data, ciphertext and tag of a sealed option.
fn parts(option: &[u8]) -> Option<Parts<'_>> {
    let (aad, rest) = option.split_first_chunk()?;
    let (text, tag) = rest.split_first_chunk()?;
    Some((aad, text, tag.try_into().ok()?))
}

/// The option in clear as received says this.
fn reads(o: &mut Object<'_>, field: &str, option: &[u8], prefix: &Prefix6, metrics: &Metrics) {
    let field = format!("{field} (read)");
    match option.split_first_chunk().map(|(head, text)| (head, text.try_into())) {
        Some((head, Ok(text))) => {
            same_prefix(o, &field, head, prefix);
            o.same(&field, &metrics.emit(), &Metrics::parse(text).emit());
        }
        _ => o.fail(&field, format!("an option of {} octets", option.len())),
    }
}

fn same_prefix(o: &mut Object<'_>, field: &str, head: &[u8; PREFIX_LEN], expected: &Prefix6) {
    match Prefix6::parse(head) {
        Some(found) if found == *expected => {}
        Some(found) => o.differs(field, format!("{expected:x?}"), format!("{found:x?}")),
        None => o.fail(field, format!("{} does not begin a PDMv2 option", hex::encode(head))),
    }
}

fn scope(o: &mut Object<'_>) -> Option<ScopeId> {
    match o.text("scope")? {
        "node" => Some(ScopeId::Node(o.array("scope_id")?)),
        "client" => Some(ScopeId::Client(o.array("scope_id")?)),
        "shared" => {
            if o.has("scope_id") && !o.octets("scope_id")?.is_empty() {
                o.fail("scope_id", "scope \"shared\" has none");
            }
            Some(ScopeId::Shared)
        }
        other => {
            o.fail("scope", format!("'{other}' is none of node, client and shared"));
            None
        }
    }
}

/// The 5-tuple as octets, as fields, or as both, which then must agree.
fn tuple(o: &mut Object<'_>) -> Option<FiveTuple> {
    if !o.has("flow") {
        return Some(FiveTuple::from_octets(&o.array("five_tuple")?));
    }
    let flow = o.inner("flow", |flow| {
        Some(FiveTuple {
            src: address(flow, "src")?,
            sport: flow.number("sport")?,
            dst: address(flow, "dst")?,
            dport: flow.number("dport")?,
            protocol: flow.number("proto")?,
        })
    })?;
    if o.has("five_tuple") {
        let octets = o.array("five_tuple")?;
        o.same("five_tuple (of flow)", &octets, &flow.octets());
        return Some(FiveTuple::from_octets(&octets));
    }
    Some(flow)
}

fn address(o: &mut Object<'_>, field: &'static str) -> Option<[u8; 16]> {
    let text = o.text(field)?;
    let address = text.parse::<Ipv6Addr>().map_err(|_| format!("'{text}' is not an IPv6 address"));
    Some(o.good(field, address)?.octets())
}

/// What stands before the metrics. `reserved` is 0 and `f` follows from Kri where they are not given.
fn prefix(o: &mut Object<'_>, kri: u32) -> Option<Prefix6> {
    let (prseq, f) = (o.number("prseq")?, (kri & 1) as u8);
    let reserved = if o.has("reserved") { o.number("reserved")? } else { 0 };
    if o.has("f") {
        o.counts("f", f)?;
    }
    let prefix = Prefix6 { reserved, prseq, f };
    if Prefix6::parse(&prefix.emit(Form::Clear)) != Some(prefix) {
        o.fail("prseq", format!("PRSEQ {prseq:#x} or reserved {reserved:#x} has too many bits"));
        return None;
    }
    Some(prefix)
}
