//! A box of several workers, whose ports' queues are in vectors.

use crate::observe::audit::{AuditSink, RECORD};
use crate::observe::counter::Counter;
use crate::observe::counters::{DirectionCounters, Outcome, WorkerCounters};
use crate::observe::reasons::{REASONS, Reason};
use crate::packet::buffer::{PacketBuf, VecBuf};
use crate::packet::parse;
use crate::ports::{BURST, PortQueue};
use crate::state::hand_over::HandOver;
use crate::state::policies::Mode;
use crate::state::rules::PathConfig;
use crate::state::worker::Worker;
use crate::testing::{self, SMALL, Side, frame};
use crate::worker::{self, Idle, turn_outbound_among, turn_taken};
use arrayvec::ArrayVec;
use protocol::wire::option::Form;
use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

/// What was sent, in the order in which it was, by whichever worker.
pub type Log = Arc<Mutex<Vec<VecBuf>>>;

/// A worker's queue of a port.
pub struct Queue {
    pub arriving: VecDeque<VecBuf>,
    /// How many come at once; changes each time, within these bounds.
    pub at_once: [usize; 2],
    random: u64,
    log: Log,
    /// Packets that it still takes.
    pub room: usize,
    /// Looks on when packets are sent.
    pub watch: Option<Box<dyn FnMut() + Send>>,
}

impl Queue {
    fn new(log: &Log) -> Self {
        Self {
            arriving: VecDeque::new(),
            at_once: [BURST; 2],
            random: 99,
            log: Arc::clone(log),
            room: usize::MAX,
            watch: None,
        }
    }
}

impl PortQueue for Queue {
    type Packet = VecBuf;

    fn receive(&mut self, into: &mut ArrayVec<VecBuf, BURST>) {
        let [least, most] = self.at_once;
        let count = least + next(&mut self.random) as usize % (most + 1 - least);
        into.extend(self.arriving.drain(..count.min(self.arriving.len())));
    }

    fn transmit(&mut self, packets: &mut ArrayVec<VecBuf, BURST>) {
        if let Some(watch) = &mut self.watch {
            watch();
        }
        let count = packets.len().min(self.room);
        self.room -= count;
        self.log.lock().expect("no panic").extend(packets.drain(..count));
    }
}

/// Xorshift.
pub fn next(x: &mut u64) -> u64 {
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    *x
}

/// The packet of this flow that comes at this place.
pub fn packet(flow: u16, place: u32, payload: usize) -> VecBuf {
    let mut octets = frame(1000 + flow, payload.max(4));
    let end = octets.len();
    octets[end - 4..].copy_from_slice(&place.to_be_bytes());
    VecBuf::new(&octets)
}

/// Which flow's packet it is, and at which place it came; with the option or without.
pub fn identity(packet: &VecBuf) -> (u16, u32) {
    let parsed = parse::parse(packet).expect("a packet of ours");
    let end = packet.data().last_chunk().expect("a payload");
    (parsed.chain.five_tuple.sport - 1000, u32::from_be_bytes(*end))
}

/// Box A.
pub struct Lab {
    pub a: Side,
    pub workers: Vec<Worker>,
    pub sides: Vec<HandOver<VecBuf>>,
    pub inside: Vec<Queue>,
    pub outside: Vec<Queue>,
    /// What went to the network.
    pub sent: Log,
    /// What went back to the hosts.
    pub back: Log,
    places: HashMap<u16, u32>,
    audit: PathBuf,
}

pub fn sealing() -> PathConfig {
    testing::config(vec![testing::policy(Mode::Encrypted)])
}

impl Lab {
    /// `name`: of its audit file.
    pub fn new(name: &str, workers: usize, config: PathConfig) -> Self {
        let audit = std::env::temp_dir().join(format!("pdmv2-hand-over-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&audit);
        let a = testing::side(config, testing::ring(true, 1, 1), SMALL, workers);
        let (sent, back) = (Log::default(), Log::default());
        let workers: Vec<_> = (0..workers)
            .map(|i| {
                let file = std::fs::File::options().create(true).append(true).open(&audit).expect("audit file");
                let mut worker = Worker::new(a.shared.clone(), i);
                worker.audit = Some(AuditSink::new(file));
                worker
            })
            .collect();
        Self {
            sides: HandOver::among(workers.len()),
            inside: workers.iter().map(|_| Queue::new(&back)).collect(),
            outside: workers.iter().map(|_| Queue::new(&sent)).collect(),
            places: HashMap::new(),
            a,
            workers,
            sent,
            back,
            audit,
        }
    }

    /// So many packets of a flow come to a worker.
    pub fn arrive(&mut self, worker: usize, flow: u16, count: usize) {
        self.arrive_of(worker, flow, count, 8);
    }

    pub fn arrive_of(&mut self, worker: usize, flow: u16, count: usize, payload: usize) {
        let place = self.places.entry(flow).or_default();
        for _ in 0..count {
            self.inside[worker].arriving.push_back(packet(flow, *place, payload));
            *place += 1;
        }
    }

    /// A worker looks at its rings once.
    pub fn take(&mut self, worker: usize) -> bool {
        let Self { workers, sides, inside, outside, .. } = self;
        turn_taken(&mut workers[worker], &mut sides[worker], &mut inside[worker], &mut outside[worker], &|| 1)
    }

    /// A worker looks at its port's queue once.
    pub fn poll(&mut self, worker: usize) -> bool {
        let Self { workers, sides, inside, outside, .. } = self;
        turn_outbound_among(&mut workers[worker], &mut sides[worker], &mut inside[worker], &mut outside[worker], &|| 1)
    }

    /// A worker is told to stop.
    pub fn stop(&mut self, worker: usize) {
        let Self { workers, sides, inside, outside, .. } = self;
        let (stop, clock) = (AtomicBool::new(true), || 1);
        let (inside, outside) = (&mut inside[worker], &mut outside[worker]);
        worker::run(&mut workers[worker], &mut sides[worker], inside, outside, &clock, Idle::Poll, &stop);
    }

    pub fn owner(&self, flow: u16) -> u16 {
        let words = parse::parse(&packet(flow, 0, 8)).expect("a packet").chain.five_tuple.words();
        let table = &self.a.shared.table;
        table.find(table.hash(&words), &words).expect("the flow is there").owner()
    }

    /// The sum of one counter over the workers.
    pub fn sum(&self, counter: impl Fn(&WorkerCounters) -> &Counter) -> u64 {
        self.workers.iter().map(|w| counter(&w.counters).get()).sum()
    }

    pub fn added(&self) -> u64 {
        self.sum(|c| &c.outbound.added[Form::Encrypted as usize])
    }

    pub fn passed(&self, reason: Reason) -> u64 {
        self.sum(|c| &c.outbound.passed[reason as usize])
    }

    /// Every packet is counted once, and has gone where its outcome says. To be asked when nothing lies in a ring.
    pub fn check_counters(&self) {
        let all = |of: fn(&DirectionCounters) -> &[Counter; REASONS]| {
            (0..REASONS).map(|i| self.sum(|c| &of(&c.outbound)[i])).sum::<u64>()
        };
        let (received, too_big) = (self.sum(|c| &c.outbound.received), self.sum(|c| &c.outbound.too_big));
        let (passed, dropped) = (all(|d| &d.passed), all(|d| &d.dropped));
        assert_eq!(received, self.added() + passed + dropped + too_big);
        assert_eq!(self.sum(|c| &c.handed_over), self.sum(|c| &c.taken_over));
        for worker in &self.workers {
            let c = &worker.counters;
            let of = |of: &[Counter]| of.iter().map(Counter::get).sum::<u64>();
            let outcomes = of(&c.outbound.added) + of(&c.outbound.passed) + of(&c.outbound.dropped);
            assert_eq!(
                c.outbound.received.get() + c.taken_over.get(),
                outcomes + c.outbound.too_big.get() + c.handed_over.get(),
                "worker {}",
                worker.index()
            );
        }
        assert_eq!(self.sent.lock().expect("no panic").len() as u64, self.added() + passed);
        assert_eq!(self.back.lock().expect("no panic").len() as u64, too_big);
    }

    /// Box B takes what was sent, in the order in which it was: every sealed packet opens, and is then the packet that came;
    /// every other is that already; none is lost or there twice. What B has counted is given, and how many packets were too old
    /// for it, which it tells when they have opened.
    pub fn check_sent(&self) -> (Arc<WorkerCounters>, u64) {
        let config = testing::config(vec![testing::policy(Mode::Encrypted)]);
        let b = testing::side(config, testing::ring(false, 1, 1), SMALL, 1);
        let mut b = Worker::new(b.shared, 0);
        let (mut opened, mut too_old, mut seen) = (0, 0, HashSet::new());
        for sent in self.sent.lock().expect("no panic").iter() {
            let (flow, place) = identity(sent);
            assert!(seen.insert((flow, place)), "packet {place} of flow {flow} was sent twice");
            let mut packet = sent.clone();
            match testing::back(&mut b, &mut packet, 1) {
                Outcome::Removed(Form::Encrypted) => opened += 1,
                Outcome::Dropped(Reason::TooOld) => {
                    too_old += 1;
                    continue;
                }
                other => assert_eq!(other, Outcome::Passed(Reason::NoOption), "packet {place} of flow {flow}"),
            }
            let payload = packet.frame_len() - 14 - 40 - 8;
            assert_eq!(packet.data(), super::lab::packet(flow, place, payload).data());
        }
        assert_eq!(opened + too_old, self.added(), "every packet that was counted as sealed opens");
        (b.counters, too_old)
    }

    /// Whether each flow's packets were sent in the order in which they came.
    pub fn is_in_order(&self) -> bool {
        let mut last: HashMap<u16, u32> = HashMap::new();
        self.sent.lock().expect("no panic").iter().all(|sent| {
            let (flow, place) = identity(sent);
            last.insert(flow, place).is_none_or(|before| before < place)
        })
    }

    /// No key and nonce were used twice, and all that were used are on record.
    pub fn check_audit(&self) {
        let audit = std::fs::read(&self.audit).expect("audit file");
        let records = audit.chunks_exact(RECORD);
        assert!(records.remainder().is_empty());
        let mut pairs = HashSet::new();
        let count = records.inspect(|pair| assert!(pairs.insert(*pair), "used twice: {pair:02x?}")).count();
        let dropped = self.sum(|c| &c.outbound.dropped[Reason::TxFull as usize]);
        let sealed = self.added()..=self.added() + dropped;
        assert!(sealed.contains(&(count as u64)), "{count} on record, {sealed:?} were sealed");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.audit);
    }
}
