//! The authority's files: `ca.crt`, `ca.key`, `ca.crl`, and `index.json`, which lists what was issued.

use super::certificate;
use anyhow::{Context, bail, ensure};
use common::identity;
use common::identity::Kind;
use common::private_file;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams, SanType, SerialNumber,
};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

/// Clocks differ: a certificate is good from a little before it was made.
const BACKDATED: Duration = Duration::hours(1);
/// Days until the next revocation list at the latest, unless told; it is replaced with every revocation.
pub(super) const CRL_DAYS: u32 = 365;

/// A certificate as the index keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issued {
    /// Serial number, hex.
    pub serial: String,
    /// Whom it names.
    pub kind: Kind,
    /// By this name.
    pub name: String,
    /// Host names and addresses.
    pub hosts: Vec<String>,
    /// Good until then, seconds since 1970.
    pub expires: i64,
    /// Revoked then, seconds since 1970.
    pub revoked: Option<i64>,
    /// The certificate; not kept in the index.
    #[serde(skip)]
    pub pem: String,
    /// `expires` for people.
    #[serde(skip)]
    pub not_after: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    /// Number of the revocation list last written.
    crl_number: u64,
    issued: Vec<Issued>,
}

/// A certification authority in a directory.
pub struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    index: Index,
    /// What the certificates that it issues are for, when that is not what they should be.
    #[cfg(any(test, feature = "testing"))]
    pub purposes: Option<Vec<ExtendedKeyUsagePurpose>>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.dir.display())
    }
}

/// What an authority of this name says of itself.
fn of_authority(name: String) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn serial() -> anyhow::Result<Vec<u8>> {
    // RFC 5280 section 4.1.2.2: positive, at most 20 octets.
    let mut serial = private_file::random()?[..16].to_vec();
    serial[0] = serial[0] & 0x7F | 0x40;
    Ok(serial)
}

fn show(moment: OffsetDateTime) -> String {
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    moment.format(format).unwrap_or_else(|_| moment.unix_timestamp().to_string())
}

impl Authority {
    /// Where its certificate is.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// Where its key is.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.dir.join("ca.key")
    }

    /// Where its revocation list is.
    #[must_use]
    pub fn revocations(&self) -> PathBuf {
        self.dir.join("ca.crl")
    }

    fn index_path(&self) -> PathBuf {
        self.dir.join("index.json")
    }

    /// Makes a new one; the directory must be empty or not there.
    ///
    /// # Errors
    /// There is something in the directory, or it cannot be written.
    pub fn init(dir: &Path, name: &str, days: u32) -> anyhow::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let place = dir.display();
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("cannot make {place}"))?;
        let mut entries = std::fs::read_dir(dir).with_context(|| format!("cannot look into {place}"))?;
        ensure!(entries.next().is_none(), "{place} is not empty and stays as it is; choose another --dir");
        ensure!((1..=64).contains(&name.len()), "--name has 1 to 64 characters");
        // Unique: authorities of one name, one on each side, would be taken for each other (revocation lists go by it).
        let tag = private_file::random()?;
        let mut params = of_authority(format!("{name} {}", hex::encode(&tag[..4])));
        params.serial_number = Some(SerialNumber::from_slice(&serial()?));
        params.not_before = now() - BACKDATED;
        params.not_after = now() + Duration::days(days.into());
        let key = KeyPair::generate().context("cannot make a key")?;
        let certificate = params.self_signed(&key).context("cannot make the authority's certificate")?;
        let key_text = Zeroizing::new(key.serialize_pem());
        let mut this = Self {
            dir: dir.to_owned(),
            issuer: Issuer::new(params, key),
            index: Index::default(),
            #[cfg(any(test, feature = "testing"))]
            purposes: None,
        };
        private_file::write_new(&this.key(), key_text.as_bytes())?;
        private_file::write_new_public(&this.certificate(), certificate.pem().as_bytes())?;
        this.write_revocations(Duration::days(CRL_DAYS.into()))?;
        this.write_index()?;
        Ok(this)
    }

    /// Opens one that was made by [`Authority::init`].
    ///
    /// # Errors
    /// A file is missing, damaged, or readable by others.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        let file = |name: &str| dir.join(name);
        let certificate = std::fs::read_to_string(file("ca.crt")).with_context(|| {
            format!("{}: no authority there; 'pdmv2 pki init --dir DIR' makes one", file("ca.crt").display())
        })?;
        let key = private_file::read(&file("ca.key"))?;
        let key =
            KeyPair::from_pem(&key).with_context(|| format!("{}: not a private key", file("ca.key").display()))?;
        let name = certificate::common_name(&certificate)
            .with_context(|| format!("{}: not the authority's certificate", file("ca.crt").display()))?;
        let issuer = Issuer::new(of_authority(name), key);
        let place = file("index.json");
        let index = std::fs::read(&place).with_context(|| {
            format!("{}: cannot be read; without it nothing can be revoked, bring it back", place.display())
        })?;
        let index = serde_json::from_slice(&index).with_context(|| format!("{}: damaged", place.display()))?;
        Ok(Self {
            dir: dir.to_owned(),
            issuer,
            index,
            #[cfg(any(test, feature = "testing"))]
            purposes: None,
        })
    }

    /// Issues a certificate with a key of its own, which is returned as PEM.
    ///
    /// # Errors
    /// A name that is none or has been given, a registrar without hosts, a full disk.
    pub fn issue(
        &mut self,
        kind: Kind,
        name: &str,
        hosts: &[String],
        days: u32,
    ) -> anyhow::Result<(Issued, Zeroizing<String>)> {
        if let Err(message) = identity::check_name(name) {
            bail!("{message}; {}", identity::NAME_REMEDY);
        }
        match kind {
            Kind::Registrar => {
                ensure!(!hosts.is_empty(), "a registrar needs --host: what boxes and the other registrar reach it by");
            }
            Kind::Node => ensure!(hosts.is_empty(), "--host is for registrars: nothing connects to a box"),
        }
        if let Some(other) = self.index.issued.iter().find(|i| i.name == name && i.revoked.is_none()) {
            bail!(
                "'{name}' has a certificate already (serial {}); 'pdmv2 pki renew {name}' makes a new one, 'pdmv2 pki \
                 revoke {name}' ends it",
                other.serial
            );
        }
        self.sign(kind, name, hosts, Duration::days(days.into()))
    }

    /// Issues a new certificate, and a new key, in place of the last of this name.
    ///
    /// # Errors
    /// There is none, or it was revoked.
    pub fn renew(&mut self, name: &str, days: u32) -> anyhow::Result<(Issued, Zeroizing<String>)> {
        let last = self.index.issued.iter().rev().find(|i| i.name == name).cloned();
        let last = last.with_context(|| {
            format!("no certificate of '{name}' in {}; 'pdmv2 pki issue' makes one", self.dir.display())
        })?;
        ensure!(last.revoked.is_none(), "the certificate of '{name}' was revoked; 'pdmv2 pki issue' makes a new one");
        self.sign(last.kind, name, &last.hosts, Duration::days(days.into()))
    }

    /// One that has expired already.
    #[cfg(any(test, feature = "testing"))]
    pub fn issue_expired(
        &mut self,
        kind: Kind,
        name: &str,
        hosts: &[String],
    ) -> anyhow::Result<(Issued, Zeroizing<String>)> {
        self.sign(kind, name, hosts, -BACKDATED / 2)
    }

    fn sign(
        &mut self,
        kind: Kind,
        name: &str,
        hosts: &[String],
        good_for: Duration,
    ) -> anyhow::Result<(Issued, Zeroizing<String>)> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names.push(SanType::URI(kind.uri(name).try_into().context("the name")?));
        for host in hosts {
            params.subject_alt_names.push(match host.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => {
                    let plain = !host.is_empty()
                        && host.len() <= 253
                        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
                    ensure!(plain, "'{}' is neither a host name nor an address", host.escape_debug());
                    SanType::DnsName(host.as_str().try_into().context("the host name")?)
                }
            });
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match kind {
            Kind::Node => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Kind::Registrar => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        };
        #[cfg(any(test, feature = "testing"))]
        if let Some(purposes) = &self.purposes {
            params.extended_key_usages.clone_from(purposes);
        }
        params.use_authority_key_identifier_extension = true;
        let serial = serial()?;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.not_before = now() - BACKDATED;
        params.not_after = now() + good_for;
        let not_after = params.not_after;
        let key = KeyPair::generate().context("cannot make a key")?;
        let certificate = params.signed_by(&key, &self.issuer).context("cannot sign")?;
        let issued = Issued {
            serial: hex::encode(serial),
            kind,
            name: name.to_owned(),
            hosts: hosts.to_vec(),
            expires: not_after.unix_timestamp(),
            revoked: None,
            pem: certificate.pem(),
            not_after: show(not_after),
        };
        self.index.issued.push(issued.clone());
        // Before anybody has the certificate: what is not in the index cannot be revoked.
        self.write_index()?;
        Ok((issued, Zeroizing::new(key.serialize_pem())))
    }

    /// Puts every certificate of this name on the revocation list; says how many.
    ///
    /// # Errors
    /// There is none that is not revoked, or the list cannot be written.
    pub fn revoke(&mut self, name: &str) -> anyhow::Result<usize> {
        let moment = now().unix_timestamp();
        let mut count = 0;
        for issued in self.index.issued.iter_mut().filter(|i| i.name == name && i.revoked.is_none()) {
            issued.revoked = Some(moment);
            count += 1;
        }
        ensure!(count > 0, "no certificate of '{name}' in {} that is not revoked", self.dir.display());
        self.write_revocations(Duration::days(CRL_DAYS.into()))?;
        self.write_index()?;
        Ok(count)
    }

    /// Writes the list anew, with nobody more on it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn relist(&mut self, days: u32) -> anyhow::Result<()> {
        self.write_revocations(Duration::days(days.into()))?;
        self.write_index()
    }

    /// One that has expired already.
    #[cfg(any(test, feature = "testing"))]
    pub fn relist_expired(&mut self) -> anyhow::Result<()> {
        self.write_revocations(-BACKDATED / 2)?;
        self.write_index()
    }

    fn write_index(&self) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(&self.index).context("the index")?;
        private_file::replace(&self.index_path(), &text, 0o600)
    }

    fn write_revocations(&mut self, good_for: Duration) -> anyhow::Result<()> {
        self.index.crl_number += 1;
        let revoked_certs = self.index.issued.iter().filter_map(|issued| {
            let moment = OffsetDateTime::from_unix_timestamp(issued.revoked?).ok()?;
            Some(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&hex::decode(&issued.serial).ok()?),
                revocation_time: moment,
                reason_code: Some(RevocationReason::CessationOfOperation),
                invalidity_date: None,
            })
        });
        let params = CertificateRevocationListParams {
            this_update: now() - BACKDATED,
            next_update: now() + good_for,
            crl_number: SerialNumber::from(self.index.crl_number),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).context("cannot sign the revocation list")?;
        let text = list.pem().context("cannot write the revocation list")?;
        private_file::replace(&self.revocations(), text.as_bytes(), 0o644)
    }
}
