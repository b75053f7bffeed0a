//! Several registrars of one side on one etcd: who leads. A lease, and a key that lives as long as it, made only when there
//! is none. The key's revision names the term: whatever a leader writes holds only while the key has it.
//!
//! All that talks to etcd runs in a runtime of its own: who waits for a write waits with a lock held, and the lease is
//! renewed all the same.

use crate::leadership::Leader;
use crate::store::in_etcd::{Commit, Outcome, Place};
use anyhow::{Context, anyhow};
use common::private_file;
use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, DeleteOptions, GetOptions, PutOptions, SortOrder, SortTarget,
    TlsOptions, Txn, TxnOp, TxnOpResponse,
};
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tonic::transport::{Certificate, Identity};

/// Key of the leader, below the prefix.
const LEADER: &str = "leader";
/// A lease is renewed so often within its time.
const RENEWALS: u32 = 6;
/// How long a follower waits between looks at who leads.
pub const LOOK: Duration = Duration::from_millis(250);

/// How this registrar uses etcd.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EtcdConfig {
    /// URLs, tried in turn.
    pub endpoints: Vec<String>,
    /// What its keys begin with; ends with `/`.
    pub prefix: String,
    /// This registrar among those of its side.
    pub member: String,
    /// Host and port that its fellows reach it by.
    pub address: (String, u16),
    /// Another leads after a leader has been silent for so long.
    pub ttl: Duration,
    /// How long an endpoint is waited for.
    pub timeout: Duration,
    /// Etcd's authority; without it there is no TLS.
    pub ca: Option<PathBuf>,
    /// Certificate and key that etcd is shown.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// User, and the file of its password.
    pub user: Option<(String, PathBuf)>,
}

/// What came of an attempt to lead.
#[derive(Debug)]
pub enum Standing {
    /// This one leads.
    Leads(Arc<Term>),
    /// Another does; `None`: nobody for certain.
    Follows(Option<Leader>),
}

/// A time of leading.
#[derive(Debug)]
pub struct Term {
    /// Revision of the leader's key.
    revision: i64,
    lease: i64,
    /// Until then no other can lead: the lease's time since the last renewal that was answered was *sent*.
    until: Mutex<Instant>,
    over: AtomicBool,
}

impl Term {
    /// Whether this process leads for certain, at this moment.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
            && Instant::now() < *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is over, for good.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// A connection to etcd, by whichever endpoint answers.
pub struct Etcd {
    config: EtcdConfig,
    options: ConnectOptions,
    /// The endpoint in use, by its number.
    client: tokio::sync::Mutex<(usize, Option<Client>)>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Etcd({:?}, redacted)", self.config.endpoints)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Etcd {
    /// Reads the files; connects when it is first asked.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn new(config: EtcdConfig) -> anyhow::Result<Arc<Self>> {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(config.timeout)
            .with_timeout(config.timeout)
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if let Some((user, file)) = &config.user {
            options = options.with_user(user.clone(), private_file::read(file)?.trim());
        }
        if let Some(ca) = &config.ca {
            let pem = std::fs::read(ca).with_context(|| format!("{}: cannot be read", ca.display()))?;
            let mut tls = TlsOptions::new().ca_certificate(Certificate::from_pem(pem));
            if let Some((certificate, key)) = &config.identity {
                let chain =
                    std::fs::read(certificate).with_context(|| format!("{}: cannot be read", certificate.display()))?;
                tls = tls.identity(Identity::from_pem(chain, private_file::read(key)?.as_bytes()));
            }
            options = options.with_tls(tls);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("etcd")
            .enable_all()
            .build()
            .context("cannot start")?;
        Ok(Arc::new(Self { config, options, client: tokio::sync::Mutex::new((0, None)), runtime: Some(runtime) }))
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.config.prefix)
    }

    fn me(&self) -> Leader {
        let (host, port) = self.config.address.clone();
        Leader { member: self.config.member.clone(), host, port }
    }

    fn handle(&self) -> anyhow::Result<&tokio::runtime::Handle> {
        Ok(self.runtime.as_ref().context("etcd is not used any more")?.handle())
    }

    /// Asks one endpoint after the other, each for `timeout` at most, beginning with the one that answered last.
    async fn call<T, F>(&self, what: impl Fn(Client) -> F) -> anyhow::Result<T>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let mut failed = anyhow!("no endpoints");
        for _ in 0..self.config.endpoints.len() {
            let (number, client) = {
                let guard = self.client.lock().await;
                (guard.0, guard.1.clone())
            };
            let endpoint = &self.config.endpoints[number % self.config.endpoints.len()];
            let asked = async {
                let client = match client {
                    Some(client) => client,
                    None => {
                        let client = Client::connect([endpoint], Some(self.options.clone())).await?;
                        let mut guard = self.client.lock().await;
                        if guard.0 == number {
                            guard.1 = Some(client.clone());
                        }
                        client
                    }
                };
                what(client).await
            };
            failed = match tokio::time::timeout(self.config.timeout, asked).await {
                Ok(Ok(answer)) => return Ok(answer),
                // Its text leaves out what is behind it: the certificate, say, that was refused.
                Ok(Err(etcd_client::Error::TransportError(error))) => anyhow!(error).context(endpoint.clone()),
                Ok(Err(error)) => anyhow!("{endpoint}: {error}"),
                Err(_) => anyhow!("{endpoint}: no answer within {} ms", self.config.timeout.as_millis()),
            };
            let mut guard = self.client.lock().await;
            if guard.0 == number {
                *guard = ((number + 1) % self.config.endpoints.len(), None);
            }
        }
        Err(failed)
    }

    /// Runs it where etcd is talked to, and waits.
    fn wait<T: Send + 'static>(
        &self,
        what: impl Future<Output = anyhow::Result<T>> + Send + 'static,
    ) -> anyhow::Result<T> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        self.handle()?.spawn(async move {
            let _ = sender.send(what.await); // who waited has given up
        });
        receiver.recv().context("etcd is not used any more")?
    }

    /// Tries to lead, unless another does.
    ///
    /// # Errors
    /// Etcd does not answer, or has no quorum.
    pub async fn campaign(self: &Arc<Self>) -> anyhow::Result<Standing> {
        let this = Arc::clone(self);
        self.handle()?.spawn(async move { this.try_to_lead().await }).await.context("etcd")?
    }

    /// Looks who leads, and does not try to.
    ///
    /// # Errors
    /// As [`Etcd::campaign`].
    pub async fn look(self: &Arc<Self>) -> anyhow::Result<Standing> {
        let this = Arc::clone(self);
        let leader = self.handle()?.spawn(async move { this.leader().await }).await.context("etcd")??;
        Ok(Standing::Follows(leader))
    }

    async fn leader(&self) -> anyhow::Result<Option<Leader>> {
        let key = self.key(LEADER);
        let got = self
            .call(|mut c| {
                let key = key.clone();
                async move { c.get(key, None).await }
            })
            .await?;
        let leader = got.kvs().first().map(|kv| serde_json::from_slice(kv.value())).transpose();
        leader.with_context(|| {
            format!(
                "'{key}' is not what a registrar writes; 'etcdctl del {key}', and give [etcd] prefix a place of its own"
            )
        })
    }

    async fn try_to_lead(self: Arc<Self>) -> anyhow::Result<Standing> {
        if let Some(leader) = self.leader().await? {
            return Ok(Standing::Follows(Some(leader)));
        }
        let seconds = self.config.ttl.as_secs() as i64;
        let sent = Instant::now();
        let lease = self.call(|mut c| async move { c.lease_grant(seconds, None).await }).await?.id();
        let (key, me) = (self.key(LEADER), serde_json::to_vec(&self.me())?);
        let txn = Txn::new().when([Compare::create_revision(key.clone(), CompareOp::Equal, 0)]).and_then([TxnOp::put(
            key,
            me,
            Some(PutOptions::new().with_lease(lease)),
        )]);
        let done = self
            .call(|mut c| {
                let txn = txn.clone();
                async move { c.txn(txn).await }
            })
            .await;
        match done {
            Ok(done) if done.succeeded() => {
                let revision = done.header().context("an answer of etcd without a revision")?.revision();
                let until = Mutex::new(sent + self.config.ttl);
                let term = Arc::new(Term { revision, lease, until, over: AtomicBool::new(false) });
                tokio::spawn(Arc::clone(&self).renew(Arc::clone(&term)));
                Ok(Standing::Leads(term))
            }
            other => {
                // It may have been done: the lease takes the key with it.
                let _ = self.call(|mut c| async move { c.lease_revoke(lease).await }).await;
                other?;
                Ok(Standing::Follows(self.leader().await?))
            }
        }
    }

    /// Renews the lease until the term is over.
    async fn renew(self: Arc<Self>, term: Arc<Term>) {
        while term.holds() {
            tokio::time::sleep(self.config.ttl / RENEWALS).await;
            let sent = Instant::now();
            let lease = term.lease;
            match self.call(|mut c| async move { c.lease_keep_alive(lease).await }).await {
                Ok(_) => *term.until.lock().unwrap_or_else(PoisonError::into_inner) = sent + self.config.ttl,
                Err(error) => tracing::warn!(error = format!("{error:#}"), "the leader's lease is not renewed"),
            }
        }
        term.end();
    }

    /// Lets another lead at once.
    pub async fn resign(self: &Arc<Self>, term: &Term) {
        term.end();
        let (this, lease) = (Arc::clone(self), term.lease);
        if let Ok(handle) = self.handle() {
            let gone = handle.spawn(async move { this.call(|mut c| async move { c.lease_revoke(lease).await }).await });
            let _ = gone.await; // else it ends by itself
        }
    }

    async fn commit(&self, term: &Term, manifest: i64, commit: &Commit) -> anyhow::Result<Outcome> {
        let (leader, place) = (self.key(LEADER), self.key("manifest"));
        let mut ops: Vec<_> = commit.puts.iter().map(|(n, v)| TxnOp::put(self.key(n), v.clone(), None)).collect();
        if let Some((from, below)) = &commit.delete {
            ops.push(TxnOp::delete(self.key(from), Some(DeleteOptions::new().with_range(self.key(below)))));
        }
        let txn = Txn::new()
            .when([
                Compare::create_revision(leader.clone(), CompareOp::Equal, term.revision),
                Compare::mod_revision(place.clone(), CompareOp::Equal, manifest),
            ])
            .and_then(ops)
            .or_else([TxnOp::get(leader, None), TxnOp::get(place, None)]);
        let done = self
            .call(|mut c| {
                let txn = txn.clone();
                async move { c.txn(txn).await }
            })
            .await?;
        if done.succeeded() {
            return Ok(Outcome::Done(done.header().context("an answer of etcd without a revision")?.revision()));
        }
        let first = |r: &TxnOpResponse| match r {
            TxnOpResponse::Get(got) => got.kvs().first().cloned(),
            _ => None,
        };
        let found: Vec<_> = done.op_responses().iter().map(first).collect();
        match found.as_slice() {
            [Some(leader), Some(manifest)] if leader.create_revision() == term.revision => {
                Ok(Outcome::Differs(manifest.mod_revision(), manifest.value().to_vec()))
            }
            _ => Ok(Outcome::Deposed),
        }
    }
}

/// Etcd during a term.
#[derive(Clone, Debug)]
pub struct Leading {
    /// Etcd.
    pub etcd: Arc<Etcd>,
    /// The term.
    pub term: Arc<Term>,
}

impl Place for Leading {
    fn name(&self) -> String {
        format!("etcd {}", self.etcd.config.prefix)
    }

    fn holds(&self) -> bool {
        self.term.holds()
    }

    fn commit(&self, manifest: i64, commit: &Commit) -> Result<Outcome, String> {
        let (this, commit) = (self.clone(), commit.clone());
        let done = self.etcd.wait(async move { this.etcd.commit(&this.term, manifest, &commit).await });
        done.map_err(|e| format!("{e:#}"))
    }

    fn read(&self, from: &str, below: &str, limit: i64) -> Result<Vec<(String, Vec<u8>, i64)>, String> {
        let (etcd, from, below) = (Arc::clone(&self.etcd), self.etcd.key(from), self.etcd.key(below));
        let got = self.etcd.wait(async move {
            let options =
                GetOptions::new().with_range(below).with_limit(limit).with_sort(SortTarget::Key, SortOrder::Ascend);
            etcd.call(|mut c| {
                let (from, options) = (from.clone(), options.clone());
                async move { c.get(from, Some(options)).await }
            })
            .await
        });
        let mut got = got.map_err(|e| format!("{e:#}"))?;
        let prefix = &self.etcd.config.prefix;
        let kvs = got.take_kvs().into_iter().map(|kv| {
            let name = String::from_utf8_lossy(kv.key()).into_owned();
            (name.strip_prefix(prefix).unwrap_or(&name).to_owned(), kv.value().to_vec(), kv.mod_revision())
        });
        Ok(kvs.collect())
    }
}
