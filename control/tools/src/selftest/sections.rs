//! What the objects of each section hold, and what must follow from what.

use super::object::Object;
use protocol::aead::{self, Slot};
use protocol::delta_time::{self, Scaled};
use protocol::five_tuple::FiveTuple;
use protocol::key_schedule::{Prk, ScopeId, Secret, SessionKey, SharedSecret, file_generation_secret};
use protocol::suite::{Aead, Kdf, Kem, Suite};
use protocol::wire::dest_opts::{insert_into_vec, remove_from_vec};
use protocol::wire::ext_chain;
use protocol::wire::option::{self, Form, Metrics, Prefix6};
use std::net::Ipv6Addr;

/// A section this program does not know.
pub fn unknown(object: &mut Object<'_>) {
    object.fail("section", "unknown to this program");
}

fn suite(o: &mut Object<'_>) -> Option<Suite> {
    let mut id = |name| o.number(name, u64::from(u16::MAX)).map(|n| n as u16);
    let (kem, kdf, aead) = (id("kem"), id("kdf"), id("aead"));
    let suite = (kem.and_then(Kem::from_id), kdf.and_then(Kdf::from_id), aead.and_then(Aead::from_id));
    if let (Some(kem), Some(kdf), Some(aead)) = suite {
        return Some(Suite { kem, kdf, aead });
    }
    o.fail("suite", &format!("kem {kem:?}, kdf {kdf:?}, aead {aead:?} is none of the profile's"));
    None
}

/// Shared secret of a generation (profile section 9).
pub fn key_file(o: &mut Object<'_>) {
    let (suite, secret, salt) = (suite(o), o.hex("file_secret"), o.array::<32>("salt"));
    let generation = o.number("generation", u64::from(u32::MAX));
    if let (Some(suite), Some(secret), Some(salt), Some(generation)) = (suite, secret, salt, generation) {
        match file_generation_secret(suite, &salt, &SharedSecret::new(&secret), generation as u32) {
            Ok(shared) => return o.expect("shared_secret", shared.as_bytes()),
            Err(error) => o.fail("file_secret", &error.to_string()),
        }
    }
    o.hex("shared_secret"); // known, but not reached
}

/// From the shared secret to the option on the wire and back (profile sections 1, 2, 5).
pub fn key_schedule_and_seal(o: &mut Object<'_>) {
    let (suite, shared, salt) = (suite(o), o.hex("shared_secret"), o.array::<32>("salt"));
    let (scope, tuple) = (scope(o), o.array::<37>("five_tuple"));
    let given = o.hex("secret");
    if o.has("flow")
        && let (Some(flow), Some(tuple)) = (o.object("flow", flow), tuple)
    {
        o.compare("flow", &tuple, &flow.octets());
    }
    let (kri, prseq, f, reserved) = (number32(o, "kri"), prseq(o), o.number("f", 1), o.number_or("reserved", 0xFFF, 0));
    let metrics = o.object("metrics", metrics);
    let secret = (|| {
        let prk = Prk::new(suite?, &salt?, &SharedSecret::new(shared.as_deref()?));
        prk.map(|prk| Some(prk.secret(&scope?))).transpose()
    })();
    let session = match secret {
        Some(Ok(secret)) => {
            o.compare("secret", given.as_deref().unwrap_or_default(), secret.as_bytes());
            (|| Some((secret.suite(), secret.session(&FiveTuple::from_octets(&tuple?), kri?))))()
        }
        Some(Err(error)) => {
            o.fail("shared_secret", &error.to_string());
            None
        }
        None => None,
    };
    let nk = suite.map_or(0, |s| s.aead.nk());
    let (key, base_nonce, nonce) = (o.hex("key"), o.array::<12>("base_nonce"), o.array::<12>("nonce"));
    let (clear, sealed) = (o.array::<20>("option_clear"), o.array::<36>("option_sealed"));
    let pdm = if o.has("option_pdm") { o.array::<12>("option_pdm") } else { None };
    let all = (|| Some((session?, prseq?, f?, reserved?, metrics?, kri?)))();
    let Some(((suite, session), prseq, f, reserved, metrics, kri)) = all else { return };
    o.compare("key", &key.unwrap_or_default(), &session.key[..nk]);
    o.compare("base_nonce", &base_nonce.unwrap_or_default(), &session.base_nonce);
    o.compare("nonce", &nonce.unwrap_or_default(), &session.nonce(prseq));
    if f != u64::from(kri % 2) {
        o.fail("f", &format!("{f}, where Kri {kri} modulo 2 is {}", kri % 2));
    }
    let head = Prefix6 { reserved: reserved as u16, prseq, f: f as u8 };
    let (clear, sealed) = (clear.unwrap_or([0; 20]), sealed.unwrap_or([0; 36]));
    o.compare("option_clear", &clear, &option::emit_clear(&head, &metrics));
    if let Some(pdm) = pdm {
        o.compare("option_pdm", &pdm, &option::emit_pdm(&metrics));
    }
    o.compare("option_sealed", &sealed, &seal(suite.aead, &session, &head, &metrics));
    open(o, suite.aead, &session, &sealed, &metrics);
}

/// A delay on the wire (profile section 3).
pub fn delta_time(o: &mut Object<'_>) {
    let nanos = o.number("nanoseconds", u64::MAX);
    let Some(nanos) = nanos else {
        o.number("delta", u64::from(u16::MAX));
        o.number("scale", u64::from(u8::MAX));
        return;
    };
    let Scaled { value, scale } = delta_time::from_nanos(nanos);
    o.expect_number("delta", u64::from(value));
    o.expect_number("scale", u64::from(scale));
    // And back: what was cut off is less than the last bit that was kept.
    let attos = u128::from(nanos) * 1_000_000_000;
    let read = delta_time::to_attos(Scaled { value, scale });
    if !read.is_some_and(|r| r <= attos && attos - r < 1 << scale) {
        o.fail("nanoseconds", &format!("{nanos} ns read back as {read:?} attoseconds"));
    }
}

/// Whole packets, in both directions (profile section 1).
pub fn packets(o: &mut Object<'_>) {
    let (suite, secret) = (suite(o), o.hex("secret"));
    let (kri, prseq, reserved) = (number32(o, "kri"), prseq(o), o.number_or("reserved", 0xFFF, 0));
    let f = o.number_or("f", 1, u64::from(kri.unwrap_or(0) % 2));
    let metrics = o.object("metrics", metrics);
    let (packet, tuple) = (o.hex("packet"), o.array::<37>("five_tuple"));
    let session = (|| Some(Secret::from_octets(suite?, secret.as_deref()?)))();
    let session = match session {
        Some(Ok(secret)) => (|| Some((secret.suite().aead, secret.session(&FiveTuple::from_octets(&tuple?), kri?))))(),
        Some(Err(error)) => {
            o.fail("secret", &error.to_string());
            None
        }
        None => None,
    };
    if let (Some(packet), Some(tuple)) = (&packet, tuple) {
        match ext_chain::walk(packet, packet.len()) {
            Ok(chain) => o.compare("five_tuple", &tuple, &chain.five_tuple.octets()),
            // One that is never touched; the fields below say whether it should be.
            Err(_) if !o.has("packet_sealed") || o.same("packet_sealed", "packet") => {}
            Err(error) => o.fail("packet", &error.to_string()),
        }
    }
    let forms = [("packet_pdm", Form::Pdm), ("packet_clear", Form::Clear), ("packet_sealed", Form::Encrypted)];
    // A form that cannot go into the packet (in clear outside ESP, say) is null, absent, or the packet as it was.
    let given = forms.map(|(name, form)| (name, form, if o.has(name) { o.hex(name).map(Some) } else { o.skip(name) }));
    let all = (|| Some((session?, prseq?, f?, reserved?, metrics?, packet?)))();
    let Some(((aead, session), prseq, f, reserved, metrics, packet)) = all else { return };
    let head = Prefix6 { reserved: reserved as u16, prseq, f: f as u8 };
    for (name, form, with_option) in given {
        let option = match form {
            Form::Pdm => option::emit_pdm(&metrics).to_vec(),
            Form::Clear => option::emit_clear(&head, &metrics).to_vec(),
            Form::Encrypted => seal(aead, &session, &head, &metrics).to_vec(),
        };
        match with_option {
            Some(Some(with_option)) if with_option != packet => {
                both_ways(o, name, form, &packet, &option, &with_option);
                if form == Form::Encrypted {
                    open_packet(o, aead, &session, &with_option, &metrics);
                }
            }
            Some(None) if form == Form::Pdm => {} // the profile's vectors leave it out
            Some(_) if insert_into_vec(&mut packet.clone(), &option, form).is_ok() => {
                o.fail(name, "nothing is added by the vector, but this option goes into this packet");
            }
            _ => {}
        }
    }
}

/// The option goes into the packet, and out of the vector's.
fn both_ways(o: &mut Object<'_>, name: &str, form: Form, packet: &[u8], option: &[u8], with_option: &[u8]) {
    let mut added = packet.to_vec();
    match insert_into_vec(&mut added, option, form) {
        Ok(()) => o.compare(name, with_option, &added),
        Err(error) => o.fail(name, &format!("the option cannot be added: {error}")),
    }
    let mut removed = with_option.to_vec();
    match remove_from_vec(&mut removed) {
        Ok(true) => o.compare(&format!("{name}, option taken out"), packet, &removed),
        Ok(false) => o.fail(name, "no option is found in it"),
        Err(error) => o.fail(name, &format!("its option cannot be taken out: {error}")),
    }
}

fn open_packet(o: &mut Object<'_>, aead: Aead, session: &SessionKey, packet: &[u8], metrics: &Metrics) {
    let option = ext_chain::walk(packet, packet.len()).ok().and_then(|chain| {
        let at = chain.option?.offset;
        packet.get(at..)?.first_chunk::<36>().copied()
    });
    match option {
        Some(option) => open(o, aead, session, &option, metrics),
        None => o.fail("packet_sealed", "no sealed option is found in it"),
    }
}

fn seal(aead: Aead, session: &SessionKey, head: &Prefix6, metrics: &Metrics) -> [u8; 36] {
    let mut slot = Slot::ZERO;
    slot.key = session.key;
    slot.nonce = session.nonce(head.prseq);
    slot.aad = head.emit(Form::Encrypted);
    slot.text = metrics.emit();
    aead::seal(aead, core::slice::from_mut(&mut slot));
    option::emit_encrypted(&slot.aad, &slot.text, &slot.tag)
}

/// Opens the vector's option, as a receiver does; and must not open it with a bit flipped.
fn open(o: &mut Object<'_>, aead: Aead, session: &SessionKey, sealed: &[u8; 36], metrics: &Metrics) {
    let (Some(aad), Some(text), Some(tag)) =
        (sealed.first_chunk::<6>(), sealed[6..].first_chunk::<14>(), sealed[20..].first_chunk::<16>())
    else {
        return;
    };
    let Some(head) = Prefix6::parse(aad) else {
        return o.fail("option_sealed", "its first six octets are not those of a sealed PDMv2 option");
    };
    let mut slot = Slot::ZERO;
    slot.key = session.key;
    slot.nonce = session.nonce(head.prseq);
    (slot.aad, slot.text, slot.tag) = (*aad, *text, *tag);
    let mut flipped = slot.clone();
    flipped.tag[15] ^= 1;
    if aead::open(aead, core::slice::from_mut(&mut slot)) == 1 {
        o.compare("metrics, opened", &metrics.emit(), &slot.text);
    } else {
        o.fail("option_sealed", "it does not open");
    }
    if aead::open(aead, core::slice::from_mut(&mut flipped)) != 0 {
        o.fail("option_sealed", "it opens with a bit of its tag flipped");
    }
}

fn number32(o: &mut Object<'_>, name: &str) -> Option<u32> {
    o.number(name, u64::from(u32::MAX)).map(|n| n as u32)
}

fn prseq(o: &mut Object<'_>) -> Option<u16> {
    o.number("prseq", 0x7FFF).map(|n| n as u16)
}

fn scope(o: &mut Object<'_>) -> Option<ScopeId> {
    match o.text("scope")? {
        "shared" => {
            if o.has("scope_id") && o.hex("scope_id").is_some_and(|id| !id.is_empty()) {
                o.fail("scope_id", "scope shared has none");
            }
            o.skip::<()>("scope_id");
            Some(ScopeId::Shared)
        }
        "client" => o.array("scope_id").map(ScopeId::Client),
        "node" => o.array("scope_id").map(ScopeId::Node),
        other => {
            o.hex("scope_id");
            o.fail("scope", &format!("'{other}' is none of shared, client, node"));
            None
        }
    }
}

fn flow(o: &mut Object<'_>) -> Option<FiveTuple> {
    let mut address = |name| {
        let text = o.text(name)?;
        let parsed = text.parse::<Ipv6Addr>();
        if parsed.is_err() {
            o.fail(name, &format!("'{text}' is not an IPv6 address"));
        }
        parsed.ok().map(|a| a.octets())
    };
    let (src, dst) = (address("src"), address("dst"));
    let mut port = |name| o.number(name, u64::from(u16::MAX)).map(|n| n as u16);
    let (sport, dport) = (port("sport"), port("dport"));
    let protocol = o.number("proto", u64::from(u8::MAX)).map(|n| n as u8);
    Some(FiveTuple { src: src?, sport: sport?, dst: dst?, dport: dport?, protocol: protocol? })
}

fn metrics(o: &mut Object<'_>) -> Option<Metrics> {
    let mut octet = |name| o.number(name, u64::from(u8::MAX)).map(|n| n as u8);
    let (scale_dtlr, scale_dtls) = (octet("scale_dtlr"), octet("scale_dtls"));
    let mut word = |name| o.number(name, u64::from(u16::MAX)).map(|n| n as u16);
    let (psntp, psnlr, delta_tlr, delta_tls) = (word("psntp"), word("psnlr"), word("delta_tlr"), word("delta_tls"));
    let global_pointer = number32(o, "global_pointer");
    Some(Metrics {
        scale_dtlr: scale_dtlr?,
        scale_dtls: scale_dtls?,
        global_pointer: global_pointer?,
        psntp: psntp?,
        psnlr: psnlr?,
        delta_tlr: delta_tlr?,
        delta_tls: delta_tls?,
    })
}
