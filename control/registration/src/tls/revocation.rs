//! Revocation lists: none is used before it is certain that its authority has signed it, and none that is older than the
//! one in use. What a handshake would make of a list that is not so is an error for everybody, or for nobody.

use super::files::CrlExpired;
use super::pem::small;
use super::verifying::{client_verifier, provider};
use anyhow::{Context, anyhow, bail, ensure};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use x509_parser::asn1_rs::{FromDer, Sequence};
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::OID_X509_EXT_ISSUER_DISTRIBUTION_POINT;
use x509_parser::revocation_list::CertificateRevocationList;

/// A late list is announced so long ahead, in seconds; one that is good for a short time when a quarter of it is left.
const AHEAD: i64 = 7 * 86_400;

/// A list that its authority has signed.
#[derive(Clone)]
pub(super) struct List {
    pub file: PathBuf,
    pub der: CertificateRevocationListDer<'static>,
    /// The name of the authority.
    issuer: String,
    /// The authority's key, and the part of its certificates that the list is about: a list takes the place of one that
    /// has the same.
    of: (Vec<u8>, Option<Vec<u8>>),
    /// Its number, without leading zeros.
    number: Option<Vec<u8>>,
    this_update: i64,
    next_update: i64,
}

impl List {
    /// Lists of one authority are numbered upwards (RFC 5280 section 5.2.3); without numbers their dates tell.
    fn is_older(&self, than: &Self) -> bool {
        let by_date = self.this_update < than.this_update;
        match (&self.number, &than.number) {
            (Some(a), Some(b)) if a != b => (a.len(), a) < (b.len(), b),
            _ => by_date,
        }
    }

    fn shown(&self) -> String {
        let number = self.number.as_ref().map(|n| format!("number 0x{}, ", hex::encode(n))).unwrap_or_default();
        format!("{number}of {}", show(self.this_update))
    }

    /// How it stands with the time until a newer one is due.
    pub fn term(&self) -> Term {
        Term {
            file: self.file.clone(),
            issuer: self.issuer.clone(),
            next_update: self.next_update,
            ahead: ((self.next_update - self.this_update) / 4).clamp(0, AHEAD),
        }
    }
}

/// When a list has to have been replaced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Term {
    /// The list.
    pub file: PathBuf,
    /// Its authority.
    pub issuer: String,
    /// Its nextUpdate, in seconds since 1970.
    pub next_update: i64,
    /// That this is near is said so many seconds ahead.
    pub ahead: i64,
}

pub(super) fn show(seconds: i64) -> String {
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    let at = time::OffsetDateTime::from_unix_timestamp(seconds).ok();
    at.and_then(|at| at.format(format).ok()).unwrap_or_else(|| seconds.to_string())
}

/// Reads a file of lists, each signed by one of these authorities, whose certificates are in the file `ca`. Of several lists
/// in one another's place the newest is taken.
pub(super) fn read(path: &Path, ca: &Path, authorities: &[CertificateDer<'static>]) -> anyhow::Result<Vec<List>> {
    small(path)?;
    let place = path.display();
    let read = CertificateRevocationListDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let ders = read.with_context(|| format!("{place}: not PEM; fetch the revocation list anew"))?;
    ensure!(!ders.is_empty(), "{place}: no revocation list in it; fetch it anew, or name the right file");
    let lists: anyhow::Result<Vec<_>> = ders.iter().map(|der| checked(path, ca, der, authorities)).collect();
    Ok(newest_of_each(lists.with_context(|| place.to_string())?))
}

/// The newest of those lists that take each other's place.
pub(super) fn newest_of_each(lists: Vec<List>) -> Vec<List> {
    let mut newest: Vec<List> = Vec::new();
    for list in lists {
        match newest.iter_mut().find(|other| other.of == list.of) {
            Some(other) if other.is_older(&list) => *other = list,
            Some(_) => {}
            None => newest.push(list),
        }
    }
    newest
}

fn checked(
    path: &Path,
    ca: &Path,
    der: &CertificateRevocationListDer<'static>,
    authorities: &[CertificateDer<'static>],
) -> anyhow::Result<List> {
    let unreadable = || anyhow!("not a revocation list that can be read: damaged; fetch it from the authority anew");
    let (rest, parsed) = CertificateRevocationList::from_der(der).map_err(|_| unreadable())?;
    ensure!(rest.is_empty(), unreadable());
    let issuer = parsed.issuer().to_string();
    let (mut named, mut may_sign, mut signer) = (false, false, None);
    for authority in authorities {
        let (_, certificate) =
            X509Certificate::from_der(authority).map_err(|_| anyhow!("{}: damaged", ca.display()))?;
        if certificate.subject().as_raw() != parsed.issuer().as_raw() {
            continue;
        }
        named = true;
        // As in a handshake: who may sign certificates may not therefore sign lists.
        if certificate.key_usage().is_ok_and(|usage| usage.is_none_or(|u| u.value.crl_sign())) {
            may_sign = true;
            if is_signed_by(&parsed, &certificate).ok_or_else(unreadable)? {
                signer = Some(certificate.public_key().raw.to_vec());
                break;
            }
        }
    }
    let ca = ca.display();
    let signer = match signer {
        Some(signer) => signer,
        None if !named => {
            bail!("the list of '{issuer}', who is no authority in {ca}; name that authority's list, or add it to {ca}")
        }
        None if !may_sign => {
            bail!("'{issuer}' may not sign revocation lists: its certificate in {ca} lacks the key usage cRLSign")
        }
        None => bail!(
            "not signed by '{issuer}' ({ca}): damaged, or changed by somebody else; fetch it from the authority anew"
        ),
    };
    let next_update = parsed.next_update().context("without nextUpdate, which RFC 5280 asks for")?.timestamp();
    let part = parsed.extensions().iter().find(|e| e.oid == OID_X509_EXT_ISSUER_DISTRIBUTION_POINT);
    let list = List {
        file: path.to_owned(),
        issuer,
        of: (signer, part.map(|e| e.value.to_vec())),
        number: parsed.crl_number().map(x509_parser::num_bigint::BigUint::to_bytes_be),
        this_update: parsed.last_update().timestamp(),
        next_update,
        der: der.clone(),
    };
    // What else a handshake asks of a list; an error now, of this file, and not one of every handshake.
    let mut roots = RootCertStore::empty();
    let _ = roots.add_parsable_certificates(authorities.iter().cloned()); // what is none of them, the caller has found
    client_verifier(&Arc::new(roots), std::slice::from_ref(der), CrlExpired::Warn)
        .map_err(|error| anyhow!("of no use in handshakes ({error}); have the authority write another"))?;
    Ok(list)
}

/// Whether the authority has signed the list, by an algorithm that handshakes know. `None`: one of the two is damaged.
fn is_signed_by(list: &CertificateRevocationList<'_>, authority: &X509Certificate<'_>) -> Option<bool> {
    // SEQUENCE { what is signed, the algorithm, the signature }; SEQUENCE { the algorithm, the key }.
    let (_, whole) = Sequence::from_der(list.as_raw()).ok()?;
    let signed: &[u8] = list.tbs_cert_list.as_ref();
    let (_, algorithm) = Sequence::from_der(whole.content.get(signed.len()..)?).ok()?;
    let (_, info) = Sequence::from_der(authority.public_key().raw).ok()?;
    let (_, key_algorithm) = Sequence::from_der(&info.content).ok()?;
    let key = &authority.public_key().subject_public_key.data;
    let provider = provider();
    let mut fitting = provider.signature_verification_algorithms.all.iter().filter(|known| {
        known.signature_alg_id().as_ref() == &*algorithm.content
            && known.public_key_alg_id().as_ref() == &*key_algorithm.content
    });
    Some(fitting.any(|known| known.verify_signature(key, signed, &list.signature_value.data).is_ok()))
}

/// An error when one of the new lists is older than the one in use, or one that was in use has no successor: an old list does
/// not know who was revoked since.
pub(super) fn succeeds(old: &[List], new: &[List], authorities: &[CertificateDer<'static>]) -> anyhow::Result<()> {
    let keys: Vec<_> = authorities
        .iter()
        .filter_map(|a| Some(X509Certificate::from_der(a).ok()?.1.public_key().raw.to_vec()))
        .collect();
    // An authority that is no longer taken takes its lists with it.
    for before in old.iter().filter(|list| keys.contains(&list.of.0)) {
        let place = before.file.display();
        let Some(after) = new.iter().find(|list| list.of == before.of) else {
            bail!(
                "{place}: the list of '{}' is no longer in it; put that authority's newest list there",
                before.issuer
            );
        };
        ensure!(
            !after.is_older(before),
            "{place}: the list of '{}' ({}) is older than the one in use ({}): whoever was revoked since would be back; \
             put the authority's newest list there (or, when it is meant, start this program anew)",
            before.issuer,
            after.shown(),
            before.shown()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::Lab;
    use super::super::{Material, Tls, TlsFiles};
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use common::identity::Kind;

    fn pem(der: &[u8]) -> String {
        format!("-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n", STANDARD.encode(der))
    }

    /// A list that is not the authority's is not taken, the old one stays, and the error names the list.
    #[test]
    fn what_its_authority_has_not_signed_is_not_taken() {
        let (mut lab, other) = (Lab::new(), Lab::new());
        let files = lab.issue(Kind::Registrar, "west");
        let node = Material::load(&lab.issue(Kind::Node, "box-a")).expect("material");
        lab.authority.revoke("box-a").expect("revoked");
        let tls = Tls::load(files.clone()).expect("material");
        let path = lab.authority.revocations();
        let (good, foreign) = (std::fs::read(&path).expect("a list"), other.authority.revocations());
        let der = CertificateRevocationListDer::from_pem_slice(&good).expect("a list").to_vec();
        let changed = |at: usize, by: u8| {
            let mut der = der.clone();
            let at = if at < der.len() { at } else { der.len() - 3 };
            der[at] ^= by;
            pem(&der)
        };
        for (text, words) in [
            (changed(usize::MAX, 1), "not signed by"),
            (changed(6, 0xFF), "can be read"),
            (pem(&der[..der.len() - 1]), "can be read"),
            ("garbage".to_owned(), "no revocation list in it"),
            (String::new(), "no revocation list in it"),
            (std::fs::read_to_string(foreign).expect("a list"), "who is no authority in"),
        ] {
            std::fs::write(&path, &text).expect("written");
            let error = format!("{:#}", tls.refresh().expect_err(words));
            assert!(error.starts_with(&path.display().to_string()) && error.contains(words), "{words}: {error}");
            let error = format!("{:#}", Material::load(&files).expect_err("nor at the start"));
            assert!(error.starts_with(&path.display().to_string()), "{error}");
            let known = tls.current().identify(None, &node.chain).expect_err("still revoked").to_string();
            assert!(known.contains("Revoked"), "{known}");
        }
        // Every other octet of it.
        for at in 0..der.len() {
            std::fs::write(&path, changed(at, 0x10)).expect("written");
            assert!(read(&path, &lab.authority.certificate(), &tls.current().own.authorities).is_err(), "octet {at}");
        }
        std::fs::write(&path, good).expect("written");
        assert!(tls.refresh().expect("the good one is back"));
    }

    #[test]
    fn an_older_list_does_not_replace_a_newer_one() {
        let mut lab = Lab::new();
        let tls = Tls::load(lab.issue(Kind::Registrar, "west")).expect("material");
        let node = Material::load(&lab.issue(Kind::Node, "box-a")).expect("material");
        let path = lab.authority.revocations();
        let older = std::fs::read(&path).expect("a list");
        lab.authority.revoke("box-a").expect("revoked");
        let newer = std::fs::read(&path).expect("a list");
        assert!(tls.refresh().expect("newer"));
        std::fs::write(&path, &older).expect("written");
        let error = format!("{:#}", tls.refresh().expect_err("older"));
        assert!(error.contains("ca.crl") && error.contains("older than the one in use"), "{error}");
        assert!(tls.current().identify(None, &node.chain).is_err(), "still revoked");
        // Both in one file: the newest counts, in whichever order.
        for both in [[older.clone(), newer.clone()], [newer, older]] {
            std::fs::write(&path, both.concat()).expect("written");
            assert!(tls.refresh().expect("read again"));
            assert!(tls.current().identify(None, &node.chain).is_err(), "still revoked");
        }
        lab.authority.relist(3).expect("a list");
        assert!(tls.refresh().expect("newer still"));
    }

    #[test]
    fn a_list_that_is_late_refuses_new_connections_where_that_is_asked_for() {
        let mut lab = Lab::new();
        let files = lab.issue(Kind::Registrar, "west");
        let node = Material::load(&lab.issue(Kind::Node, "box-a")).expect("material");
        let registrar = Material::load(&files).expect("material").chain;
        lab.authority.relist_expired().expect("a list");
        for expired in [CrlExpired::Warn, CrlExpired::Refuse] {
            let material = Material::load(&TlsFiles { crl_expired: expired, ..files.clone() }).expect("material");
            let refuses = expired == CrlExpired::Refuse;
            let new = material.identify(None, &node.chain);
            assert_eq!(new.is_err(), refuses, "{new:?}");
            material.still_good(None, &node.chain).expect("an open connection stays");
            material.still_registrar(None, "localhost", &registrar).expect("an open connection stays");
        }
    }
}
