//! One destination: its queue, and the thread that empties it.

use super::format::Format;
use super::outlet::Outlet;
use super::record::FlowRecord;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// Records that wait: 7 MiB or so. A pass of ageing may take more flows out at once, if as many came at once.
const QUEUE: usize = 16_384;
/// A record waits so long, at most, for others to be sent with it.
const GATHER: Duration = Duration::from_secs(1);
/// Between two attempts to connect: at first, and at most.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// How often a pause looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);
/// At its end the box waits so long, at most, for what is in the queue to be sent.
const END: Duration = Duration::from_secs(5);

/// What became of records.
#[derive(Debug, Default)]
pub struct ExportCounters {
    /// Sent, or written.
    pub sent: AtomicU64,
    /// Not: the queue was full, the destination away, or the file full.
    pub unsent: AtomicU64,
    /// Whether there is a connection or file; over UDP, whether the last message could be sent.
    pub connected: AtomicBool,
}

/// The queue's side.
#[derive(Debug)]
pub struct Exporter {
    name: &'static str,
    counters: Arc<ExportCounters>,
    stop: Arc<AtomicBool>,
    queue: Option<SyncSender<FlowRecord>>,
    thread: Option<JoinHandle<()>>,
}

impl Exporter {
    /// Starts the thread.
    ///
    /// # Errors
    /// There can be none.
    pub fn start(name: &'static str, format: Box<dyn Format>, outlet: Outlet) -> std::io::Result<Self> {
        let (counters, stop) = (Arc::<ExportCounters>::default(), Arc::<AtomicBool>::default());
        let (queue, records) = sync_channel(QUEUE);
        let work =
            Work { format, outlet, records, counters: Arc::clone(&counters), stop: Arc::clone(&stop), failing: false };
        let thread = std::thread::Builder::new().name(format!("export-{name}")).spawn(move || work.run())?;
        Ok(Self { name, counters, stop, queue: Some(queue), thread: Some(thread) })
    }

    /// Its name, and what became of its records.
    #[must_use]
    pub fn counters(&self) -> (&'static str, Arc<ExportCounters>) {
        (self.name, Arc::clone(&self.counters))
    }

    /// Puts a record into the queue, if there is room. It never waits.
    pub fn offer(&self, record: FlowRecord) {
        self.offer_until(record, Instant::now());
    }

    /// The same, and waits for room until then.
    pub fn offer_until(&self, mut record: FlowRecord, until: Instant) {
        while let Some(queue) = &self.queue {
            record = match queue.try_send(record) {
                Ok(()) => return,
                Err(TrySendError::Full(record)) if Instant::now() < until => record,
                Err(_) => break,
            };
            std::thread::sleep(Duration::from_millis(1));
        }
        self.counters.unsent.fetch_add(1, Relaxed);
    }
}

impl Drop for Exporter {
    /// Waits for the thread, but not for ever: the destination may be one that never takes anything.
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.queue = None;
        let Some(thread) = self.thread.take() else { return };
        let start = Instant::now();
        while !thread.is_finished() && start.elapsed() < END {
            std::thread::sleep(Duration::from_millis(1));
        }
        if thread.is_finished() && thread.join().is_err() {
            tracing::error!(to = self.name, "the export's thread has died");
        }
    }
}

/// How the serving of a connection ended.
enum Ended {
    /// The connection is lost.
    Lost,
    /// The file is full.
    Full,
    /// There are no more records.
    Done,
}

/// The thread's side.
struct Work {
    format: Box<dyn Format>,
    outlet: Outlet,
    records: Receiver<FlowRecord>,
    counters: Arc<ExportCounters>,
    stop: Arc<AtomicBool>,
    /// Whether it was said that nothing can be sent, and not yet that it can.
    failing: bool,
}

impl Work {
    fn run(mut self) {
        let [first, longest] = PAUSES;
        let mut pause = first;
        loop {
            match self.outlet.open() {
                Ok(()) => {
                    self.format.begin();
                    self.works();
                    match self.serve() {
                        Ended::Done => return,
                        Ended::Full => return self.give_up(),
                        Ended::Lost => pause = first,
                    }
                }
                Err(error) => self.fails(&error),
            }
            // What waits now is sent when there is a connection, as far as the queue holds it.
            if !self.wait(pause) {
                return self.give_up();
            }
            pause = longest.min(2 * pause);
        }
    }

    /// `false`: it is to end.
    fn wait(&self, pause: Duration) -> bool {
        let start = Instant::now();
        while start.elapsed() < pause && !self.stop.load(Relaxed) {
            std::thread::sleep(LOOK);
        }
        !self.stop.load(Relaxed)
    }

    /// Sends until the connection is lost or there are no more records.
    fn serve(&mut self) -> Ended {
        let mut since: Option<Instant> = None;
        loop {
            let wait = since.map_or(GATHER, |since| GATHER.saturating_sub(since.elapsed()));
            let received = self.records.recv_timeout(wait);
            let is_due = match &received {
                Ok(record) => !self.format.add(record, Instant::now()),
                Err(_) => true,
            };
            if is_due {
                if let Err(ended) = self.send() {
                    self.count_unsent(u64::from(received.is_ok()));
                    return ended;
                }
                since = None;
                if let Ok(record) = &received {
                    // There is room now.
                    self.format.add(record, Instant::now());
                }
            }
            if received.is_ok() {
                since = since.or_else(|| Some(Instant::now()));
            } else if received.err() == Some(RecvTimeoutError::Disconnected) {
                return Ended::Done;
            }
            if since.is_some_and(|since| since.elapsed() >= GATHER) {
                if let Err(ended) = self.send() {
                    return ended;
                }
                since = None;
            }
        }
    }

    fn send(&mut self) -> Result<(), Ended> {
        let records = self.format.records();
        if records == 0 {
            return Ok(());
        }
        let sent = self.outlet.write(self.format.finish(SystemTime::now()));
        self.format.clear();
        match sent {
            Ok(()) => {
                self.counters.sent.fetch_add(records, Relaxed);
                self.works();
                Ok(())
            }
            Err(error) => {
                self.count_unsent(records);
                self.fails(&error);
                if self.outlet.is_datagrams() {
                    // Who was not there has not got the template.
                    self.format.repeat();
                    return Ok(());
                }
                Err(if error.kind() == ErrorKind::FileTooLarge { Ended::Full } else { Ended::Lost })
            }
        }
    }

    fn count_unsent(&self, records: u64) {
        self.counters.unsent.fetch_add(records, Relaxed);
    }

    /// From now on records are only counted.
    fn give_up(&mut self) {
        self.counters.connected.store(false, Relaxed);
        while self.records.recv().is_ok() {
            self.count_unsent(1);
        }
    }

    fn works(&mut self) {
        self.counters.connected.store(true, Relaxed);
        if std::mem::take(&mut self.failing) {
            tracing::info!("export of flows: {} takes them again", self.outlet.target());
        }
    }

    /// Says it once, and not for every attempt.
    fn fails(&mut self, error: &std::io::Error) {
        self.counters.connected.store(false, Relaxed);
        if !std::mem::replace(&mut self.failing, true) {
            let remedy = match error.kind() {
                ErrorKind::FileTooLarge => "move it away and restart the box, or raise [export] file_mebibytes",
                _ => "it is tried again; see that something listens there, or correct [export]",
            };
            tracing::warn!("export of flows: {} does not take them: {error}; {remedy}", self.outlet.target());
        }
    }
}
