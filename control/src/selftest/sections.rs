//! What each section of a file of vectors is checked against.

use super::object::{Check, Object};
use protocol::aead::{self, Slot};
use protocol::delta_time::{Scaled, from_nanos, to_attos};
use protocol::five_tuple::FiveTuple;
use protocol::key_schedule::{Prk, ScopeId, Secret, SessionKey, SharedSecret, file_generation_secret};
use protocol::suite::Aead;
use protocol::wire::dest_opts::{insert_into_vec, remove_from_vec};
use protocol::wire::ext_chain::walk;
use protocol::wire::option::{
    Form, METRICS_LEN, Metrics, PREFIX_LEN, Prefix6, emit_clear, emit_pdm, emit_sealed,
};
use std::net::Ipv6Addr;

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
    if let Some((head, text)) = clear.split_first_chunk().zip_text() {
        prefix_is(o, "option_clear", head, &prefix);
        o.same("option_clear (read)", &metrics.emit(), &Metrics::parse(text).emit());
    }
    let sealed = o.octets("option_sealed")?;
    o.same("option_sealed", &sealed, &seal(suite.aead, &session, &prefix, &metrics));
    opens(o, "option_sealed", &sealed, suite.aead, &session, &prefix, &metrics);
    Some(())
}
