//! Whom certificates name, and what they are for.

use anyhow::{anyhow, bail, ensure};
use common::identity;
use common::identity::Kind;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, ExtendedKeyPurpose, SignatureScheme};
use std::fmt;
use std::sync::Arc;

/// Whom a certificate names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named {
    /// A registrar or a box.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Node => "node",
            Kind::Registrar => "registrar",
        };
        write!(f, "{kind} '{}'", self.name)
    }
}

/// Whom the certificate names, by its only subject alternative name of the form `pdmv2:…`. Says nothing about who signed
/// it.
///
/// # Errors
/// It names nobody, or several.
pub fn named(certificate: &CertificateDer<'_>) -> anyhow::Result<Named> {
    use x509_parser::extensions::GeneralName;
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|_| anyhow!("not a certificate"))?;
    let names = parsed.subject_alternative_name().map_err(|_| anyhow!("a certificate with unreadable names"))?;
    let uris = names.iter().flat_map(|n| &n.value.general_names).filter_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix("pdmv2:"),
        _ => None,
    });
    let uris: Vec<_> = uris.collect();
    let [uri] = uris.as_slice() else {
        bail!(
            "a certificate with {} names of the form pdmv2:node:NAME or pdmv2:registrar:NAME; it needs one",
            uris.len()
        );
    };
    let (kind, name) = match uri.split_once(':') {
        Some(("node", name)) => (Kind::Node, name),
        Some(("registrar", name)) => (Kind::Registrar, name),
        _ => bail!("a certificate that names 'pdmv2:{}'; it needs node:NAME or registrar:NAME", uri.escape_debug()),
    };
    ensure!(identity::check_name(name).is_ok(), "a certificate with the name '{}'", name.escape_debug());
    Ok(Named { kind, name: name.to_owned() })
}

/// The certificate says that it is for this. One without extended key usage is for anything by RFC 5280, and would pass in a
/// handshake; here everybody says what he is.
pub(super) fn check_purpose(
    certificate: &CertificateDer<'_>,
    purpose: &ExtendedKeyPurpose,
) -> Result<(), rustls::Error> {
    let encoding = || rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|_| encoding())?;
    let usage = parsed.extended_key_usage().map_err(|_| encoding())?;
    let has = |purpose: &ExtendedKeyPurpose| {
        usage.as_ref().is_some_and(|u| match purpose {
            ExtendedKeyPurpose::ClientAuth => u.value.client_auth,
            ExtendedKeyPurpose::ServerAuth => u.value.server_auth,
            ExtendedKeyPurpose::Other(_) => false,
        })
    };
    if has(purpose) {
        return Ok(());
    }
    let known = [ExtendedKeyPurpose::ClientAuth, ExtendedKeyPurpose::ServerAuth];
    let presented = known.into_iter().filter(has).collect();
    Err(CertificateError::InvalidPurposeContext { required: purpose.clone(), presented }.into())
}

/// The purposes that the certificate of a box or registrar needs.
///
/// # Errors
/// One is missing.
pub(super) fn check_purposes(certificate: &CertificateDer<'_>, kind: Kind) -> anyhow::Result<()> {
    let (needed, words): (&[_], _) = match kind {
        Kind::Node => (&[ExtendedKeyPurpose::ClientAuth], "a box's needs the extended key usage clientAuth"),
        Kind::Registrar => (
            &[ExtendedKeyPurpose::ServerAuth, ExtendedKeyPurpose::ClientAuth],
            "a registrar's needs the extended key usages serverAuth and clientAuth",
        ),
    };
    let check = needed.iter().try_for_each(|purpose| check_purpose(certificate, purpose));
    check.map_err(|error| anyhow!("{error}: {words}; have it issued so"))
}

/// A client's certificate must be good, as always, and say that it is for clients.
#[derive(Debug)]
pub(super) struct ForClients(pub(super) Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for ForClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.0.verify_client_cert(certificate, others, now)?;
        check_purpose(certificate, &ExtendedKeyPurpose::ClientAuth)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// A server's certificate must be good, as always, and name the registrar that is expected. Looked at within the
/// handshake, so that the server hears (by an alert) that its certificate is not taken.
#[derive(Debug)]
pub(super) struct NamedServer {
    pub(super) signed: Arc<WebPkiServerVerifier>,
    /// The other primary's name; `None`: any registrar of the own side.
    pub(super) peer: Option<String>,
}

impl NamedServer {
    fn check(&self, certificate: &CertificateDer<'_>) -> anyhow::Result<()> {
        let named = named(certificate)?;
        ensure!(
            named.kind == Kind::Registrar && self.peer.as_ref().is_none_or(|name| *name == named.name),
            "the certificate names {named}, but {} is expected; correct the address or the name",
            self.peer.as_ref().map_or_else(|| "a registrar".to_owned(), |name| format!("registrar '{name}'"))
        );
        Ok(())
    }
}

/// In [`rustls::CertificateError::Other`].
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
struct WrongName(anyhow::Error);

impl ServerCertVerifier for NamedServer {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.signed.verify_server_cert(certificate, others, name, ocsp, now)?;
        check_purpose(certificate, &ExtendedKeyPurpose::ServerAuth)?;
        let other = |error| CertificateError::Other(rustls::OtherError(Arc::new(WrongName(error))));
        self.check(certificate).map_err(other)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}
