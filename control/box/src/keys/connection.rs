//! A box's connection to its registrars: it registers with one of them, takes the keys that come, and tries the next when
//! that one is gone. Keys stay in use meanwhile. Whoever takes keys into use acknowledges them.

use super::key_set::Keys;
use super::opening_table::OpeningTable;
use anyhow::{Context, anyhow, ensure};
use common::identity::Kind;
use protocol::prefix::Prefix;
use registration::net;
use registration::tls::{self, Tls, TlsFiles};
use registration::wire::proto::secondary_client::SecondaryClient;
use registration::wire::{Ack, Alive, FromNode, Hello, MAX_MESSAGE, Need, Token, from_node, prefixes_to_wire};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};
use tonic::Request;

/// Pauses between attempts. The longest is well below the time that registrars wait for boxes (`ack_timeout`): a box that
/// has lost its registrar is back before others seal what it cannot open.
const LEAST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A connection that lasted so long was a good one; two boxes that take turns under one name do not reach it.
const GOOD: Duration = Duration::from_millis(500);
/// Acknowledgements that may wait.
const ACKS: usize = 64;

/// How a box registers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegistrationSettings {
    /// Its name, as in its certificate.
    pub name: String,
    /// Its id (profile section 5).
    pub id: [u8; 16],
    /// What it asks for; empty: whatever is granted.
    pub prefixes: Vec<Prefix>,
    /// Its registrars, tried in turn.
    pub registrars: Vec<(String, u16)>,
    /// Certificates.
    pub tls: TlsFiles,
}

/// A key set that has come, and how to acknowledge it.
pub struct ReceivedKeys {
    /// What to use from now on.
    pub keys: Keys,
    /// When it came.
    pub at: Instant,
    /// The process that it came for: [`Process::number`].
    process: u64,
    /// In which registration, counted from 1.
    pub registration: u64,
    ack: mpsc::Sender<FromNode>,
}

impl fmt::Debug for ReceivedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReceivedKeys({:?})", self.keys)
    }
}

impl ReceivedKeys {
    /// It is in use. (When the registrar is gone meanwhile, nobody waits for this.)
    pub fn acknowledge(&self) {
        let ack = from_node::Message::Ack(Ack { revision: self.keys.revision });
        let _ = self.ack.try_send(FromNode { message: Some(ack) });
    }

    #[cfg(test)]
    pub(super) fn for_tests(keys: Keys) -> Self {
        Self { keys, at: Instant::now(), process: 0, registration: 0, ack: mpsc::channel(1).0 }
    }

    #[cfg(test)]
    pub(super) fn of_process(&mut self, number: u64) {
        self.process = number;
    }

    /// Requests a rotation: the generation is used up.
    pub fn request_rotation(&self, reason: &str) {
        let need = from_node::Message::Need(Need { reason: reason.to_owned() });
        let _ = self.ack.try_send(FromNode { message: Some(need) });
    }
}

/// Which process this is to its registrars.
#[derive(Debug, Default)]
struct Process {
    /// Grows when it is to be a new one.
    number: u64,
    /// Its name; `None`: it is given one when it registers.
    instance: Option<[u8; 16]>,
    /// The last that came with keys: by it the registrars know it again.
    token: Option<Token>,
}

/// What the box sees of its registration.
#[derive(Debug, Default)]
pub struct Registration {
    registered: AtomicBool,
    registrations: AtomicU64,
    process: Mutex<Process>,
    /// Says [`Process::number`] to the connection at hand.
    renewed: watch::Sender<u64>,
    /// Whether the box's place at its registrars is left to another process of it.
    away: watch::Sender<bool>,
    /// The newest key set that nobody has taken yet.
    next: Mutex<Option<ReceivedKeys>>,
    came: Condvar,
    last_error: Mutex<Option<String>>,
}

impl Registration {
    /// Whether a registrar has it at the moment.
    #[must_use]
    pub fn registered(&self) -> bool {
        self.registered.load(Ordering::Relaxed)
    }

    /// How often it has registered.
    #[must_use]
    pub fn registrations(&self) -> u64 {
        self.registrations.load(Ordering::Relaxed)
    }

    /// The newest key set, once.
    #[must_use]
    pub fn take(&self) -> Option<ReceivedKeys> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits until there is a key set to take, so long at most. The other boxes may soon seal what only that opens, and
    /// time alone is a poor alarm: under some kernels, with all cores taken by threads that yield, a sleep of
    /// milliseconds was seen to take seconds.
    pub fn wait(&self, limit: Duration) {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        // Whether one came or the time is over, the caller looks.
        drop(self.came.wait_timeout_while(next, limit, |next| next.is_none()));
    }

    /// Why it is not registered; `None`: it is, or has not failed yet.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, registered: bool, why: Option<&str>) -> bool {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = why.map(str::to_owned);
        self.registered.swap(registered, Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn register_for_tests(&self) {
        self.registrations.fetch_add(1, Ordering::Relaxed);
        self.set(true, None);
    }

    /// What came for a process that this one is no longer is forgotten.
    pub(super) fn put(&self, received: ReceivedKeys) {
        let mut process = self.process();
        if received.process == process.number {
            process.token.clone_from(&received.keys.token);
            *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(received);
            self.came.notify_one();
        }
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of the process of this number, which has just connected, and its token.
    fn identity(&self, number: u64) -> anyhow::Result<([u8; 16], Option<Token>)> {
        let mut process = self.process();
        ensure!(process.number == number, "this is a new process from now on");
        let instance = process.instance.map_or_else(instance, Ok)?;
        process.instance = Some(instance);
        Ok((instance, process.token.clone()))
    }

    /// From now on this is another process to the registrars: the connection ends, what has come over it and nobody has
    /// taken is forgotten, and the next registration is that of a process that nobody has seen before. It gets secrets
    /// that are negotiated after that, and no others.
    pub fn process_is_new(&self) {
        let mut process = self.process();
        process.number += 1;
        (process.instance, process.token) = (None, None);
        drop(self.take());
        self.renewed.send_replace(process.number);
    }
}

impl Registration {
    /// Leaves the box's place at its registrars to another process, which takes over: the connection ends, and no other is
    /// made until [`Registration::come_back`].
    pub fn leave(&self) {
        self.away.send_replace(true);
    }

    /// Registers again. To a registrar that has seen the other process meanwhile this one is new, and gets secrets that are
    /// negotiated from then on.
    pub fn come_back(&self) {
        self.away.send_replace(false);
    }
}

/// Readings of the clock that go into a name.
const READINGS: usize = 64;

/// Names this process for the registrar.
///
/// # Errors
/// The system gives no random numbers.
pub fn instance() -> anyhow::Result<[u8; 16]> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|e| anyhow!("the system gives no random numbers: {e}"))?;
    let mut hash = Sha256::new();
    hash.update(random);
    // Two copies of a virtual machine may for a while have the same random numbers. How long the clock takes to be read
    // differs from one to the other.
    for _ in 0..READINGS {
        hash.update(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_be_bytes());
    }
    let digest = hash.finalize();
    let mut instance = [0; 16];
    instance.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    Ok(instance)
}

/// Reads the certificates, and looks whether they name this box.
///
/// # Errors
/// They cannot be read, or name somebody else.
pub fn check(settings: &RegistrationSettings) -> anyhow::Result<Tls> {
    let tls = Tls::load(settings.tls.clone())?;
    let material = tls.current();
    let me = material.me();
    ensure!(
        me.kind == Kind::Node && me.name == settings.name,
        "{}: names {me}, but this is node '{}'; correct [node] name, or [tls] certificate",
        settings.tls.certificate.display(),
        settings.name
    );
    Ok(tls)
}

/// Registers, again and again, as long as the program runs.
///
/// # Errors
/// The certificates cannot be read at the start, or name somebody else.
pub async fn run(
    settings: RegistrationSettings,
    instance: [u8; 16],
    registration: Arc<Registration>,
) -> anyhow::Result<()> {
    let tls = Arc::new(check(&settings)?);
    registration.process().instance.get_or_insert(instance);
    tokio::select! {
        never = tls::keep_fresh(Arc::clone(&tls)) => match never {},
        () = again_and_again(&settings, &registration, &tls) => Ok(()),
    }
}

async fn again_and_again(settings: &RegistrationSettings, registration: &Registration, tls: &Tls) {
    let mut renewed = registration.renewed.subscribe();
    let mut away = registration.away.subscribe();
    let mut failures = 0;
    for registrar in settings.registrars.iter().cycle() {
        if away.wait_for(|away| !away).await.is_err() {
            return;
        }
        let began = Instant::now();
        let number = *renewed.borrow_and_update();
        let result = tokio::select! {
            ended = once(settings, number, registration, tls, registrar) => ended,
            _ = renewed.changed() => Err(anyhow!("this is a new process from now on, which registers anew")),
            _ = away.wait_for(|away| *away) => {
                registration.set(false, Some("left to the process that takes over"));
                tracing::info!("the registration is left to the process that takes over");
                continue;
            }
        };
        let why = result.map_or_else(|error| format!("{error:#}"), |()| "closed".to_owned());
        let was = registration.set(false, Some(&why));
        failures = if was && began.elapsed() >= GOOD { 0 } else { failures + 1 };
        let pause = net::pause(failures, LEAST_PAUSE, LONGEST_PAUSE);
        let registrar = format!("{}:{}", registrar.0, registrar.1);
        tracing::warn!(
            registrar,
            why,
            pause_ms = pause.as_millis() as u64,
            "not registered; the keys at hand stay in use until they expire"
        );
        tokio::time::sleep(pause).await;
    }
}

/// One registration of the process of this number, until it ends.
async fn once(
    settings: &RegistrationSettings,
    number: u64,
    registration: &Registration,
    tls: &Tls,
    registrar: &(String, u16),
) -> anyhow::Result<()> {
    let connection = net::connect(tls, None, registrar).await?;
    let mut client = SecondaryClient::new(connection.channel.clone())
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    let (ack, acks) = mpsc::channel(ACKS);
    let (instance, token) = registration.identity(number)?;
    let hello = Hello {
        name: settings.name.clone(),
        id: settings.id.into(),
        prefixes: prefixes_to_wire(&settings.prefixes),
        instance: instance.into(),
        token: token.as_ref().map(Into::into),
        differences: true,
    };
    ack.try_send(FromNode { message: Some(from_node::Message::Hello(hello)) }).context("a message")?;
    let outgoing = futures_util::stream::unfold(acks, |mut acks| async move { acks.recv().await.map(|m| (m, acks)) });
    let answer = tokio::time::timeout(net::ANSWER, client.register(Request::new(outgoing))).await;
    let said = |status| connection.why(&status);
    let mut incoming = answer.map_err(|_| anyhow!("no answer"))?.map_err(said)?.into_inner();
    // Counted first: keys that came in an earlier one are not taken for this one's.
    registration.registrations.fetch_add(1, Ordering::Relaxed);
    registration.set(true, None);
    tracing::info!(registrar = format!("{}:{}", registrar.0, registrar.1), "registered");
    // What came in an earlier call counts no more: in this one the registrar begins anew.
    let mut table = OpeningTable::default();
    let bad = tls::until_bad(tls, None, &registrar.0, &connection.chain);
    tokio::pin!(bad);
    loop {
        tokio::select! {
            message = incoming.message() => {
                let Some(message) = message.map_err(said)? else { return Ok(()) };
                if message.probe {
                    let alive = from_node::Message::Alive(Alive {});
                    // Were so many messages waiting, nobody would read this one.
                    let _ = ack.try_send(FromNode { message: Some(alive) });
                    if message.keys.is_none() && message.changes.is_empty() {
                        continue;
                    }
                }
                let Some(set) = message.keys else {
                    table.take(&message.changes)?;
                    continue;
                };
                let keys = table.keys(&set)?;
                let opens = keys.opening.iter().flat_map(|o| o.secrets.iter().map(|(g, _)| *g)).max().unwrap_or(0);
                let seals = keys.sealing.as_ref().map_or(0, |s| s.generation);
                tracing::debug!(opens, seals, revision = keys.revision, "keys received");
                registration.put(ReceivedKeys {
                    keys,
                    at: Instant::now(),
                    process: number,
                    registration: registration.registrations(),
                    ack: ack.clone(),
                });
            }
            error = &mut bad => return Err(error),
        }
    }
}
