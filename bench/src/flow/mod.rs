//! `bench flow`: our flow table against DPDK's `rte_hash` and `papaya`, look-ups, insertion and removal.
//!
//! What is compared is what a worker would do with each: bursts of 32 keys, which are made beforehand, looked up safely
//! beside removal (each table's own way of saying "between bursts" is in the figure), to the flow's record. All tables
//! lead to the same records, those of ours. Ours compares the 5-tuple within the record and so always reads its first
//! line; `rte_hash` and `papaya` keep a copy of the key. So hits are measured both as they are, and with a word of the
//! record's first line read by all.

pub mod keys;
mod memory;
pub mod papaya;
#[allow(unsafe_code, reason = "the peer is a C library")]
pub mod rte_hash;
pub mod table;
mod threads;

use crate::measure::{Figure, cpu_time, interleave_with_peers, not_measured};
use crate::plot::Plot;
use crate::report::Report;
use anyhow::{Context, Result, ensure};
use clap::Args;
use dpdk_ffi::Eal;
use keys::Keys;
use papaya::Papaya;
use pipeline::flow::record::FlowBack;
use pipeline::flow::table::FlowTable;
use rte_hash::{HashedBy, RteHash};
use std::sync::atomic::{AtomicBool, Ordering};
use table::{BURST, Key, Ours, Table};
use threads::together;

/// Keys that are not there, at most.
const MOST_MISSES: usize = 1 << 20;

/// Above so many flows filling and emptying takes minutes: it is done once and by one thread, and the rest less often, unless
/// `--full` is given.
const SELDOM_ABOVE: usize = 2_000_000;

/// How often what does not change much from one time to the next is measured, by the number of flows.
fn rounds_of(args: &FlowArgs, flows: usize, most: usize) -> usize {
    if flows > SELDOM_ABOVE && !args.full { args.rounds.min(3) } else { args.rounds.min(most) }
}

/// What every ratio compares with.
const PEER: &str = "rte_hash";

/// What is measured; all others are peers.
const OURS: &str = "ours";

/// Arguments of `bench flow`.
#[derive(Args, Clone, Debug)]
pub struct FlowArgs {
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Measurements of each kind; the median is reported
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Look-ups per measurement and thread
    #[arg(long, default_value_t = 1 << 20)]
    lookups: usize,
    /// Numbers of flows
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 65_536, 1_000_000, 8_000_000])]
    flows: Vec<usize>,
    /// The largest tables as often as the others, and filled by two threads too, which takes minutes
    #[arg(long)]
    full: bool,
}

/// Measures and prints.
///
/// # Errors
/// DPDK does not start, or a table fails.
pub fn run(args: &FlowArgs) -> Result<bool> {
    measure(args)?.print(args.json)?;
    Ok(true)
}

/// What `bench all` draws.
#[must_use]
pub fn plot(report: &Report) -> Plot<'static> {
    let title = format!("Flow tables, one key ({})", report.machine.cpu);
    Plot { title, x: "flows", lines: &["table", "threads"], panels: "operation", log: true }
}

/// Measures.
///
/// # Errors
/// DPDK does not start, or a table fails.
pub fn measure(args: &FlowArgs) -> Result<Report> {
    let mut report = Report::new(
        "flow",
        "Flow tables: nanoseconds per key, bursts of 32, random 5-tuples in a random order. With two threads the figure \
         is the longer one's time over the operations of both",
        "ns",
        format!("times {PEER}"),
    );
    let (sizes, left_out) = memory::fitting(&args.flows, memory::meminfo("MemAvailable") * 1024);
    report.notes = left_out;
    if sizes.is_empty() {
        return Ok(report);
    }
    ensure!(sizes.iter().all(|&s| s >= BURST), "--flows: a burst of {BURST} at least");
    let most = sizes.iter().map(|&s| memory::dpdk(s)).max().unwrap_or(0);
    let (eal, huge) = memory::eal(most);
    // Without it there is nothing to compare with, and still something to measure.
    let eal = Eal::init(&eal).context("it needs DPDK, which does not start");
    if let Err(error) = &eal {
        report.notes.push(not_measured(PEER, error));
    }
    let eal = eal.ok();
    for &flows in &sizes {
        // What the other sizes have shown is not lost.
        if let Err(error) = one_size(args, eal.as_ref(), flows, &mut report) {
            report.notes.push(format!("{flows} flows: not measured to the end: {error:#}"));
        }
    }
    ensure!(!report.rows.is_empty(), "nothing could be measured: {}", report.notes.join("; "));
    if !args.full && sizes.iter().any(|&s| s > SELDOM_ABOVE) {
        report.notes.push(format!(
            "Above {SELDOM_ABOVE} flows: insert and age once, by one thread, the rest thrice (all of it with --full)."
        ));
    }
    report.notes.extend(notes(huge));
    Ok(report)
}

fn notes(huge: bool) -> Vec<String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut notes = vec![
        "rte_hash: RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF and _MULTI_WRITER_ADD, rte_hash_lookup_bulk_data, removal behind \
         its RCU (deferred), keys of 40 octets, as many places as ours (two per flow). 'rte_hash' hashes with CRC32, its \
         default, which is not keyed: whoever knows it can fill a bucket. 'rte_hash keyed' and papaya hash as ours, \
         under a secret"
            .to_owned(),
        "hit: the record's address is known; ours has then read the record's first line, where the 5-tuple stands. \
         'hit, record read': all have read it. Every table leads to the same records"
            .to_owned(),
        "insert: from none to all flows; ours prepares the record too, and excludes that two threads insert one flow twice. \
         age: from all to none; ours by the Ager, which looks at every record, writes down what must outlive the flow, and \
         overwrites the record's keys; the others by key"
            .to_owned(),
        "hit beside churn: one thread looks up while another inserts and removes an eighth as many flows, over and over; \
         churn is the other one's time per flow inserted and removed"
            .to_owned(),
        format!("rte_hash's memory: {}", if huge { "hugepages" } else { "ordinary pages; there were too few hugepages" }),
    ];
    if cores < 2 {
        notes.push("two threads were left out: there is one core".to_owned());
    }
    notes
}

/// A candidate, and where in the sequence its next look-up begins.
struct Turn<'t, 'a> {
    table: &'t dyn Table<'a>,
    at: usize,
    removal: Vec<f64>,
}

/// Everything of one size.
fn one_size(args: &FlowArgs, eal: Option<&Eal>, flows: usize, report: &mut Report) -> Result<()> {
    let keys = Keys::new(flows, flows.min(MOST_MISSES).max(memory::visitors(flows)));
    let room = flows + memory::visitors(flows);
    // DPDK's first, so that ours does not take all the hugepages.
    let mut peers = Vec::new();
    for (name, hashed_by) in [(PEER, HashedBy::Crc), ("rte_hash keyed", HashedBy::Keyed)] {
        match eal.map(|eal| RteHash::new(eal, name, room, hashed_by)).transpose() {
            Ok(peer) => peers.extend(peer),
            Err(error) => report.notes.push(not_measured(name, &error.context(format!("{flows} flows")))),
        }
    }
    let own = FlowTable::new(memory::size(flows), [7; 16]);
    let ours = Ours::new(&own);
    let papaya = Papaya::new(room);
    let mut tables: Vec<&dyn Table<'_>> = vec![&ours, &papaya];
    tables.extend(peers.iter().map(|peer| -> &dyn Table<'_> { peer }));
    // In the report's order: what is compared with, ours, the others.
    tables.sort_by_key(|table| [PEER, OURS].iter().position(|name| *name == table.name()).unwrap_or(usize::MAX));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);

    // Any records will do for this; ours gives its own out as it likes.
    ours.insert(0, &keys.known, &[])?;
    let records: Vec<&FlowBack> = own.iter().map(|whole| whole.back).collect();
    ours.remove(&keys.known)?;
    let fillers = if flows > SELDOM_ABOVE && !args.full { 1 } else { cores.min(2) };
    for threads in 1..=fillers {
        let mut turns = turns(&tables);
        let seldom = flows > SELDOM_ABOVE && !args.full;
        let rounds = args.rounds.min(if seldom {
            1
        } else if flows > 500_000 {
            3
        } else {
            5
        });
        let inserts =
            measured(rounds, &mut turns, report, |turn| fill_and_empty(eal, turn, threads, &keys.known, &records))?;
        // Who cannot be filled has nothing to be looked up in.
        let filled = |table: &&dyn Table<'_>| turns.iter().any(|turn| turn.table.name() == table.name());
        tables.retain(filled);
        push(report, flows, "insert", threads, &turns, &inserts);
        if threads == 1 {
            let ages: Vec<Figure> = turns.iter().map(|t| Figure::of(&t.removal)).collect();
            push(report, flows, "age", 1, &turns, &ages);
        }
    }

    ours.insert_to_stay(&keys.known)?;
    let records =
        keys.known.iter().map(|key| own.find(own.hash(key), key).map(|whole| whole.back).context("a flow is missing"));
    let records: Vec<&FlowBack> = records.collect::<Result<_>>()?;
    for table in tables.iter().filter(|table| table.name() != OURS) {
        together(eal, 1, |_| table.insert(0, &keys.known, &records))?;
    }
    for threads in 1..=cores.min(2) {
        for (operation, bursts, hit, touch) in [
            ("hit", &keys.hits, true, false),
            ("hit, record read", &keys.hits, true, true),
            ("miss", &keys.misses, false, false),
        ] {
            let mut turns = turns(&tables);
            let figures = measured(rounds_of(args, flows, usize::MAX), &mut turns, report, |turn| {
                let work = args.lookups.div_ceil(BURST);
                let start = turn.at;
                turn.at += work * threads;
                let spent = together(eal, threads, |thread| {
                    look_up(turn.table, thread, bursts, start + thread * work, work, hit, touch)
                })?;
                Ok(spent / (work * BURST * threads) as f64)
            })?;
            push(report, flows, operation, threads, &turns, &figures);
        }
    }
    if cores > 1 && memory::visitors(flows) > 0 {
        beside_churn(args, eal, &keys, &records, &tables, report)?;
    }
    Ok(())
}

fn turns<'t, 'a>(tables: &[&'t dyn Table<'a>]) -> Vec<Turn<'t, 'a>> {
    tables.iter().map(|&table| Turn { table, at: 0, removal: Vec::new() }).collect()
}

/// Looks `work` bursts up, from burst `start` of the sequence on, which begins again at its end.
fn look_up(
    table: &dyn Table<'_>,
    thread: usize,
    bursts: &[[Key; BURST]],
    start: usize,
    work: usize,
    hit: bool,
    touch: bool,
) -> Result<()> {
    let (mut at, mut left, mut hits) = (start % bursts.len(), work, 0);
    while left > 0 {
        let part = left.min(bursts.len() - at);
        hits += table.look_up(thread, &bursts[at..at + part], touch)?.hits;
        left -= part;
        at = 0;
    }
    let expected = if hit { (work * BURST) as u64 } else { 0 };
    ensure!(hits == expected, "{} found {hits} of {expected} flows", table.name());
    Ok(())
}

/// Nanoseconds per flow inserted; those per flow removed are left in `turn`. Small tables are filled several times.
fn fill_and_empty<'a>(
    eal: Option<&Eal>,
    turn: &mut Turn<'_, 'a>,
    threads: usize,
    keys: &[Key],
    records: &[&'a FlowBack],
) -> Result<f64> {
    let times = 65_536_usize.div_ceil(keys.len());
    let (mut inserting, mut removing, share) = (0.0, 0.0, keys.len().div_ceil(threads));
    for _ in 0..times {
        inserting += together(eal, threads, |thread| {
            let mine = thread * share..keys.len().min((thread + 1) * share);
            turn.table.insert(thread, &keys[mine.clone()], &records[mine])
        })?;
        removing += together(eal, 1, |_| turn.table.remove(keys))?;
    }
    let flows = (times * keys.len()) as f64;
    turn.removal.push(removing / flows);
    Ok(inserting / flows)
}

/// One thread looks up, the other inserts and removes other flows meanwhile.
fn beside_churn<'a>(
    args: &FlowArgs,
    eal: Option<&Eal>,
    keys: &Keys,
    records: &[&'a FlowBack],
    tables: &[&dyn Table<'a>],
    report: &mut Report,
) -> Result<()> {
    let flows = keys.known.len();
    let visitors = &keys.unknown[..memory::visitors(flows)];
    let mut turns = turns(tables);
    let hits = measured(rounds_of(args, flows, 5), &mut turns, report, |turn| {
        let (table, at, work) = (turn.table, turn.at, args.lookups.div_ceil(BURST));
        turn.at += work;
        let done = AtomicBool::new(false);
        let (looking, churning) = (std::sync::Mutex::new(0.0), std::sync::Mutex::new(0.0));
        let keep = |place: &std::sync::Mutex<f64>, value: f64| {
            *place.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = value;
        };
        together(eal, 2, |thread| {
            let start = cpu_time();
            if thread == 0 {
                let looked = look_up(table, 0, &keys.hits, at, work, true, false);
                keep(&looking, (cpu_time() - start).as_nanos() as f64 / (work * BURST) as f64);
                done.store(true, Ordering::Relaxed);
                return looked;
            }
            let mut times = 0usize;
            while times == 0 || !done.load(Ordering::Relaxed) {
                table.insert(1, visitors, records)?;
                table.remove(visitors)?;
                times += 1;
            }
            keep(&churning, (cpu_time() - start).as_nanos() as f64 / (times * visitors.len()) as f64);
            Ok(())
        })?;
        turn.removal.push(churning.into_inner().unwrap_or(0.0));
        Ok(looking.into_inner().unwrap_or(0.0))
    })?;
    push(report, flows, "hit beside churn", 2, &turns, &hits);
    let churn: Vec<Figure> = turns.iter().map(|t| Figure::of(&t.removal)).collect();
    push(report, flows, "churn", 2, &turns, &churn);
    Ok(())
}

/// A figure for each table; a peer that fails is taken out of `turns`, and the report says so.
fn measured<'t, 'a>(
    rounds: usize,
    turns: &mut Vec<Turn<'t, 'a>>,
    report: &mut Report,
    measure: impl FnMut(&mut Turn<'t, 'a>) -> Result<f64>,
) -> Result<Vec<Figure>> {
    let all = interleave_with_peers(rounds, turns, |turn| turn.table.name() != OURS, measure)?;
    let mut figures = Vec::new();
    let mut found = all.into_iter();
    turns.retain(|turn| match found.next() {
        Some(Ok(figure)) => {
            figures.push(figure);
            true
        }
        Some(Err(error)) => {
            report.notes.push(not_measured(turn.table.name(), &error));
            false
        }
        None => false,
    });
    Ok(figures)
}

/// A row for each table; ratios are against [`PEER`], if it was measured.
fn push(
    report: &mut Report,
    flows: usize,
    operation: &str,
    threads: usize,
    turns: &[Turn<'_, '_>],
    figures: &[Figure],
) {
    let peer = turns.iter().position(|turn| turn.table.name() == PEER).and_then(|at| figures.get(at));
    for (Turn { table, .. }, figure) in turns.iter().zip(figures) {
        report.push(
            &[
                ("flows", flows.to_string()),
                ("operation", operation.to_owned()),
                ("threads", threads.to_string()),
                ("table", table.name().to_owned()),
            ],
            *figure,
            peer.map(|peer| peer.median / figure.median),
        );
    }
}
