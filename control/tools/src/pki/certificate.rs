//! What the authority reads of its own certificate: the name that it issues under.

use anyhow::{Context, ensure};
use der::asn1::{AnyRef, ObjectIdentifier, Utf8StringRef};
use der::{Decode, Reader, SliceReader, Tag, Tagged};

/// Common name (X.520).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The subject's common name, in a certificate as PEM. It is the whole subject of those that this program makes.
///
/// # Errors
/// No certificate, or the subject is another.
pub fn common_name(text: &str) -> anyhow::Result<String> {
    let block = pem::parse(text).context("not PEM")?;
    ensure!(block.tag() == "CERTIFICATE", "a {} and no certificate", block.tag());
    let name = subject(block.contents()).context("not the certificate of an authority that 'pdmv2 pki init' made")?;
    Ok(name.to_owned())
}

/// RFC 5280 section 4.1: the subject stands behind version, serial number, algorithm, issuer and validity.
fn subject(certificate: &[u8]) -> der::Result<&str> {
    SliceReader::new(certificate)?.sequence(|certificate| {
        let name = certificate.sequence(|signed| {
            (0..5).try_for_each(|_| signed.tlv_bytes().map(drop))?;
            let name = signed.sequence(only_name)?;
            rest(signed)?;
            Ok::<_, der::Error>(name)
        })?;
        rest(certificate)?;
        Ok(name)
    })
}

/// The one name of a subject: a set of one pair of kind and text.
fn only_name<'r>(names: &mut SliceReader<'r>) -> der::Result<&'r str> {
    let set: AnyRef<'r> = names.decode()?;
    set.tag().assert_eq(Tag::Set)?;
    SliceReader::new(set.value())?.sequence(|pair| {
        let kind: ObjectIdentifier = pair.decode()?;
        let value = Utf8StringRef::decode(pair)?;
        if kind == COMMON_NAME { Ok(value.as_str()) } else { Err(der::ErrorKind::OidUnknown { oid: kind }.into()) }
    })
}

fn rest<'r>(reader: &mut impl Reader<'r>) -> der::Result<()> {
    while !reader.is_finished() {
        reader.tlv_bytes()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    fn certificate(names: &[(DnType, &str)]) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        names.iter().for_each(|(kind, name)| params.distinguished_name.push(kind.clone(), *name));
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").pem()
    }

    #[test]
    fn a_certificate_of_ours_has_one_name_and_others_are_refused() {
        assert_eq!(common_name(&certificate(&[(DnType::CommonName, "west ä 1")])).expect("a name"), "west ä 1");
        let two = [(DnType::CommonName, "west"), (DnType::OrganizationName, "example")];
        for other in [certificate(&two), certificate(&two[1..]), certificate(&[]), String::new()] {
            assert!(common_name(&other).is_err());
        }
        let whole = certificate(&two[..1]);
        let key = KeyPair::generate().expect("a key").serialize_pem();
        assert!(common_name(&key).expect_err("a key").to_string().contains("no certificate"));
        // Cut off at any octet: an error, and no panic.
        let octets = pem::parse(&whole).expect("PEM").into_contents();
        assert!((0..octets.len()).all(|end| subject(&octets[..end]).is_err()));
    }
}
