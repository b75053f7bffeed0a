//! TLS 1.3 between registrars and boxes, both sides with certificates. Whom a certificate names, and which authority
//! says so, is checked here; the files are read again when they change.

mod names;

use crate::private_file;
use anyhow::{Context, anyhow, ensure};
use arc_swap::ArcSwap;
use names::NamedServer;
pub use names::{Named, named};
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// HTTP/2, which gRPC runs over.
const ALPN: &[u8] = b"h2";
/// Octets that a file of certificates or revocations may have.
const MAX_FILE: u64 = 16 << 20;

/// An authority whose certificates are taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthorityFiles {
    /// Its certificate, or several.
    pub ca: PathBuf,
    /// Its revocation list.
    pub crl: Option<PathBuf>,
}

/// The files of one program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// This program's certificate, and those between it and the authority.
    pub certificate: PathBuf,
    /// Its private key, mode 0600.
    pub key: PathBuf,
    /// The authority of its own side: of the boxes and of their registrars.
    pub own: AuthorityFiles,
    /// Those of the other primaries, by the primaries' names.
    pub peers: Vec<(String, AuthorityFiles)>,
}

impl TlsFiles {
    fn all(&self) -> impl Iterator<Item = &Path> {
        let authorities = std::iter::once(&self.own).chain(self.peers.iter().map(|(_, a)| a));
        let theirs = authorities.flat_map(|a| std::iter::once(a.ca.as_path()).chain(a.crl.as_deref()));
        [self.certificate.as_path(), self.key.as_path()].into_iter().chain(theirs)
    }

    /// What tells whether a file has changed.
    fn stamps(&self) -> Vec<(u64, u64, i64, i64)> {
        let stamp = |path: &Path| {
            let m = std::fs::metadata(path).ok();
            m.map_or((0, 0, 0, 0), |m| (m.ino(), m.len(), m.mtime(), m.mtime_nsec()))
        };
        self.all().map(stamp).collect()
    }
}

/// What one authority says, and nobody else.
struct Realm {
    roots: Arc<RootCertStore>,
    crls: Vec<CertificateRevocationListDer<'static>>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Realm {
    fn load(files: &AuthorityFiles) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&files.ca)? {
            let added = roots.add(certificate);
            added.with_context(|| format!("{}: not the certificate of an authority", files.ca.display()))?;
        }
        let crls = match &files.crl {
            Some(path) => revocations(path)?,
            None => Vec::new(),
        };
        let roots = Arc::new(roots);
        let clients = client_verifier(&roots, &crls).with_context(|| format!("{}", files.ca.display()))?;
        Ok(Self { roots, crls, clients })
    }

    /// Whom the certificate names, if this authority says so.
    fn identify(&self, chain: &[CertificateDer<'_>]) -> anyhow::Result<Named> {
        let (first, others) = chain.split_first().context("no certificate")?;
        self.clients.verify_client_cert(first, others, UnixTime::now()).map_err(|e| anyhow!("{e}"))?;
        named(first)
    }
}

fn client_verifier(
    roots: &Arc<RootCertStore>,
    crls: &[CertificateRevocationListDer<'static>],
) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider());
    if !crls.is_empty() {
        builder = builder
            .with_crls(crls.iter().cloned())
            .only_check_end_entity_revocation()
            // Of several authorities only some may have a list.
            .allow_unknown_revocation_status();
    }
    Ok(builder.build()?)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn small(path: &Path) -> anyhow::Result<()> {
    let len = std::fs::metadata(path).with_context(|| format!("{}: cannot be read", path.display()))?.len();
    ensure!(len <= MAX_FILE, "{}: more than {MAX_FILE} octets; name the right file", path.display());
    Ok(())
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    small(path)?;
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let list = read.with_context(|| format!("{}: not PEM", path.display()))?;
    ensure!(!list.is_empty(), "{}: no certificate in it", path.display());
    Ok(list)
}

fn revocations(path: &Path) -> anyhow::Result<Vec<CertificateRevocationListDer<'static>>> {
    small(path)?;
    let read = CertificateRevocationListDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let list = read.with_context(|| format!("{}: not PEM", path.display()))?;
    ensure!(!list.is_empty(), "{}: no revocation list in it", path.display());
    Ok(list)
}

/// All that the files hold, at one moment.
pub struct Material {
    me: Named,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    own: Realm,
    peers: Vec<(String, Realm)>,
    server: Arc<ServerConfig>,
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
        let me = chain.first().context("no certificate").and_then(named).with_context(|| place.to_string())?;
        let key_text = private_file::read(&files.key)?;
        let key = PrivateKeyDer::from_pem_slice(key_text.as_bytes())
            .map_err(|_| anyhow!("{}: not a private key in PEM", files.key.display()))?;
        let own = Realm::load(&files.own)?;
        let peers = files.peers.iter().map(|(name, f)| Ok((name.clone(), Realm::load(f)?)));
        let peers = peers.collect::<anyhow::Result<Vec<_>>>()?;
        let mut roots = RootCertStore::empty();
        let mut crls = Vec::new();
        for realm in std::iter::once(&own).chain(peers.iter().map(|(_, r)| r)) {
            roots.roots.extend(realm.roots.roots.iter().cloned());
            crls.extend(realm.crls.iter().cloned());
        }
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(client_verifier(&Arc::new(roots), &crls)?)
            .with_single_cert(chain.clone(), key.clone_key())
            .with_context(|| format!("{} and {} do not belong together", place, files.key.display()))?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        // Neither tickets nor early data: a connection is always with a certificate that is good now.
        server.send_tls13_tickets = 0;
        Ok(Self { me, chain, key, own, peers, server: Arc::new(server) })
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
        let realm = self.realm(peer)?;
        let mut builder = WebPkiServerVerifier::builder_with_provider(Arc::clone(&realm.roots), provider());
        if !realm.crls.is_empty() {
            builder = builder
                .with_crls(realm.crls.iter().cloned())
                .only_check_end_entity_revocation()
                .allow_unknown_revocation_status();
        }
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(NamedServer {
                signed: builder.build()?,
                peer: peer.map(str::to_owned),
            }))
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
        self.realm(peer)?.identify(chain)
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

/// The material, read again when its files change.
pub struct Tls {
    files: TlsFiles,
    current: ArcSwap<Material>,
    stamps: Mutex<Vec<(u64, u64, i64, i64)>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls({})", self.current.load().me)
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// As [`Material::load`].
    pub fn load(files: TlsFiles) -> anyhow::Result<Self> {
        let stamps = Mutex::new(files.stamps());
        let current = ArcSwap::from_pointee(Material::load(&files)?);
        Ok(Self { files, current, stamps })
    }

    /// The present material.
    #[must_use]
    pub fn current(&self) -> Arc<Material> {
        self.current.load_full()
    }

    /// Reads the files again when one has changed. `Ok(true)`: there is new material.
    ///
    /// # Errors
    /// What is wrong with the new files, once for each change; the old material stays in use.
    pub fn refresh(&self) -> anyhow::Result<bool> {
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.files.stamps();
        if *stamps == now {
            return Ok(false);
        }
        *stamps = now;
        drop(stamps);
        let material = Material::load(&self.files)?;
        let (before, after) = (self.current.load_full(), &material.me);
        ensure!(
            before.me == *after,
            "the new certificate names {after}, but this program is {}; restart it",
            before.me
        );
        self.current.store(Arc::new(material));
        Ok(true)
    }
}

#[cfg(test)]
pub(crate) mod tests;
