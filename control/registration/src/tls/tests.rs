//! Handshakes in memory, and the authority in a directory that other tests use too.

use super::material::NOT_SHOWN;
use super::pem::certificates;
use super::verifying::provider;
use super::*;
use common::identity::Kind;
use common::private_file;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use tools::pki::Authority;

/// An authority in a temporary directory, and the files of whom it names.
pub(crate) struct Lab {
    pub dir: tempfile::TempDir,
    pub authority: Authority,
}

impl Lab {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let authority = Authority::init(&dir.path().join("pki"), "lab", 10).expect("an authority");
        Self { dir, authority }
    }

    pub fn own(&self) -> AuthorityFiles {
        AuthorityFiles { ca: self.authority.certificate(), crl: Some(self.authority.revocations()) }
    }

    pub fn issue(&mut self, kind: Kind, name: &str) -> TlsFiles {
        let hosts =
            if kind == Kind::Registrar { vec!["localhost".to_owned(), "127.0.0.1".to_owned()] } else { Vec::new() };
        let (issued, key) = self.authority.issue(kind, name, &hosts, 1).expect("issued");
        let (certificate, key_file) =
            (self.dir.path().join(format!("{name}.crt")), self.dir.path().join(format!("{name}.key")));
        private_file::write_new_public(&certificate, issued.pem.as_bytes()).expect("written");
        private_file::write_new(&key_file, key.as_bytes()).expect("written");
        TlsFiles { certificate, key: key_file, own: self.own(), peers: Vec::new(), crl_expired: CrlExpired::Warn }
    }
}

/// A handshake in memory; what each side says about it.
fn handshake(client: ClientConfig, server: &Arc<ServerConfig>, host: &str) -> Result<ServerConnection, String> {
    let mut client =
        ClientConnection::new(Arc::new(client), server_name(host).expect("a host")).map_err(|e| e.to_string())?;
    let mut server = ServerConnection::new(Arc::clone(server)).map_err(|e| e.to_string())?;
    for _ in 0..10 {
        let mut octets = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut octets).map_err(|e| e.to_string())?;
        }
        server.read_tls(&mut &*octets).map_err(|e| e.to_string())?;
        let seen = server.process_new_packets();
        octets.clear();
        while server.wants_write() {
            server.write_tls(&mut octets).map_err(|e| e.to_string())?;
        }
        client.read_tls(&mut &*octets).map_err(|e| e.to_string())?;
        let answered = client.process_new_packets();
        seen.map_err(|e| format!("server: {e}"))?;
        answered.map_err(|e| format!("client: {e}"))?;
    }
    assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    client.writer().write_all(b"x").map_err(|e| e.to_string())?;
    let mut octets = Vec::new();
    client.write_tls(&mut octets).map_err(|e| e.to_string())?;
    server.read_tls(&mut &*octets).map_err(|e| e.to_string())?;
    server.process_new_packets().map_err(|e| e.to_string())?;
    let mut got = [0];
    server.reader().read_exact(&mut got).map_err(|e| e.to_string())?;
    Ok(server)
}

fn load(files: &TlsFiles) -> Material {
    Material::load(files).expect("material")
}

#[test]
fn both_sides_know_each_other() {
    let mut lab = Lab::new();
    let (registrar, node) = (load(&lab.issue(Kind::Registrar, "west")), load(&lab.issue(Kind::Node, "box-a")));
    for host in ["localhost", "127.0.0.1"] {
        let session = handshake(node.client(None).expect("a client"), &registrar.server(), host).expect("a session");
        let named = registrar.identify(None, session.peer_certificates().expect("certificates")).expect("known");
        assert_eq!(named, Named { kind: Kind::Node, name: "box-a".into() });
    }
    let error =
        handshake(node.client(None).expect("a client"), &registrar.server(), "example.net").expect_err("a host");
    assert!(error.contains("not valid for name"), "{error}");
}

#[test]
fn a_wrong_authority_is_refused_by_both_sides() {
    let (mut lab, mut other) = (Lab::new(), Lab::new());
    let (registrar, stranger) = (load(&lab.issue(Kind::Registrar, "west")), other.issue(Kind::Node, "box-a"));
    let error = handshake(load(&stranger).client(None).expect("a client"), &registrar.server(), "localhost")
        .expect_err("unknown");
    assert!(error.contains("client: invalid peer certificate: UnknownIssuer"), "{error}");
    // It trusts the registrar, but is not trusted.
    let stranger = load(&TlsFiles { own: lab.own(), ..stranger });
    let error =
        handshake(stranger.client(None).expect("a client"), &registrar.server(), "localhost").expect_err("unknown");
    assert!(error.contains("server: invalid peer certificate: UnknownIssuer"), "{error}");
}

#[test]
fn a_registrar_of_another_name_is_refused_within_the_handshake() {
    let (mut west, mut east) = (Lab::new(), Lab::new());
    let mut files = west.issue(Kind::Registrar, "west");
    files.peers = vec![("east".into(), east.own())];
    let client = |peer| load(&files).client(peer).expect("a client");
    let servers = [(Kind::Registrar, "east"), (Kind::Registrar, "north")].map(|(kind, name)| {
        let theirs = east.issue(kind, name);
        load(&TlsFiles { peers: vec![("west".into(), west.own())], ..theirs }).server()
    });
    handshake(client(Some("east")), &servers[0], "localhost").expect("who it should be");
    let error = handshake(client(Some("east")), &servers[1], "localhost").expect_err("another");
    assert!(error.contains("names registrar 'north', but registrar 'east' is expected"), "{error}");
    // A box of the own side is no registrar, whoever its name may fit.
    let (issued, key) = west.authority.issue(Kind::Node, "box-a", &[], 1).expect("issued");
    let place = |kind: &str| west.dir.path().join(format!("box-a.{kind}"));
    private_file::write_new_public(&place("crt"), issued.pem.as_bytes()).expect("written");
    private_file::write_new(&place("key"), key.as_bytes()).expect("written");
    let node = load(&TlsFiles { certificate: place("crt"), key: place("key"), ..files.clone() }).server();
    let error = handshake(client(None), &node, "localhost").expect_err("a box");
    assert!(error.starts_with("client: "), "{error}");
}

#[test]
fn an_expired_certificate_is_refused_by_both_sides() {
    let mut lab = Lab::new();
    let (good, node) = (lab.issue(Kind::Registrar, "west"), lab.issue(Kind::Node, "box-a"));
    let mut expired = |kind, files: &TlsFiles, hosts: &[String]| {
        let (issued, key) = lab.authority.issue_expired(kind, "late", hosts).expect("issued");
        let files = TlsFiles {
            certificate: lab.dir.path().join("late.crt"),
            key: lab.dir.path().join("late.key"),
            ..files.clone()
        };
        private_file::replace(&files.certificate, issued.pem.as_bytes(), 0o644).expect("written");
        private_file::replace(&files.key, key.as_bytes(), 0o600).expect("written");
        load(&files)
    };
    let late = expired(Kind::Node, &node, &[]);
    let error =
        handshake(late.client(None).expect("a client"), &load(&good).server(), "localhost").expect_err("expired");
    assert!(error.contains("server: invalid peer certificate: certificate expired"), "{error}");
    let late = expired(Kind::Registrar, &good, &["localhost".to_owned()]);
    let error =
        handshake(load(&node).client(None).expect("a client"), &late.server(), "localhost").expect_err("expired");
    assert!(error.contains("client: invalid peer certificate: certificate expired"), "{error}");
}

#[test]
fn no_certificate_or_an_older_tls_is_refused() {
    let mut lab = Lab::new();
    let registrar = load(&lab.issue(Kind::Registrar, "west"));
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(Arc::clone(&registrar.own.roots))
        .with_no_client_auth();
    client.alpn_protocols = vec![ALPN.to_vec()];
    let error = handshake(client, &registrar.server(), "localhost").expect_err("no certificate");
    assert!(error.contains("peer sent no certificates"), "{error}");
}

#[test]
fn the_other_sides_authority_cannot_name_our_boxes() {
    let (mut west, mut east) = (Lab::new(), Lab::new());
    let mut files = west.issue(Kind::Registrar, "west");
    files.peers.push(("east".into(), east.own()));
    let registrar = load(&files);
    let forged = load(&TlsFiles { own: west.own(), ..east.issue(Kind::Node, "box-a") });
    // In TLS it may connect: the other primary has to. But it is not box-a.
    let session =
        handshake(forged.client(None).expect("a client"), &registrar.server(), "localhost").expect("a session");
    let chain = session.peer_certificates().expect("certificates");
    assert!(registrar.identify(None, chain).is_err());
    assert!(registrar.identify(Some("east"), chain).is_ok());
    assert!(registrar.identify(Some("north"), chain).is_err());
}

#[test]
fn revoked_and_expired_certificates_are_refused_and_files_are_read_again() {
    let mut lab = Lab::new();
    let tls = Tls::load(lab.issue(Kind::Registrar, "west")).expect("material");
    let node = load(&lab.issue(Kind::Node, "box-a"));
    let connect = |tls: &Tls| handshake(node.client(None).expect("a client"), &tls.current().server(), "localhost");
    let session = connect(&tls).expect("a session");
    let chain = session.peer_certificates().expect("certificates").to_vec();
    assert!(!tls.refresh().expect("unchanged"));
    lab.authority.revoke("box-a").expect("revoked");
    assert!(tls.refresh().expect("read again"));
    assert!(connect(&tls).expect_err("revoked").contains("Revoked"));
    assert!(tls.current().identify(None, &chain).expect_err("revoked").to_string().contains("Revoked"));
    // Damaged: said once, and the old material stays.
    let certificate = lab.dir.path().join("west.crt");
    std::fs::write(&certificate, "nonsense").expect("written");
    assert!(tls.refresh().is_err());
    assert!(!tls.refresh().expect("said"));
    assert!(connect(&tls).expect_err("still revoked").contains("Revoked"));
}

#[test]
fn a_renewed_certificate_is_taken_into_use_and_another_name_is_not() {
    let mut lab = Lab::new();
    let files = lab.issue(Kind::Registrar, "west");
    let tls = Tls::load(files.clone()).expect("material");
    let (issued, key) = lab.authority.renew("west", 2).expect("renewed");
    private_file::replace(&files.key, key.as_bytes(), 0o600).expect("written");
    let error = format!("{:#}", tls.refresh().expect_err("half of the pair"));
    assert!(error.contains("do not belong together"), "{error}");
    private_file::replace(&files.certificate, issued.pem.as_bytes(), 0o644).expect("written");
    assert!(tls.refresh().expect("read again"));
    let other = lab.issue(Kind::Registrar, "east");
    std::fs::copy(&other.key, &files.key).expect("copied");
    std::fs::copy(&other.certificate, &files.certificate).expect("copied");
    let error = tls.refresh().expect_err("another name").to_string();
    assert!(error.contains("registrar 'east'") && error.contains("registrar 'west'"), "{error}");
}

#[test]
fn certificates_that_name_nobody_or_several() {
    let certificate = |uris: &[&str]| {
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = uris.iter().map(|u| rcgen::SanType::URI((*u).try_into().expect("a URI"))).collect();
        let key = rcgen::KeyPair::generate().expect("a key");
        named(params.self_signed(&key).expect("signed").der())
    };
    assert_eq!(certificate(&["https://example.net", "pdmv2:node:a"]).expect("named").name, "a");
    for uris in [&[][..], &["pdmv2:node:a", "pdmv2:node:b"], &["pdmv2:host:a"], &["pdmv2:node:"], &["pdmv2:node:a b"]] {
        assert!(certificate(uris).is_err(), "{uris:?}");
    }
    assert!(named(&CertificateDer::from(vec![1, 2, 3])).is_err());
}

/// Every certificate says what it is for, though RFC 5280 lets one without that pass for anything.
#[test]
fn a_certificate_that_is_for_something_else_is_refused_by_both_sides() {
    use rcgen::ExtendedKeyUsagePurpose as Purpose;
    let mut lab = Lab::new();
    let (registrar, node) = (load(&lab.issue(Kind::Registrar, "west")), load(&lab.issue(Kind::Node, "box-a")));
    let certified = |files: &TlsFiles| {
        let key = PrivateKeyDer::from_pem_slice(&std::fs::read(&files.key).expect("a key")).expect("a key");
        let chain = certificates(&files.certificate).expect("certificates");
        Arc::new(SingleCertAndKey::from(CertifiedKey::from_der(chain, key, &provider()).expect("a pair")))
    };
    let wrong = [
        (Kind::Node, Vec::new(), "clientAuth"),
        (Kind::Node, vec![Purpose::ServerAuth], "clientAuth"),
        (Kind::Registrar, Vec::new(), "serverAuth"),
        (Kind::Registrar, vec![Purpose::ClientAuth], "serverAuth"),
    ];
    for (i, (kind, purposes, missing)) in wrong.into_iter().enumerate() {
        lab.authority.purposes = Some(purposes);
        let files = lab.issue(kind, &format!("other-{i}"));
        let error = format!("{:#}", Material::load(&files).expect_err("not for this"));
        assert!(error.contains(&files.certificate.display().to_string()) && error.contains(missing), "{error}");
        let result = if kind == Kind::Node {
            let mut client = node.client(None).expect("a client");
            client.client_auth_cert_resolver = certified(&files);
            handshake(client, &registrar.server(), "localhost")
        } else {
            let mut server = (*registrar.server()).clone();
            server.cert_resolver = certified(&files);
            handshake(node.client(None).expect("a client"), &Arc::new(server), "localhost")
        };
        let (side, purpose) = if kind == Kind::Node { ("server", "client") } else { ("client", "server") };
        let error = result.expect_err("for something else");
        let words =
            format!("{side}: invalid peer certificate: certificate does not allow extended key usage for {purpose}");
        assert!(error.starts_with(&words), "{error}");
    }
}

#[test]
fn a_client_that_does_not_speak_http2_is_refused() {
    let mut lab = Lab::new();
    let (registrar, node) = (load(&lab.issue(Kind::Registrar, "west")), load(&lab.issue(Kind::Node, "box-a")));
    for protocols in [vec![], vec![b"http/1.1".to_vec()]] {
        let mut client = node.client(None).expect("a client");
        client.alpn_protocols = protocols;
        let error = handshake(client, &registrar.server(), "localhost").expect_err("another protocol");
        assert!(error.starts_with("server: "), "{error}");
    }
    // As the log has it.
    let error = std::io::Error::new(std::io::ErrorKind::InvalidData, rustls::Error::General(NOT_SHOWN.to_owned()));
    assert!(why(error).to_string().contains("ALPN 'h2'"));
}
