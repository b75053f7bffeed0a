//! Two registrars as processes, boxes as threads of the test, each side with an authority of its own.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use middlebox::keys::connection::{self, ReceivedKeys, Registration, RegistrationSettings};
use registration::tls::{AuthorityFiles, CrlExpired, TlsFiles};
use rig::command::Finished;
pub use rig::free_port;
pub use rig::registrars::NAMES as SIDES;
use rig::registrars::{Place, Registrars};
use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Everything has to come about within this (the issue: 10 s after any fault).
pub const SOON: Duration = Duration::from_secs(20);

pub fn wait_for(what: &str, done: impl FnMut() -> bool) {
    wait_within(SOON, what, done);
}

pub fn wait_within(limit: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A lab with one box a side, all sealing, and nothing under way.
pub fn up() -> (Lab, SimBox, SimBox) {
    let mut lab = Lab::new();
    let (a, b) = (lab.node(0, 1), lab.node(1, 2));
    lab.start_both();
    let (a, b) = (SimBox::start(a), SimBox::start(b));
    wait_for("both boxes seal", || a.opens(&b) && b.opens(&a) && lab.generation().ok().flatten().is_some());
    (lab, a, b)
}

/// The two registrars on loopback, and a directory for them; what a test does to them has to succeed.
pub struct Lab {
    both: Registrars,
    #[allow(dead_code, reason = "not every test looks into it; it is there as long as the lab is")]
    pub dir: TempDir,
}

impl Deref for Lab {
    type Target = Registrars;

    fn deref(&self) -> &Registrars {
        &self.both
    }
}

impl DerefMut for Lab {
    fn deref_mut(&mut self) -> &mut Registrars {
        &mut self.both
    }
}

/// The id of a box of this number, and its prefix.
fn identity(side: usize, number: u16) -> ([u8; 16], String) {
    let id = [number.to_be_bytes(); 8].concat().try_into().expect("16 octets");
    (id, format!("2001:db8:{}:{number:x}::/64", ["a", "b"][side]))
}

impl Lab {
    /// Certificates and secrets; nothing runs yet.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let places = [(); 2].map(|()| Place { telemetry: Some(free_port()), ..Place::loopback(free_port()) });
        let both = Registrars::new(Path::new(env!("CARGO_BIN_EXE_pdmv2")), dir.path(), places);
        Self { both: both.expect("certificates"), dir }
    }

    pub fn pdmv2(&self, args: &[&str]) -> Finished {
        self.both.pdmv2(args).expect("pdmv2")
    }

    pub fn ok(&self, args: &[&str]) -> String {
        self.both.ok(args).expect("success")
    }

    /// A box: its certificate, and its place in the registrar's configuration.
    pub fn node(&mut self, side: usize, number: u16) -> RegistrationSettings {
        let (id, prefix) = identity(side, number);
        self.both.add_node(side, &format!("box-{number}"), &hex::encode(id), &prefix).expect("a certificate");
        self.settings(side, number)
    }

    /// Its place in the configuration alone.
    pub fn grant(&mut self, side: usize, number: u16) {
        let (id, prefix) = identity(side, number);
        self.both.grant(side, &format!("box-{number}"), &hex::encode(id), &prefix);
    }

    pub fn settings(&self, side: usize, number: u16) -> RegistrationSettings {
        let name = format!("box-{number}");
        let ca = self.path(&format!("pki-{}/ca.crt", SIDES[side]));
        RegistrationSettings {
            id: identity(side, number).0,
            prefixes: Vec::new(),
            registrars: vec![self.address(side)],
            tls: TlsFiles {
                certificate: self.path(&format!("{name}.crt")),
                key: self.path(&format!("{name}.key")),
                own: AuthorityFiles { ca, crl: None },
                peers: Vec::new(),
                crl_expired: CrlExpired::Warn,
            },
            name,
        }
    }

    pub fn address(&self, side: usize) -> (String, u16) {
        let place = self.place(side);
        (place.host.clone(), place.port)
    }

    pub fn start(&mut self, side: usize) {
        self.both.start(side).expect("a registrar");
    }

    pub fn start_both(&mut self) {
        self.start(0);
        self.start(1);
    }

    /// kill -9.
    pub fn kill(&mut self, side: usize) {
        self.both.kill(side).expect("killed");
    }

    pub fn status(&self, side: usize) -> serde_json::Value {
        self.both.status(side).expect("a status")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (0..2).for_each(|side| eprintln!("--- {}\n{}", SIDES[side], self.log(side)));
        }
    }
}

/// What a box has, as far as it was told.
#[derive(Default)]
pub struct Held {
    pub current: Option<ReceivedKeys>,
    pub sealed: Vec<(u32, Vec<u8>)>,
}

impl Held {
    pub fn sealing(&self) -> Option<(u32, Vec<u8>)> {
        let sealing = self.current.as_ref()?.keys.sealing.as_ref()?;
        let mut secrets: Vec<_> = sealing.keys.secrets().map(protocol::key_schedule::Secret::as_bytes).collect();
        secrets.sort_unstable();
        Some((sealing.generation, secrets.concat()))
    }

    pub fn opens(&self, name: &str, (generation, secret): &(u32, Vec<u8>)) -> bool {
        let of = self.current.iter().flat_map(|c| &c.keys.opening).filter(|o| o.node.name == name);
        of.flat_map(|o| &o.secrets).any(|(g, k)| g == generation && k.secrets().any(|s| s.as_bytes() == secret))
    }
}

/// A box, as far as registration goes: it takes its keys into use and says so.
pub struct SimBox {
    pub name: String,
    pub registration: Arc<Registration>,
    pub held: Arc<Mutex<Held>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl SimBox {
    pub fn start(settings: RegistrationSettings) -> Self {
        let (name, registration, held) = (settings.name.clone(), Arc::<Registration>::default(), Arc::default());
        let (stop, done) = (Arc::new(AtomicBool::new(false)), tokio::sync::oneshot::channel::<()>());
        let client = {
            let registration = Arc::clone(&registration);
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                let instance = connection::instance().expect("random numbers");
                runtime.block_on(async {
                    tokio::select! {
                        ended = connection::run(settings, instance, registration) => ended.expect("it runs on"),
                        _ = done.1 => {}
                    }
                });
            })
        };
        let user = {
            let (registration, held, stop): (_, Arc<Mutex<Held>>, _) =
                (Arc::clone(&registration), Arc::clone(&held), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Some(received) = registration.take() {
                        received.acknowledge();
                        let mut held = held.lock().expect("held");
                        held.current = Some(received);
                        if let Some(sealing) = held.sealing()
                            && held.sealed.last() != Some(&sealing)
                        {
                            held.sealed.push(sealing);
                        }
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
                let _ = done.0.send(());
            })
        };
        Self { name, registration, held, stop, threads: vec![user, client] }
    }

    pub fn sealing(&self) -> Option<(u32, Vec<u8>)> {
        self.held.lock().expect("held").sealing()
    }

    pub fn generation(&self) -> Option<u32> {
        self.sealing().map(|(g, _)| g)
    }

    /// Whether this box can open what that one seals.
    pub fn opens(&self, other: &Self) -> bool {
        other.sealing().is_some_and(|s| self.held.lock().expect("held").opens(&other.name, &s))
    }

    pub fn error(&self) -> String {
        self.registration.last_error().unwrap_or_default()
    }
}

impl Drop for SimBox {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|t| drop(t.join()));
    }
}

/// No two processes of boxes have ever sealed under one secret.
pub fn audit<'a>(boxes: impl IntoIterator<Item = &'a Held>) {
    let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
    for (process, held) in boxes.into_iter().enumerate() {
        for (generation, secret) in &held.sealed {
            let first = *seen.entry(secret.clone()).or_insert(process);
            assert_eq!(first, process, "two processes have sealed under the secret of generation {generation}");
        }
    }
}

/// How a secret may look in a text or a file: as it is, in hex of either case, as `Debug` shows octets, in base64 wherever
/// it begins there. Some octets of it are enough.
fn shapes(secret: &[u8]) -> Vec<Vec<u8>> {
    let decimal: Vec<_> = secret[..6].iter().map(ToString::to_string).collect();
    let texts = [hex::encode(&secret[..6]), hex::encode_upper(&secret[..6]), decimal.join(", "), decimal.join(",")];
    let base64 = (0..3).flat_map(|from| {
        let octets = &secret[from..from + 6];
        [STANDARD_NO_PAD.encode(octets), URL_SAFE_NO_PAD.encode(octets)]
    });
    let plain = std::iter::once(secret[..8].to_vec());
    plain.chain(texts.into_iter().chain(base64).map(String::into_bytes)).collect()
}

/// The first of the texts that shows any of the secrets, with what it shows.
pub fn shown<'t, T: AsRef<[u8]>>(texts: &'t [T], secrets: &[Vec<u8>]) -> Option<(&'t T, String)> {
    let shapes: Vec<_> = secrets.iter().flat_map(|secret| shapes(secret)).collect();
    texts.iter().find_map(|text| {
        let octets = text.as_ref();
        let found = shapes.iter().find(|shape| octets.windows(shape.len()).any(|at| at == *shape))?;
        Some((text, String::from_utf8_lossy(found).into_owned()))
    })
}
