//! What `run` and `replay` make alike: the shared state of the workers, out of the configuration.

use crate::config::Config;
use crate::keys::from_file::FileKeys;
use crate::keys::recorder::Recorder;
use crate::observe::counts::{Counts, Flows, MemoryCount};
use anyhow::Context;
use common::key_log::Writer;
use pipeline::flow::memory::Pages;
use pipeline::flow::table::{FlowTable, TableSize};
use pipeline::observe::counters::WorkerCounters;
use pipeline::state::rules::{PathConfig, Timeouts};
use pipeline::state::shared::Shared;
use pipeline::state::snapshot::SnapshotCell;
use protocol::prseq::MasterKey;
use std::sync::Arc;
use zeroize::Zeroizing;

fn random<const N: usize>() -> anyhow::Result<Zeroizing<[u8; N]>> {
    let mut octets = Zeroizing::new([0; N]);
    getrandom::fill(&mut *octets).map_err(|e| anyhow::anyhow!("the system gives no random octets: {e}"))?;
    Ok(octets)
}

/// The workers' shared state. `outside_mtu`: octets from the IPv6 header on.
pub fn shared(
    config: &Config,
    cell: SnapshotCell,
    outside_mtu: usize,
    started_ns: u64,
    workers: usize,
) -> anyhow::Result<Arc<Shared>> {
    let path = path(config, outside_mtu, started_ns);
    let size = TableSize { capacity: config.flow_table.capacity, tombstones: config.flow_table.tombstones };
    let table = FlowTable::new(size, *random()?);
    Ok(Arc::new(Shared::new(path, table, cell, MasterKey::new(*random()?), workers)))
}

/// The settings of the path, in force from this time on. `outside_mtu`: octets from the IPv6 header on.
#[must_use]
pub fn path(config: &Config, outside_mtu: usize, started_ns: u64) -> PathConfig {
    PathConfig {
        policies: config.policies.clone(),
        pairs: config.pairs.clone(),
        timeouts: Timeouts { idle_ns: config.flow_table.idle_timeout.as_nanos().min(u128::from(u64::MAX)) as u64 },
        outside_mtu,
        oversize: config.forwarding.oversize,
        mss_clamp: config.forwarding.mss_clamp,
        diagnostics: config.diagnostics,
        started_ns,
    }
}

/// The keys of the configuration, not yet in use. `None`: it names none.
pub fn keys(config: &mut Config, seals: bool) -> anyhow::Result<Option<FileKeys>> {
    let recorder = recorder(config)?;
    config.keys.take().map(|keys| FileKeys::new(keys, &config.node, seals, recorder)).transpose()
}

/// Where secrets are written down, if the configuration wants that.
pub fn recorder(config: &Config) -> anyhow::Result<Recorder> {
    Ok(Recorder::new(config.key_log.as_deref().map(Writer::open).transpose().context("[keys] log")?))
}

/// Where a worker records what it seals with, if the configuration wants that.
pub fn audit(config: &Config) -> anyhow::Result<Option<pipeline::observe::audit::AuditSink>> {
    let Some(path) = &config.audit else { return Ok(None) };
    let file = std::fs::File::options().create(true).append(true).open(path);
    let file = file.with_context(|| format!("[audit] file: cannot write {}", path.display()))?;
    Ok(Some(pipeline::observe::audit::AuditSink::new(file)))
}

/// The present counts, but for the ports and what the control thread has counted. `now_ns`: on the workers' clock.
pub fn counts(node: &str, shared: &Shared, workers: &[Arc<WorkerCounters>], now_ns: u64) -> Counts {
    let mut counts = Counts::of(workers, &shared.snapshots.rules());
    counts.now_ns = now_ns;
    let table = &shared.table;
    node.clone_into(&mut counts.node);
    counts.flows = Flows {
        in_table: table.used() as u64,
        capacity: table.capacity() as u64,
        tombstones: table.tombstones.used(),
        tombstone_capacity: table.tombstones.capacity() as u64,
        memory_octets: TableSize { capacity: table.capacity(), tombstones: table.tombstones.capacity() }.memory()
            as u64,
        ..counts.flows
    };
    let of = |(of, pages): (&'static str, Pages)| {
        pages.by_size().map(|(pages, octets)| MemoryCount { of, pages, octets: octets as u64 })
    };
    counts.memory = table.pages().into_iter().flat_map(of).collect();
    counts.path_mtu.known = u64::from(shared.path_mtus.used());
    counts.path_mtu.capacity = shared.path_mtus.capacity() as u64;
    counts
}

/// Logs how many hugepages would hold the flow table and the packet buffers, and what each lies on.
pub fn tell_memory(shared: &Shared, buffers: &MemoryCount) {
    let tables = shared.table.pages();
    let for_table: usize = tables.iter().map(|(_, pages)| pages.in_huge()).sum();
    let for_packets = buffers.octets.div_ceil(2 << 20);
    let on = |(name, pages): &(&str, Pages)| {
        let sizes = pages.by_size().into_iter().filter(|&(_, octets)| octets > 0);
        let sizes: Vec<_> =
            sizes.map(|(pages, octets)| format!("{} MiB on {pages}", octets.div_ceil(1 << 20))).collect();
        format!("{name} {}", sizes.join(" and "))
    };
    tracing::info!(
        "memory: {for_table} hugepages of 2 MiB hold the flow table, and {for_packets} the packet buffers; pages: {}, \
         buffers {} MiB on {}",
        tables.iter().map(on).collect::<Vec<_>>().join(", "),
        buffers.octets.div_ceil(1 << 20),
        buffers.pages,
    );
}

/// Prints the counts at the end.
pub fn print(counts: &Counts, json: bool) -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(counts)?)?;
    } else {
        write!(out, "{counts}")?;
    }
    Ok(out.flush()?)
}
