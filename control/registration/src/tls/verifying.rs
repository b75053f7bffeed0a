//! Verifiers of certificates, by an authority and its revocation lists.

use super::files::CrlExpired;
use super::names::{ForClients, NamedServer};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use std::sync::Arc;

pub(super) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Takes clients whose certificates these authorities have signed, and none of these lists has.
pub(super) fn client_verifier(
    roots: &Arc<RootCertStore>,
    lists: &[CertificateRevocationListDer<'static>],
    expired: CrlExpired,
) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider());
    if !lists.is_empty() {
        builder = builder
            .with_crls(lists.iter().cloned())
            .only_check_end_entity_revocation()
            // Of several authorities only some may have a list.
            .allow_unknown_revocation_status();
        if expired == CrlExpired::Refuse {
            builder = builder.enforce_revocation_expiration();
        }
    }
    Ok(Arc::new(ForClients(builder.build()?)))
}

/// The same of servers; `peer`: who the certificate has to name, on the other side.
pub(super) fn server_verifier(
    roots: &Arc<RootCertStore>,
    lists: &[CertificateRevocationListDer<'static>],
    peer: Option<&str>,
    expired: CrlExpired,
) -> anyhow::Result<NamedServer> {
    let mut builder = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), provider());
    if !lists.is_empty() {
        builder = builder
            .with_crls(lists.iter().cloned())
            .only_check_end_entity_revocation()
            .allow_unknown_revocation_status();
        if expired == CrlExpired::Refuse {
            builder = builder.enforce_revocation_expiration();
        }
    }
    Ok(NamedServer { signed: builder.build()?, peer: peer.map(str::to_owned) })
}
