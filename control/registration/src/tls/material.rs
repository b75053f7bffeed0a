//! What the files hold: this program's certificate and key, and for each authority whom it says that others are.

use super::files::{AuthorityFiles, CrlExpired, TlsFiles};
use super::names::{Named, NamedServer, check_purposes, named};
use super::pem::certificates;
use super::revocation::{self, List, Term};
use super::verifying::{client_verifier, provider, server_verifier};
use anyhow::{Context, anyhow};
use common::private_file;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::fmt;
use std::sync::Arc;

/// HTTP/2, which gRPC runs over.
pub const ALPN: &[u8] = b"h2";

/// What one authority says, and nobody else.
pub(super) struct Realm {
    pub(super) authorities: Vec<CertificateDer<'static>>,
    pub(super) roots: Arc<RootCertStore>,
    lists: Vec<List>,
    /// For new connections.
    clients: Arc<dyn ClientCertVerifier>,
    /// For open ones, which a list that is late does not end.
    open: Arc<dyn ClientCertVerifier>,
}

impl Realm {
    fn load(files: &AuthorityFiles, expired: CrlExpired) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        let authorities = certificates(&files.ca)?;
        for certificate in &authorities {
            let added = roots.add(certificate.clone());
            added.with_context(|| format!("{}: not the certificate of an authority", files.ca.display()))?;
        }
        let lists = match &files.crl {
            Some(path) => revocation::read(path, &files.ca, &authorities)?,
            None => Vec::new(),
        };
        let roots = Arc::new(roots);
        let place = || files.crl.as_ref().unwrap_or(&files.ca).display().to_string();
        let ders = ders(&lists);
        let clients = client_verifier(&roots, &ders, expired).with_context(place)?;
        let open = client_verifier(&roots, &ders, CrlExpired::Warn).with_context(place)?;
        Ok(Self { authorities, roots, lists, clients, open })
    }

    fn server_verifier(&self, peer: Option<&str>, expired: CrlExpired) -> anyhow::Result<NamedServer> {
        server_verifier(&self.roots, &ders(&self.lists), peer, expired)
    }
}

fn ders(lists: &[List]) -> Vec<CertificateRevocationListDer<'static>> {
    lists.iter().map(|list| list.der.clone()).collect()
}

/// The holder that the certificate names, if the verifier's authority has signed it.
fn identify(verifier: &dyn ClientCertVerifier, chain: &[CertificateDer<'_>]) -> anyhow::Result<Named> {
    let (first, others) = chain.split_first().context("no certificate")?;
    verifier.verify_client_cert(first, others, UnixTime::now()).map_err(|e| anyhow!("{e}"))?;
    named(first)
}

/// Shows the certificate to those alone who say that they speak HTTP/2. A client that names no protocol at all would pass
/// otherwise, and talk to a service that understands nothing of what it says.
#[derive(Debug)]
struct ForHttp2(SingleCertAndKey);

impl ResolvesServerCert for ForHttp2 {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let speaks = hello.alpn().is_some_and(|mut protocols| protocols.any(|protocol| protocol == ALPN));
        if speaks { self.0.resolve(hello) } else { None }
    }
}

/// What rustls says when [`ForHttp2`] shows nothing.
pub(super) const NOT_SHOWN: &str = "no server certificate chain resolved";

/// Why a handshake has failed, in the words of who is to mend it.
#[must_use]
pub fn why(error: std::io::Error) -> anyhow::Error {
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::General(text)) if text == NOT_SHOWN => {
            anyhow!("the client does not offer HTTP/2 (no ALPN 'h2'): it is no box and no registrar")
        }
        _ => error.into(),
    }
}

/// All that the files held when they were read.
pub struct Material {
    me: Named,
    pub(super) chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    pub(super) own: Realm,
    peers: Vec<(String, Realm)>,
    server: Arc<ServerConfig>,
    expired: CrlExpired,
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Material({})", self.me)
    }
}

impl Material {
    /// Reads and checks all files.
    ///
    /// # Errors
    /// Each with its file and remedy.
    pub fn load(files: &TlsFiles) -> anyhow::Result<Self> {
        let chain = certificates(&files.certificate)?;
        let place = files.certificate.display();
        let me = chain.first().context("no certificate").and_then(|first| {
            let me = named(first)?;
            check_purposes(first, me.kind)?;
            Ok(me)
        });
        let me = me.with_context(|| place.to_string())?;
        let key_text = private_file::read(&files.key)?;
        let key = PrivateKeyDer::from_pem_slice(key_text.as_bytes())
            .map_err(|_| anyhow!("{}: not a private key in PEM", files.key.display()))?;
        let expired = files.crl_expired;
        let own = Realm::load(&files.own, expired)?;
        let peers = files.peers.iter().map(|(name, f)| Ok((name.clone(), Realm::load(f, expired)?)));
        let peers = peers.collect::<anyhow::Result<Vec<_>>>()?;
        let mut roots = RootCertStore::empty();
        let mut lists = Vec::new();
        for realm in std::iter::once(&own).chain(peers.iter().map(|(_, r)| r)) {
            roots.roots.extend(realm.roots.roots.iter().cloned());
            lists.extend(realm.lists.iter().cloned());
        }
        let lists = revocation::newest_of_each(lists);
        let certified = CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider())
            .with_context(|| format!("{} and {} do not belong together", place, files.key.display()))?;
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(client_verifier(&Arc::new(roots), &ders(&lists), expired)?)
            .with_cert_resolver(Arc::new(ForHttp2(SingleCertAndKey::from(certified))));
        server.alpn_protocols = vec![ALPN.to_vec()];
        // Neither tickets nor early data: a connection is always with a certificate that is good now.
        server.send_tls13_tickets = 0;
        Ok(Self { me, chain, key, own, peers, server: Arc::new(server), expired })
    }

    /// Whom this program's own certificate names.
    #[must_use]
    pub fn me(&self) -> &Named {
        &self.me
    }

    /// For who listens.
    #[must_use]
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    fn realm(&self, peer: Option<&str>) -> anyhow::Result<&Realm> {
        match peer {
            None => Ok(&self.own),
            Some(name) => {
                let found = self.peers.iter().find(|(n, _)| n == name).map(|(_, realm)| realm);
                found.with_context(|| format!("no authority for peer '{name}'"))
            }
        }
    }

    /// For who connects: to a registrar of the own side, or to the primary of this name on the other.
    ///
    /// # Errors
    /// No such peer.
    pub fn client(&self, peer: Option<&str>) -> anyhow::Result<ClientConfig> {
        let verifier = self.realm(peer)?.server_verifier(peer, self.expired)?;
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = rustls::client::Resumption::disabled();
        Ok(client)
    }

    /// Who shows these certificates: a box or registrar of the own side (`peer` is `None`), or the primary of the other
    /// side that `peer` names. Another authority's word does not count, whatever name it writes.
    ///
    /// # Errors
    /// Not signed by that authority, expired, revoked, or naming nobody.
    pub fn identify(&self, peer: Option<&str>, chain: &[CertificateDer<'_>]) -> anyhow::Result<Named> {
        identify(&*self.realm(peer)?.clients, chain)
    }

    /// As [`Material::identify`], of a connection that is open: a list that is late does not end it.
    ///
    /// # Errors
    /// As there.
    pub fn still_good(&self, peer: Option<&str>, chain: &[CertificateDer<'_>]) -> anyhow::Result<Named> {
        identify(&*self.realm(peer)?.open, chain)
    }

    /// Whether the registrar that was reached by this host, and has shown these certificates, would be taken again: of the
    /// own side, or the primary of the other side that `peer` names.
    ///
    /// # Errors
    /// Not signed by the authority that counts now, expired, revoked, for another host, or naming somebody else.
    pub fn still_registrar(&self, peer: Option<&str>, host: &str, chain: &[CertificateDer<'_>]) -> anyhow::Result<()> {
        let (first, others) = chain.split_first().context("no certificate")?;
        let verifier = self.realm(peer)?.server_verifier(peer, CrlExpired::Warn)?;
        let verified = verifier.verify_server_cert(first, others, &server_name(host)?, &[], UnixTime::now());
        verified.map(drop).map_err(|e| anyhow!("{e}"))
    }

    /// An error when a list of the new material is older than the one of the same authority here.
    pub(super) fn is_succeeded_by(&self, new: &Self) -> anyhow::Result<()> {
        revocation::succeeds(&self.own.lists, &new.own.lists, &new.own.authorities)?;
        for (name, realm) in &self.peers {
            let after = new.realm(Some(name))?;
            revocation::succeeds(&realm.lists, &after.lists, &after.authorities)?;
        }
        Ok(())
    }

    /// When the revocation lists in use have to have been replaced: of each file and authority the first.
    #[must_use]
    pub fn terms(&self) -> Vec<Term> {
        let realms = std::iter::once(&self.own).chain(self.peers.iter().map(|(_, realm)| realm));
        let mut terms: Vec<_> = realms.flat_map(|realm| realm.lists.iter().map(List::term)).collect();
        terms.sort_by(|a, b| (&a.file, &a.issuer, a.next_update).cmp(&(&b.file, &b.issuer, b.next_update)));
        terms.dedup_by(|a, b| (&a.file, &a.issuer) == (&b.file, &b.issuer));
        terms
    }
}

/// The name in TLS of a host that is connected to.
///
/// # Errors
/// Neither a host name nor an address.
pub fn server_name(host: &str) -> anyhow::Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned())
        .map_err(|_| anyhow!("'{}' is neither a host name nor an address", host.escape_debug()))
}
