//! Flows for collectors: IPFIX (RFC 7011) over UDP or TCP or into a file (RFC 5655), and JSON lines into a file or a socket.
//!
//! The control thread makes a record of each flow that leaves the table, and of each that stays for long. It puts records into
//! bounded queues and never waits. Each destination has a queue and a thread of its own: one that is away or slow costs
//! neither the box nor the other anything but records, which are counted.

mod elements;
mod exporter;
mod format;
mod ipfix;
mod json;
mod outlet;
mod record;

pub use elements::{ELEMENTS, Element, Kind, table};
pub use exporter::{ExportCounters, Exporter};
pub use format::Format;
pub use ipfix::{Encoder, LIMIT, TEMPLATE};
pub use json::Lines;
pub use outlet::{Outlet, Target};
pub use record::{EndReason, FlowRecord};

use pipeline::flow::record::WholeFlow;
use pipeline::flow::table::FlowTable;
use pipeline::state::rules::Rules;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// `[export]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Where IPFIX goes.
    pub ipfix: Option<Target>,
    /// Where JSON lines go.
    pub json: Option<Target>,
    /// A flow that stays gets a record this often.
    pub active: Duration,
    /// Under which private enterprise number elements go that have no standard one; `None`: they do not go.
    pub enterprise: Option<u32>,
    /// Observation domain.
    pub domain: u32,
    /// Octets at which a file is full.
    pub file_limit: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ipfix: None,
            json: None,
            active: Duration::from_secs(60),
            enterprise: None,
            domain: 0,
            file_limit: 1 << 30,
        }
    }
}

/// At its end the box waits so long, at most, for room in the queues.
const PATIENCE: Duration = Duration::from_secs(2);

/// The control thread's side.
#[derive(Debug)]
pub struct FlowExport {
    exporters: Vec<Exporter>,
    active_ns: u64,
    /// By place in the table: packets that the records so far of the flow there have told. A record tells what came since.
    told: Box<[u64]>,
    next: usize,
}

impl FlowExport {
    /// `None`: nothing is configured. `capacity`: places in the flow table.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(settings: &Settings, capacity: usize) -> std::io::Result<Option<Self>> {
        let outlet = |target: &Target| Outlet::new(target.clone(), settings.file_limit);
        let mut exporters = Vec::new();
        if let Some(target) = &settings.ipfix {
            let udp = matches!(target, Target::Udp(_));
            let encoder = Encoder::new(settings.domain, settings.enterprise, udp);
            exporters.push(Exporter::start("ipfix", Box::new(encoder), outlet(target))?);
        }
        if let Some(target) = &settings.json {
            exporters.push(Exporter::start("json", Box::<Lines>::default(), outlet(target))?);
        }
        if exporters.is_empty() {
            return Ok(None);
        }
        let active_ns = u64::try_from(settings.active.as_nanos()).unwrap_or(u64::MAX);
        Ok(Some(Self { exporters, active_ns, told: vec![0; capacity].into(), next: 0 }))
    }

    /// What became of records, by destination.
    #[must_use]
    pub fn counters(&self) -> Vec<(&'static str, Arc<ExportCounters>)> {
        self.exporters.iter().map(Exporter::counters).collect()
    }

    /// A flow leaves the table.
    pub fn left(&mut self, place: usize, flow: WholeFlow<'_>, rules: &Rules, now_ns: u64) {
        let record = self.record(place, flow, rules, now_ns, EndReason::Idle);
        if let Some(told) = self.told.get_mut(place) {
            *told = 0;
        }
        self.exporters.iter().for_each(|exporter| exporter.offer(record.clone()));
    }

    /// Looks at the next `count` places: flows that have been there for long get a record, unless nothing has come since their
    /// last one.
    pub fn step(&mut self, table: &FlowTable, rules: &Rules, now_ns: u64, count: usize) {
        let capacity = table.capacity();
        for _ in 0..count.min(capacity) {
            let place = self.next;
            self.next = (self.next + 1) % capacity;
            let Some(flow) = table.at(place) else { continue };
            let told = self.told.get(place).copied().unwrap_or(0);
            let nothing_new = flow.idle(now_ns) > self.active_ns && flow.back.received() == told;
            if flow.age(now_ns) < self.active_ns || nothing_new {
                continue;
            }
            let record = self.record(place, flow, rules, now_ns, EndReason::Active);
            if let Some(told) = self.told.get_mut(place) {
                *told = record.figures.received;
            }
            self.exporters.iter().for_each(|exporter| exporter.offer(record.clone()));
        }
    }

    /// The box stops: what is in the table gets its last record, as far as the queues take it soon.
    pub fn stop(&mut self, table: &FlowTable, rules: &Rules, now_ns: u64) {
        let until = Instant::now() + PATIENCE;
        for place in 0..table.capacity() {
            let Some(flow) = table.at(place) else { continue };
            let record = self.record(place, flow, rules, now_ns, EndReason::Forced);
            self.exporters.iter().for_each(|exporter| exporter.offer_until(record.clone(), until));
        }
        self.exporters.clear(); // ends the threads, when they have sent what is in their queues
    }

    fn record(&self, place: usize, flow: WholeFlow<'_>, rules: &Rules, now_ns: u64, reason: EndReason) -> FlowRecord {
        let id = rules.id_of(flow.back);
        let policy = rules.policies().find(|(_, standing)| Some(standing.id) == id);
        let policy = policy.map_or("", |(policy, _)| &policy.name);
        let told = self.told.get(place).copied().unwrap_or(0);
        FlowRecord::new(flow.figures(now_ns), told, policy, reason, SystemTime::now())
    }
}

#[cfg(test)]
mod tests;
