//! The material as time passes: its files are read again when they change, lists that are late are named, and open
//! connections are looked at again.

use super::files::{CrlExpired, Stamp, TlsFiles};
use super::material::Material;
use super::revocation::{Term, show};
use anyhow::ensure;
use arc_swap::ArcSwap;
use rustls::pki_types::{CertificateDer, UnixTime};
use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Files are looked at so often.
const REFRESH: Duration = Duration::from_secs(2);
/// The certificates of an open connection are looked at so often at least: a clock may have been set.
const RECHECK: Duration = Duration::from_secs(60);
/// That a list is near its end is said so often; and that it is past it.
const SAY_NEAR: Duration = Duration::from_secs(86_400);
const SAY_LATE: Duration = Duration::from_secs(3600);

/// What was last read.
struct Seen {
    stamps: Vec<Stamp>,
    /// Why what has these stamps is not taken. It is tried again all the same: what a file holds is not all that reading it
    /// may fail by.
    failed: Option<String>,
}

/// What was said of a list: that it is near its end, or past it.
struct Said {
    of: Term,
    late: bool,
    at: Instant,
}

/// The material, read again when its files change.
pub struct Tls {
    files: TlsFiles,
    current: ArcSwap<Material>,
    /// How often it has been read.
    changes: watch::Sender<u64>,
    seen: Mutex<Seen>,
    /// By file and authority.
    said: Mutex<HashMap<(PathBuf, String), Said>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls({})", self.current.load().me())
    }
}

fn now() -> i64 {
    UnixTime::now().as_secs().try_into().unwrap_or(i64::MAX)
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// As [`Material::load`].
    pub fn load(files: TlsFiles) -> anyhow::Result<Self> {
        let seen = Mutex::new(Seen { stamps: files.stamps(), failed: None });
        let current = ArcSwap::from_pointee(Material::load(&files)?);
        Ok(Self { files, current, changes: watch::Sender::new(0), seen, said: Mutex::default() })
    }

    /// The present material.
    #[must_use]
    pub fn current(&self) -> Arc<Material> {
        self.current.load_full()
    }

    /// Hears of new material.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Reads the files again when one has changed, or was not taken last time. `Ok(true)`: there is new material.
    ///
    /// # Errors
    /// What is wrong with the new files, once for each change; the old material stays in use.
    pub fn refresh(&self) -> anyhow::Result<bool> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Before they are read: what changes meanwhile is read next time.
        let now = self.files.stamps();
        let same = seen.stamps == now;
        if same && seen.failed.is_none() {
            return Ok(false);
        }
        let result = self.read();
        let failed = result.as_ref().err().map(|error| format!("{error:#}"));
        let said = same && failed == seen.failed;
        *seen = Seen { stamps: now, failed };
        drop(seen);
        match result {
            Ok(material) => {
                self.current.store(Arc::new(material));
                self.changes.send_modify(|n| *n += 1);
                Ok(true)
            }
            Err(_) if said => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn read(&self) -> anyhow::Result<Material> {
        let material = Material::load(&self.files)?;
        let (before, after) = (self.current.load_full(), material.me());
        ensure!(
            before.me() == after,
            "the new certificate names {after}, but this program is {}; restart it",
            before.me()
        );
        before.is_succeeded_by(&material)?;
        Ok(material)
    }

    /// How many seconds each revocation list is still good for; below 0 it is late.
    #[must_use]
    pub fn lists_expire(&self) -> Vec<(PathBuf, i64)> {
        self.current().terms().into_iter().map(|term| (term.file, term.next_update.saturating_sub(now()))).collect()
    }

    /// What is to be said of lists that are near their end, or past it: each once a day, or an hour.
    pub fn late(&self) -> Vec<String> {
        let (terms, now) = (self.current().terms(), now());
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let mut texts = Vec::new();
        for term in terms {
            let left = term.next_update.saturating_sub(now);
            let (late, list) = (left <= 0, (term.file.clone(), term.issuer.clone()));
            if left > term.ahead {
                said.remove(&list);
                continue;
            }
            let pause = if late { SAY_LATE } else { SAY_NEAR };
            let known =
                said.get(&list).is_some_and(|last| last.of == term && last.late == late && last.at.elapsed() < pause);
            if !known {
                texts.push(self.say(&term, late));
                said.insert(list, Said { of: term, late, at: Instant::now() });
            }
        }
        texts
    }

    fn say(&self, term: &Term, late: bool) -> String {
        let (file, until) = (term.file.display(), show(term.next_update));
        let remedy = "put the authority's newest list there ('pdmv2 pki crl' writes one)";
        match (late, self.files.crl_expired) {
            (false, CrlExpired::Warn) => format!("{file}: the revocation list is good until {until}; {remedy}"),
            (false, CrlExpired::Refuse) => format!(
                "{file}: the revocation list is good until {until}, and from then on no new connection is taken ([tls] \
                 crl_expired); {remedy}"
            ),
            (true, CrlExpired::Warn) => format!(
                "{file}: the revocation list has expired ({until}): it stays in use, but who was revoked since is not \
                 known; {remedy}"
            ),
            (true, CrlExpired::Refuse) => format!(
                "{file}: the revocation list has expired ({until}): whom its authority names gets no new connection \
                 ([tls] crl_expired = \"refuse\"); {remedy}"
            ),
        }
    }
}

/// Looks at the files again and again, reads them when they change, and says in the log what is wrong.
pub async fn keep_fresh(tls: Arc<Tls>) -> Infallible {
    loop {
        let looked = Arc::clone(&tls);
        // The files may be on a disk that does not answer: that is not to be in the way of anything else.
        let result = tokio::task::spawn_blocking(move || (looked.refresh(), looked.late())).await;
        if let Ok((refreshed, late)) = result {
            match refreshed {
                Ok(true) => tracing::info!("certificates read again"),
                Ok(false) => {}
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::error!(error, "new certificates are not taken; the old stay in use");
                }
            }
            late.iter().for_each(|text| tracing::warn!("{text}"));
        }
        tokio::time::sleep(REFRESH).await;
    }
}

/// Seconds until the first of the certificates has expired.
fn expires_in(chain: &[CertificateDer<'_>]) -> Option<i64> {
    let ends = chain.iter().filter_map(|c| Some(x509_parser::parse_x509_certificate(c).ok()?.1.validity().not_after));
    ends.map(|end| end.timestamp().saturating_sub(now())).min()
}

/// Waits until the registrar that was reached by `host` would not be taken any more by the certificates that it has shown,
/// and says why: they have expired, or what the files say has changed. An open connection does not notice by itself.
pub async fn until_bad(tls: &Tls, peer: Option<&str>, host: &str, chain: &[CertificateDer<'static>]) -> anyhow::Error {
    let mut changes = tls.changes();
    loop {
        changes.borrow_and_update();
        if let Err(error) = tls.current().still_registrar(peer, host, chain) {
            return error.context("the certificate of the registrar is no longer good");
        }
        let left = expires_in(chain).and_then(|s| u64::try_from(s).ok()).map_or(RECHECK, Duration::from_secs);
        tokio::select! {
            () = tokio::time::sleep(RECHECK.min(left + Duration::from_secs(1))) => {}
            // The sender lives as long as `tls`.
            _ = changes.changed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Lab;
    use super::*;
    use common::identity::Kind;
    use common::private_file;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &std::path::Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
    }

    #[test]
    fn chmod_alone_is_noticed() {
        let mut lab = Lab::new();
        let files = lab.issue(Kind::Registrar, "west");
        let tls = Tls::load(files.clone()).expect("material");
        let (issued, key) = lab.authority.renew("west", 2).expect("renewed");
        std::fs::write(&files.key, key.as_bytes()).expect("written");
        mode(&files.key, 0o644);
        private_file::replace(&files.certificate, issued.pem.as_bytes(), 0o644).expect("written");
        let error = format!("{:#}", tls.refresh().expect_err("open to others"));
        assert!(error.contains("chmod 600"), "{error}");
        assert!(!tls.refresh().expect("said"));
        mode(&files.key, 0o600);
        assert!(tls.refresh().expect("read again"), "nothing but the mode has changed");
        let before = tls.changes().borrow().to_owned();
        assert!(!tls.refresh().expect("nothing new"));
        assert_eq!(*tls.changes().borrow(), before);
    }

    /// The file is as it was, and what was in the way of reading it is gone: no descriptors, say.
    #[test]
    fn what_could_not_be_read_is_tried_again() {
        let mut lab = Lab::new();
        let tls = Tls::load(lab.issue(Kind::Registrar, "west")).expect("material");
        assert!(!tls.refresh().expect("nothing new"));
        tls.seen.lock().expect("seen").failed = Some("out of descriptors".to_owned());
        assert!(tls.refresh().expect("read again"));
        assert!(!tls.refresh().expect("nothing new"));
    }

    #[test]
    fn lists_near_their_end_and_past_it_are_named_once() {
        let mut lab = Lab::new();
        let files = lab.issue(Kind::Registrar, "west");
        for (expired, words) in [(CrlExpired::Warn, "has expired"), (CrlExpired::Refuse, "gets no new connection")] {
            lab.authority.relist(1).expect("a list");
            let tls = Tls::load(TlsFiles { crl_expired: expired, ..files.clone() }).expect("material");
            assert!(tls.late().is_empty(), "a list of a day has most of it left");
            assert!(tls.lists_expire()[0].1 > 80_000);
            lab.authority.relist_expired().expect("a list");
            assert!(tls.refresh().expect("newer, and late"));
            let said = tls.late();
            assert!(said.len() == 1 && said[0].contains("ca.crl") && said[0].contains(words), "{said:?}");
            assert!(tls.late().is_empty(), "said once");
            assert!(tls.lists_expire()[0].1 < 0);
        }
    }

    #[test]
    fn an_open_connection_ends_when_the_registrar_is_revoked() {
        let mut lab = Lab::new();
        let registrar = Tls::load(lab.issue(Kind::Registrar, "west")).expect("material");
        let node = Tls::load(lab.issue(Kind::Node, "box-a")).expect("material");
        let chain = registrar.current().chain.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let bad = until_bad(&node, None, "localhost", &chain);
            tokio::pin!(bad);
            tokio::select! {
                biased;
                error = &mut bad => panic!("{error:#}"),
                () = std::future::ready(()) => {}
            }
            lab.authority.revoke("west").expect("revoked");
            assert!(node.refresh().expect("read again"));
            let error = format!("{:#}", bad.await);
            assert!(error.contains("no longer good") && error.contains("evoked"), "{error}");
            // Another name than the one that is configured, another host, another authority.
            let registrar = Tls::load(lab.issue(Kind::Registrar, "north")).expect("material").current().chain.clone();
            let material = node.current();
            material.still_registrar(None, "localhost", &registrar).expect("good");
            for (peer, host) in [(None, "example.net"), (Some("east"), "localhost")] {
                assert!(material.still_registrar(peer, host, &registrar).is_err(), "{peer:?} {host}");
            }
        });
    }
}
