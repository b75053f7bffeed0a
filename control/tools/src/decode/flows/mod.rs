//! `decode --flows`: each flow of a capture with its delays, what was lost, and what that means.
//!
//! A flow takes memory that does not grow with its packets, and there are only so many flows.

mod diagnosis;
mod direction;
mod histogram;
mod level;
pub(super) mod report;
mod sequence;
pub(super) mod series;

pub(super) use diagnosis::{Diagnosis, Verdict};
pub(super) use histogram::Histogram;

use super::record::Seen;
use direction::Direction;
use protocol::five_tuple::FiveTuple;
use series::Series;
use std::collections::HashMap;

/// Packets that all flows together may remember beyond the few that each does.
const MORE_SLOTS: usize = 1 << 20;
/// Ports below this are servers'.
const WELL_KNOWN: u16 = 1024;

/// A flow of both directions.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    /// The direction from the client to the server.
    pub tuple: FiveTuple,
    /// Its forms, by name, as far as there were some.
    pub forms: Vec<&'static str>,
    /// The boxes that sealed it.
    pub first_ns: Option<u64>,
    pub last_ns: Option<u64>,
    /// From the client, from the server.
    pub directions: [Direction; 2],
    /// For drawings.
    pub series: Option<Box<Series>>,
}

/// The client is who sent first, unless it did so from a server's port to another.
fn from_client(tuple: &FiveTuple) -> bool {
    tuple.sport >= WELL_KNOWN || tuple.dport < WELL_KNOWN || tuple.sport == tuple.dport
}

/// The flows of a capture.
#[derive(Debug)]
pub(super) struct Flows {
    flows: Vec<Flow>,
    /// By the direction from the client.
    places: HashMap<FiveTuple, usize>,
    most: usize,
    with_series: bool,
    budget: usize,
    /// Packets of flows that there was no place for.
    pub beyond: u64,
}

impl Flows {
    /// At most so many; with what drawings need, or without.
    pub fn new(most: usize, with_series: bool) -> Self {
        let (flows, places) = (Vec::new(), HashMap::new());
        Self { flows, places, most, with_series, budget: MORE_SLOTS, beyond: 0 }
    }

    /// Takes a packet.
    pub fn take(&mut self, seen: &Seen<'_>) {
        if seen.form.is_none() {
            return;
        }
        let reversed = seen.tuple.reversed();
        let (place, index) = match (self.places.get(&seen.tuple), self.places.get(&reversed)) {
            (Some(&place), _) => (place, 0),
            (None, Some(&place)) => (place, 1),
            (None, None) if self.flows.len() < self.most => {
                let index = usize::from(!from_client(&seen.tuple));
                let tuple = if index == 0 { seen.tuple } else { reversed };
                self.places.insert(tuple, self.flows.len());
                self.flows.push(Flow {
                    tuple,
                    forms: Vec::new(),
                    first_ns: seen.time_ns,
                    last_ns: None,
                    directions: Default::default(),
                    series: self.with_series.then(Box::default),
                });
                (self.flows.len() - 1, index)
            }
            (None, None) => {
                self.beyond += 1;
                return;
            }
        };
        let Some(flow) = self.flows.get_mut(place) else { return };
        if !flow.forms.contains(&seen.form_name()) {
            flow.forms.push(seen.form_name());
        }
        flow.last_ns = seen.time_ns.max(flow.last_ns);
        let [client, server] = &mut flow.directions;
        let (this, other) = if index == 0 { (client, server) } else { (server, client) };
        this.packets += 1;
        this.sealed += u64::from(seen.metrics.is_none());
        let told = this.take(seen, other, &mut self.budget);
        if let (Some(series), Some(at)) = (&mut flow.series, seen.time_ns) {
            // Of the delays only the server's is drawn: a client's is how long a person, or a program, thinks.
            let delay = told.delay_ns.filter(|_| index == 1);
            series.add(at, delay, told.round_trip_ns);
        }
    }

    /// The flows, those of most packets first.
    pub fn finish(self) -> Vec<Flow> {
        let mut flows = self.flows;
        flows.sort_by_key(|flow| std::cmp::Reverse(flow.packets()));
        flows
    }
}

impl Flow {
    /// Packets of both directions.
    pub fn packets(&self) -> u64 {
        self.directions.iter().map(|d| d.packets).sum()
    }
}

#[cfg(test)]
mod tests;
