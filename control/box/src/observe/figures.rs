//! The box's figures, each written once. Prometheus' text, JSON, the table printed at the end and `docs/metrics.md` are
//! made from this table. Who adds a counter adds a row here, and counts it in the pipeline.
// A table: one row for each figure, in the order in which they are shown.
#![expect(
    clippy::redundant_closure_for_method_calls,
    reason = "a method of Direction is of one lifetime, a closure of any"
)]

use super::counts::{Counts, FORMS, LINK_STATES, RSS_FIELDS, RSS_KEYS, TIMESTAMPS};
use super::sums;
use crate::resumption::Cause;
use common::metrics::Print::{Below, IfAny, On};
use common::metrics::Read::{Count, Each, One};
use common::metrics::{Book, Figure, Label, Sample, Value};
use pipeline::observe::reasons::Finding;
use pipeline::observe::reasons::Reason;

type Row = Figure<Counts>;

/// Lines of the table printed at the end, of which several rows have parts.
const DIRECTION: &str = "{direction} ({direction.meaning}):";
const OUTBOUND: &str = "outbound (inside to outside):";
const INBOUND: &str = "inbound (outside to inside):";
const POLICY: &str = "policy {policy} ({mode}):";
const PAIR: &str = "pair {pair}:";
const PORT: &str = "port {port}:";

/// The box's table.
pub static BOOK: Book<Counts> = Book { figures: FIGURES, labels: LABELS };

const FIGURES: &[Row] = &[
    // The box.
    Row::word("Name of the box.", One(|c| c.node.as_str().into())).json("node").print(On("", "{}:")),
    Row::info(
        "pdmv2_build_info",
        "Versions of the program and of DPDK, and the AEAD code that this CPU runs.",
        Each(build),
    )
    .by(&["version", "dpdk", "aead"]),
    Row::gauge(
        "pdmv2_sealing",
        "",
        "1 when the box has a key to seal with, 0 when packets pass without the option.",
        One(|c| c.generation.is_some().into()),
    ),
    Row::gauge(
        "pdmv2_generation",
        "",
        "Generation the box seals under; 0 for none, in JSON null.",
        One(|c| c.generation.map(u64::from).into()),
    )
    .json("generation")
    .print(On("", " generation {}| no key to seal with")),
    Row::gauge(
        "pdmv2_registration_state",
        "",
        "1 when a registrar has the box, 0 when none can be reached. Only of a box that registers.",
        Each(|c| c.of_registration(|r| r.registered)),
    )
    .json("registration.registered"),
    Row::gauge(
        "pdmv2_registration_out_of_touch",
        "",
        "1 when no registrar has had the box for so long that others may use keys that it has not got.",
        Each(|c| c.of_registration(|r| r.out_of_touch)),
    )
    .json("registration.out_of_touch"),
    Row::gauge(
        "pdmv2_registration_keys_expire_seconds",
        "seconds",
        "Until the box stops sealing, unless it hears from a registrar; when it does not seal 0, \
                 in JSON null.",
        Each(|c| c.of_registration(|r| r.keys_expire_seconds)),
    )
    .json("registration.keys_expire_seconds"),
    Row::gauge("pdmv2_workers", "", "Worker loops.", Count(|c| c.workers.len() as u64))
        .json("workers")
        .print(On("", ", {} worker(s)")),
    Row::gauge("pdmv2_up_seconds", "seconds", "Time since the box started.", One(|c| c.uptime_seconds.into()))
        .json("uptime_seconds")
        .print(On("", ", {} s")),
    // What becomes of packets.
    Row::counter(
        "pdmv2_packets_received_total",
        "packets",
        "Packets received from the ports.",
        Each(|c| c.by_direction(|d| d.received())),
    )
    .by(&["direction"])
    .json("{direction}.received")
    .print(On(DIRECTION, " {} received")),
    Row::counter(
        "pdmv2_packets_forwarded_total",
        "packets",
        "Packets handed to the ports.",
        Each(|c| c.by_direction(|d| d.forwarded())),
    )
    .by(&["direction"])
    .json("{direction}.forwarded")
    .print(On(DIRECTION, ", {} forwarded")),
    Row::counter("", "packets", "Packets dropped, for whatever reason.", Each(|c| c.by_direction(|d| d.dropped())))
        .by(&["direction"])
        .json("{direction}.dropped_total")
        .print(On(DIRECTION, ", {} dropped")),
    Row::counter(
        "pdmv2_options_added_total",
        "options",
        "Options added towards the network.",
        Each(|c| c.outbound().by_form(|d| &d.added)),
    )
    .by(&["form"])
    .json("outbound.added.{form}")
    .print(Below(OUTBOUND, "added {form}")),
    Row::counter("", "options", "Always 0: options are added outbound.", Each(|c| c.inbound().by_form(|d| &d.added)))
        .by(&["form"])
        .json("inbound.added.{form}"),
    Row::counter(
        "pdmv2_options_removed_total",
        "options",
        "Options that verified (clear ones: were read) and were taken out.",
        Each(|c| c.inbound().by_form(|d| &d.removed)),
    )
    .by(&["form"])
    .json("inbound.removed.{form}")
    .print(Below(INBOUND, "removed {form}")),
    Row::counter(
        "",
        "options",
        "Always 0: options are taken out inbound.",
        Each(|c| c.outbound().by_form(|d| &d.removed)),
    )
    .by(&["form"])
    .json("outbound.removed.{form}"),
    Row::counter(
        "pdmv2_options_verified_total",
        "options",
        "Options that verified (clear ones: were read) and stay in place.",
        Each(|c| c.inbound().by_form(|d| &d.verified)),
    )
    .by(&["form"])
    .json("inbound.verified.{form}")
    .print(Below(INBOUND, "verified {form}")),
    Row::counter(
        "",
        "options",
        "Always 0: options are verified inbound.",
        Each(|c| c.outbound().by_form(|d| &d.verified)),
    )
    .by(&["form"])
    .json("outbound.verified.{form}"),
    Row::counter(
        "pdmv2_packets_passed_total",
        "packets",
        "Packets passed as they came, by reason.",
        Each(|c| c.by_reason(|d| &d.passed)),
    )
    .by(&["direction", "reason"])
    .json("{direction}.passed.{reason}")
    .sparse()
    .print(Below(DIRECTION, "passed: {reason}")),
    Row::counter(
        "pdmv2_packets_stripped_total",
        "packets",
        "Packets whose option did not verify and was taken out, by reason.",
        Each(|c| c.by_reason(|d| &d.stripped)),
    )
    .by(&["direction", "reason"])
    .json("{direction}.stripped.{reason}")
    .sparse()
    .print(Below(DIRECTION, "stripped: {reason}")),
    Row::counter(
        "pdmv2_packets_dropped_total",
        "packets",
        "Packets dropped, by reason.",
        Each(|c| c.by_reason(|d| &d.dropped)),
    )
    .by(&["direction", "reason"])
    .json("{direction}.dropped.{reason}")
    .sparse()
    .print(Below(DIRECTION, "dropped: {reason}")),
    Row::counter(
        "pdmv2_packets_too_big_total",
        "packets",
        "Packets answered with ICMPv6 Packet Too Big.",
        Each(|c| c.by_direction(|d| d.sum(|w| &w.too_big))),
    )
    .by(&["direction"])
    .json("{direction}.too_big")
    .print(Below(DIRECTION, "answered with Packet Too Big")),
    // Policies, in the configuration's order.
    Row::word("Name of the policy.", Each(|c| c.policies.iter().map(|p| Sample::new([""; 0], &*p.name)).collect()))
        .json("policies[].name"),
    Row::word("Its mode.", Each(|c| c.policies.iter().map(|p| Sample::new([""; 0], p.mode)).collect()))
        .json("policies[].mode"),
    Row::counter(
        "pdmv2_policy_added_total",
        "options",
        "Options put in, by policy.",
        Each(|c| sums::each(&c.policies, |p| &p.added)),
    )
    .by(&["policy", "mode"])
    .json("policies[].added")
    .print(On(POLICY, " {} added")),
    Row::counter(
        "pdmv2_policy_accepted_total",
        "options",
        "Options that verified, by policy.",
        Each(|c| sums::each(&c.policies, |p| &p.accepted)),
    )
    .by(&["policy", "mode"])
    .json("policies[].accepted")
    .print(On(POLICY, ", {} accepted")),
    Row::counter(
        "pdmv2_policy_failed_total",
        "options",
        "Options that did not verify, by policy.",
        Each(|c| sums::each(&c.policies, |p| &p.failed)),
    )
    .by(&["policy", "mode"])
    .json("policies[].failed")
    .print(On(POLICY, ", {} failed")),
    Row::counter(
        "pdmv2_policy_skipped_total",
        "packets",
        "Packet sequence numbers skipped when a later one came, by policy: what is lost, and what comes late.",
        Each(|c| sums::each(&c.policies, |p| &p.skipped)),
    )
    .by(&["policy", "mode"])
    .json("policies[].skipped"),
    Row::counter(
        "pdmv2_policy_found_total",
        "packets",
        "Packets that came after their number had been skipped, by policy.",
        Each(|c| sums::each(&c.policies, |p| &p.found)),
    )
    .by(&["policy", "mode"])
    .json("policies[].found"),
    Row::gauge(
        "pdmv2_policy_lost_packets",
        "packets",
        "Packets that are missing: skipped, and not found since, by policy.",
        Each(|c| sums::lost(&c.policies)),
    )
    .by(&["policy", "mode"])
    .json("policies[].lost")
    .print(On(POLICY, ", {} lost")),
    Row::counter(
        "pdmv2_policy_late_total",
        "packets",
        "Packets that came behind a later one, by policy.",
        Each(|c| sums::each(&c.policies, |p| &p.late)),
    )
    .by(&["policy", "mode"])
    .json("policies[].late")
    .print(On(POLICY, ", {} late")),
    Row::counter(
        "pdmv2_policy_duplicates_total",
        "packets",
        "Packets that came again, by policy. Sealed ones are refused, and counted as failed too.",
        Each(|c| sums::each(&c.policies, |p| &p.duplicates)),
    )
    .by(&["policy", "mode"])
    .json("policies[].duplicates")
    .print(On(POLICY, ", {} again")),
    Row::histogram(
        "pdmv2_policy_round_trip_seconds",
        "Round-trip delay between the boxes, by policy. Empty when `[diagnostics] flows` is off.",
        Each(|c| sums::times(&c.policies, |p| &p.round_trip)),
    )
    .by(&["policy", "mode"])
    .json("policies[].round_trip"),
    Row::histogram(
        "pdmv2_policy_server_delay_seconds",
        "Delay behind the far box, by policy. Empty when `[diagnostics] flows` is off.",
        Each(|c| sums::times(&c.policies, |p| &p.server_delay)),
    )
    .by(&["policy", "mode"])
    .json("policies[].server_delay"),
    Row::histogram(
        "pdmv2_policy_end_to_end_seconds",
        "Both together, by policy. Empty when `[diagnostics] flows` is off.",
        Each(|c| sums::times(&c.policies, |p| &p.end_to_end)),
    )
    .by(&["policy", "mode"])
    .json("policies[].end_to_end"),
    Row::gauge(
        "pdmv2_policy_ends_seconds",
        "seconds",
        "Seconds until a policy ends, of each that does: by its `lifetime`, or as `pdmv2 policy` has set it. 0: it has ended.",
        Each(Counts::policies_end),
    )
    .by(&["policy"]),
    // Pairs of prefixes, in the configuration's order.
    Row::word("Name of the pair.", Each(|c| c.pairs.iter().map(|p| Sample::new([""; 0], &*p.name)).collect()))
        .json("pairs[].name"),
    Row::counter(
        "pdmv2_pair_added_total",
        "options",
        "Options put in, by pair.",
        Each(|c| sums::each(&c.pairs, |p| &p.added)),
    )
    .by(&["pair"])
    .json("pairs[].added")
    .print(On(PAIR, " {} added")),
    Row::counter(
        "pdmv2_pair_accepted_total",
        "options",
        "Options that verified, by pair.",
        Each(|c| sums::each(&c.pairs, |p| &p.accepted)),
    )
    .by(&["pair"])
    .json("pairs[].accepted")
    .print(On(PAIR, ", {} accepted")),
    Row::counter(
        "pdmv2_pair_failed_total",
        "options",
        "Options that did not verify, by pair.",
        Each(|c| sums::each(&c.pairs, |p| &p.failed)),
    )
    .by(&["pair"])
    .json("pairs[].failed")
    .print(On(PAIR, ", {} failed")),
    Row::gauge(
        "pdmv2_pair_lost_packets",
        "packets",
        "Packets that are missing: skipped, and not found since, by pair.",
        Each(|c| sums::lost(&c.pairs)),
    )
    .by(&["pair"])
    .json("pairs[].lost")
    .print(On(PAIR, ", {} lost")),
    Row::counter(
        "pdmv2_pair_late_total",
        "packets",
        "Packets that came behind a later one, by pair.",
        Each(|c| sums::each(&c.pairs, |p| &p.late)),
    )
    .by(&["pair"])
    .json("pairs[].late")
    .print(On(PAIR, ", {} late")),
    Row::counter(
        "pdmv2_pair_duplicates_total",
        "packets",
        "Packets that came again, by pair.",
        Each(|c| sums::each(&c.pairs, |p| &p.duplicates)),
    )
    .by(&["pair"])
    .json("pairs[].duplicates")
    .print(On(PAIR, ", {} again")),
    Row::histogram(
        "pdmv2_pair_round_trip_seconds",
        "Round-trip delay between the boxes, by pair. Empty when `[diagnostics] flows` is off.",
        Each(|c| sums::times(&c.pairs, |p| &p.round_trip)),
    )
    .by(&["pair"])
    .json("pairs[].round_trip"),
    Row::histogram(
        "pdmv2_pair_server_delay_seconds",
        "Delay behind the far box, by pair. Empty when `[diagnostics] flows` is off.",
        Each(|c| sums::times(&c.pairs, |p| &p.server_delay)),
    )
    .by(&["pair"])
    .json("pairs[].server_delay"),
    Row::histogram(
        "pdmv2_pair_end_to_end_seconds",
        "Both together, by pair. Empty when `[diagnostics] flows` is off.",
        Each(|c| sums::times(&c.pairs, |p| &p.end_to_end)),
    )
    .by(&["pair"])
    .json("pairs[].end_to_end"),
    // The flow table.
    Row::gauge(
        "pdmv2_flows",
        "flows",
        "Flows in the table, those included whose records wait to be used again.",
        Count(|c| c.flows.in_table),
    )
    .json("flows.in_table")
    .print(On("flows:", " {} of")),
    Row::gauge("pdmv2_flows_capacity", "flows", "Flows the table can hold.", Count(|c| c.flows.capacity))
        .json("flows.capacity")
        .print(On("flows:", " {} in the table")),
    Row::counter(
        "pdmv2_flows_inserted_total",
        "flows",
        "Flows put into the table.",
        Count(|c| c.sum(|w| &w.flows_inserted)),
    )
    .json("flows.inserted")
    .print(On("flows:", ", {} inserted")),
    Row::counter(
        "pdmv2_flows_expired_total",
        "flows",
        "Flows taken out after their idle time.",
        Count(|c| c.flows.expired),
    )
    .json("flows.expired")
    .print(On("flows:", ", {} expired")),
    Row::gauge("pdmv2_flow_tombstones", "flows", "Flows remembered after they left.", Count(|c| c.flows.tombstones))
        .json("flows.tombstones")
        .print(On("flows:", ", {} tombstones")),
    Row::gauge(
        "pdmv2_flow_tombstones_capacity",
        "flows",
        "Places for them: what is configured, rounded up to a power of two.",
        Count(|c| c.flows.tombstone_capacity),
    )
    .json("flows.tombstone_capacity"),
    Row::gauge(
        "pdmv2_flow_table_bytes",
        "bytes",
        "Memory of the flow table, taken at the start.",
        Count(|c| c.flows.memory_octets),
    )
    .json("flows.memory_octets"),
    Row::gauge(
        "pdmv2_memory_bytes",
        "bytes",
        "Memory of the flow table's parts and of the packet buffers, by the pages that it lies on.",
        Each(|c| c.memory.iter().map(|m| Sample::new([m.of, m.pages], m.octets)).collect()),
    )
    .by(&["of", "pages"])
    .json("memory.{of}.{pages}")
    .sparse(),
    Row::counter(
        "pdmv2_unrecorded_packets_total",
        "packets",
        "Genuine encrypted packets let through without a record, since the table was full.",
        Count(|c| c.sum(|w| &w.unrecorded)),
    )
    .json("flows.unrecorded"),
    // Numbers and keys.
    Row::counter(
        "pdmv2_sequence_skipped_total",
        "packets",
        "Sequence numbers skipped when a later one came: lost, or late.",
        Count(|c| c.sum(|w| &w.skipped)),
    )
    .json("sequence.skipped")
    .print(On("sequence:", " {} skipped")),
    Row::counter(
        "pdmv2_sequence_reordered_total",
        "packets",
        "Packets that came behind a later one.",
        Count(|c| c.sum(|w| &w.reordered)),
    )
    .json("sequence.reordered")
    .print(On("sequence:", ", {} reordered")),
    Row::counter(
        "pdmv2_key_rotations_total",
        "",
        "Kri changes, in packets sealed and in packets opened.",
        Each(|c| vec![Sample::new(["sealed"], c.sum(|w| &w.rotations_sealed))]),
    )
    .by(&["side"])
    .json("rotations.sealed")
    .print(On("sequence:", "; rotations: {} sealed")),
    Row::counter(
        "pdmv2_key_rotations_total",
        "",
        "Kri changes, in packets sealed and in packets opened.",
        Each(|c| vec![Sample::new(["opened"], c.sum(|w| &w.rotations))]),
    )
    .by(&["side"])
    .json("rotations.opened")
    .print(On("sequence:", ", {} opened")),
    Row::counter("pdmv2_key_derivations_total", "keys", "Session keys derived.", Count(|c| c.sum(|w| &w.derivations)))
        .json("keys.derivations"),
    Row::counter(
        "pdmv2_key_trials_total",
        "",
        "Openings tried beyond a packet's first.",
        Count(|c| c.sum(|w| &w.trials)),
    )
    .json("keys.trials"),
    Row::counter(
        "pdmv2_flows_resynced_total",
        "flows",
        "Flows found again that had gone too far ahead.",
        Count(|c| c.flows.resynced),
    )
    .json("keys.resynced"),
    Row::counter(
        "pdmv2_resumptions_total",
        "",
        "Resumptions from a snapshot that were noticed, by what gave them away.",
        Each(|c| c.resumptions.iter().map(|(cause, &n)| Sample::new([cause], n)).collect()),
    )
    .by(&["cause"])
    .json("resumptions.{cause}"),
    Row::gauge(
        "pdmv2_take_over_gap_seconds",
        "seconds",
        "For so long nobody had the ports when this process took over from another; 0: it was started otherwise.",
        One(|c| c.take_over.from.map_or(0.0, |(_, gap)| gap).into()),
    )
    .json("take_over.gap_seconds"),
    Row::counter(
        "pdmv2_take_overs_failed_total",
        "",
        "Times that another process was to take over from this one, and did not.",
        Count(|c| c.take_over.failed),
    )
    .json("take_over.failed"),
    // Packets that need more than an option.
    Row::counter(
        "pdmv2_mss_clamped_total",
        "packets",
        "TCP SYNs whose MSS was lowered, in both directions.",
        Count(|c| c.sum(|w| &w.mss_clamped)),
    )
    .json("mss_clamped"),
    Row::counter(
        "pdmv2_path_mtu_learnt_total",
        "",
        "Times that something new was learnt of a path.",
        Count(|c| c.sum(|w| &w.path_mtus_learnt)),
    )
    .json("path_mtu.learnt")
    .print(IfAny("path MTU:", " {} learnt")),
    Row::gauge(
        "pdmv2_path_mtu_known",
        "destinations",
        "Destinations of whose path something is known.",
        Count(|c| c.path_mtu.known),
    )
    .json("path_mtu.known")
    .print(IfAny("path MTU:", ", {} destinations known")),
    Row::gauge("pdmv2_path_mtu_capacity", "destinations", "Places for them.", Count(|c| c.path_mtu.capacity))
        .json("path_mtu.capacity"),
    Row::counter(
        "pdmv2_quotations_total",
        "packets",
        "ICMPv6 errors from the network that quote a packet with an option, by what was found.",
        Each(Counts::by_finding),
    )
    .by(&["finding"])
    .json("quotations.{finding}")
    .sparse()
    .print(Below("path MTU:", "ICMPv6 errors that quote an option: {finding}")),
    Row::counter(
        "pdmv2_copied_packets_total",
        "packets",
        "Packets copied to be changed, since their buffers may not be written to: some drivers \
                 hand packets over in the device's memory (mlx5 with mprq_en=1).",
        Count(|c| c.sum(|w| &w.copied)),
    )
    .json("copied"),
    // Delays, of all flows together.
    Row::histogram(
        "pdmv2_round_trip_seconds",
        "Round-trip delay between the boxes, without the far side's delay (RFC 8250 appendix C).",
        One(|c| Value::Times(Box::new(c.times(|w| &w.round_trip)))),
    )
    .json("delays.round_trip")
    .print(IfAny("round-trip delay:", " {}")),
    Row::histogram(
        "pdmv2_server_delay_seconds",
        "Delay behind the far box, from its receiving to its sending (RFC 8250 appendix C).",
        One(|c| Value::Times(Box::new(c.times(|w| &w.server_delay)))),
    )
    .json("delays.server_delay")
    .print(IfAny("server delay:", " {}")),
    // Flows that are told to collectors.
    Row::counter(
        "pdmv2_export_records_sent_total",
        "records",
        "Records of flows that were sent or written. Only of a box that exports.",
        Each(|c| c.by_export(|e| e.sent)),
    )
    .by(&["to"])
    .json("export.{to}.sent"),
    Row::counter(
        "pdmv2_export_records_unsent_total",
        "records",
        "Records of flows that were not: the collector was away or slow, or the file full.",
        Each(|c| c.by_export(|e| e.unsent)),
    )
    .by(&["to"])
    .json("export.{to}.unsent"),
    Row::gauge(
        "pdmv2_export_connected",
        "",
        "Whether there is a connection or file; over UDP, whether the last message could be sent.",
        Each(|c| c.by_export(|e| e.connected)),
    )
    .by(&["to"])
    .json("export.{to}.connected"),
    // Workers.
    Row::counter(
        "pdmv2_worker_packets_total",
        "packets",
        "Packets received from both ports, by worker.",
        Each(|c| c.by_worker(|w| w.outbound.received.get() + w.inbound.received.get())),
    )
    .by(&["worker"])
    .json("by_worker[].received"),
    Row::counter(
        "pdmv2_worker_bursts_total",
        "bursts",
        "Bursts that held packets, by worker.",
        Each(|c| c.by_worker(|w| w.bursts.get())),
    )
    .by(&["worker"])
    .json("by_worker[].bursts"),
    Row::counter(
        "pdmv2_worker_empty_polls_total",
        "",
        "Polls of both ports that found nothing, by worker.",
        Each(|c| c.by_worker(|w| w.empty_polls.get())),
    )
    .by(&["worker"])
    .json("by_worker[].empty_polls"),
    Row::gauge(
        "pdmv2_worker_turn_age_seconds",
        "seconds",
        "Time since a worker was last seen to turn, which is looked at every 0.2 s: more than that, and it stands still.",
        Each(Counts::turn_ages),
    )
    .by(&["worker"]),
    Row::counter(
        "pdmv2_worker_handed_over_packets_total",
        "packets",
        "Packets handed over to the workers that own their flows, by worker.",
        Each(|c| c.by_worker(|w| w.handed_over.get())),
    )
    .by(&["worker"])
    .json("by_worker[].handed_over"),
    Row::counter(
        "pdmv2_worker_taken_over_packets_total",
        "packets",
        "Packets taken over from other workers, by worker.",
        Each(|c| c.by_worker(|w| w.taken_over.get())),
    )
    .by(&["worker"])
    .json("by_worker[].taken_over"),
    Row::counter(
        "pdmv2_worker_refused_packets_total",
        "packets",
        "Packets that could not be handed over, since the ring was full or the other worker had ended, by worker.",
        Each(|c| c.by_worker(|w| w.refused.get())),
    )
    .by(&["worker"])
    .json("by_worker[].refused"),
    Row::counter(
        "pdmv2_worker_flows_given_total",
        "flows",
        "Flows given to the workers that their packets come to, by the worker that gave them.",
        Each(|c| c.by_worker(|w| w.flows_given.get())),
    )
    .by(&["worker"])
    .json("by_worker[].flows_given"),
    Row::counter(
        "pdmv2_worker_flows_split_total",
        "flows",
        "Flows whose packets came to more than one worker, mostly one direction to each: each flow once, by the worker that \
                 was not its owner.",
        Each(|c| c.by_worker(|w| w.flows_split.get())),
    )
    .by(&["worker"])
    .json("by_worker[].flows_split"),
    Row::counter(
        "pdmv2_worker_stamps_used_total",
        "packets",
        "Packets from outside that were measured by the device's time stamps (`[ports] timestamps`), by worker.",
        Each(|c| c.by_worker(|w| w.stamps_used.get())),
    )
    .by(&["worker"])
    .json("by_worker[].stamps_used"),
    Row::counter(
        "pdmv2_worker_stamps_refused_total",
        "packets",
        "Packets from outside whose time stamp cannot be true: measured by when their burst was taken, by worker.",
        Each(|c| c.by_worker(|w| w.stamps_refused.get())),
    )
    .by(&["worker"])
    .json("by_worker[].stamps_refused"),
    // Ports: what they were set up with, and what their drivers count.
    Row::info("pdmv2_port_info", "What a port was set up with.", Each(Counts::port_settings))
        .by(&[
            "port",
            "driver",
            "offloads",
            "rss",
            "rss_key",
            "timestamps",
            "queues",
            "mtu",
            "headroom",
            "rx_descriptors",
            "tx_descriptors",
            "numa_node",
        ]),
    Row::word("Its driver in DPDK.", Each(|c| c.by_settings(|p| &p.driver))).by(&["port"]).json("ports.{port}.driver"),
    Row::word("Its offloads in use.", Each(|c| c.by_settings(|p| &p.offloads)))
        .by(&["port"])
        .json("ports.{port}.offloads"),
    Row::word("What of IPv6 packets spreads them over its queues.", Each(|c| c.by_settings(|p| p.rss)))
        .by(&["port"])
        .json("ports.{port}.rss"),
    Row::word("The key that it hashes them under.", Each(|c| c.by_settings(|p| p.rss_key)))
        .by(&["port"])
        .json("ports.{port}.rss_key"),
    Row::word("The clock by which its packets come.", Each(|c| c.by_settings(|p| p.timestamps)))
        .by(&["port"])
        .json("ports.{port}.timestamps"),
    Row::gauge("", "", "Its queue pairs.", Each(|c| c.by_setting(|p| p.queues)))
        .by(&["port"])
        .json("ports.{port}.queues"),
    Row::gauge("", "", "Its MTU, octets from the IP header on.", Each(|c| c.by_setting(|p| p.mtu)))
        .by(&["port"])
        .json("ports.{port}.mtu"),
    Row::gauge("", "", "Octets in front of a packet in its buffer.", Each(|c| c.by_setting(|p| p.headroom)))
        .by(&["port"])
        .json("ports.{port}.headroom"),
    Row::gauge(
        "",
        "",
        "Descriptors of each receive queue, as the driver has them.",
        Each(|c| c.by_setting(|p| p.rx_descriptors)),
    )
    .by(&["port"])
    .json("ports.{port}.rx_descriptors"),
    Row::gauge("", "", "Descriptors of each transmit queue.", Each(|c| c.by_setting(|p| p.tx_descriptors)))
        .by(&["port"])
        .json("ports.{port}.tx_descriptors"),
    Row::word("Its NUMA node; `any` where it has none.", Each(|c| c.by_settings(|p| &p.numa_node)))
        .by(&["port"])
        .json("ports.{port}.numa_node"),
    Row::counter(
        "pdmv2_port_received_packets_total",
        "packets",
        "Packets received, as the driver counts.",
        Each(|c| c.by_port(|p| p.rx_packets)),
    )
    .by(&["port"])
    .json("ports.{port}.rx_packets")
    .print(On(PORT, " rx {}")),
    Row::counter(
        "pdmv2_port_transmitted_packets_total",
        "packets",
        "Packets sent, as the driver counts.",
        Each(|c| c.by_port(|p| p.tx_packets)),
    )
    .by(&["port"])
    .json("ports.{port}.tx_packets")
    .print(On(PORT, " tx {}")),
    Row::counter("pdmv2_port_received_bytes_total", "bytes", "Octets received.", Each(|c| c.by_port(|p| p.rx_octets)))
        .by(&["port"])
        .json("ports.{port}.rx_octets"),
    Row::counter("pdmv2_port_transmitted_bytes_total", "bytes", "Octets sent.", Each(|c| c.by_port(|p| p.tx_octets)))
        .by(&["port"])
        .json("ports.{port}.tx_octets"),
    Row::counter(
        "pdmv2_port_missed_packets_total",
        "packets",
        "Packets the device dropped since its queue was full.",
        Each(|c| c.by_port(|p| p.rx_missed)),
    )
    .by(&["port"])
    .json("ports.{port}.rx_missed")
    .print(On(PORT, " missed {}")),
    Row::counter(
        "pdmv2_port_receive_errors_total",
        "packets",
        "Damaged packets received.",
        Each(|c| c.by_port(|p| p.rx_errors)),
    )
    .by(&["port"])
    .json("ports.{port}.rx_errors")
    .print(On(PORT, " rx errors {}")),
    Row::counter(
        "pdmv2_port_transmit_errors_total",
        "packets",
        "Packets that could not be sent.",
        Each(|c| c.by_port(|p| p.tx_errors)),
    )
    .by(&["port"])
    .json("ports.{port}.tx_errors")
    .print(On(PORT, " tx errors {}")),
    Row::counter(
        "pdmv2_port_no_buffer_total",
        "",
        "Times that no buffer was free to receive into.",
        Each(|c| c.by_port(|p| p.rx_no_buffer)),
    )
    .by(&["port"])
    .json("ports.{port}.rx_no_buffer")
    .print(On(PORT, " no buffer {}")),
    Row::gauge(
        "pdmv2_port_link_up",
        "",
        "Whether the port's link is up; 0 also when the driver has not said for 2 s, or the \
                 device is gone.",
        Each(|c| c.by_port(|p| p.link.link_up)),
    )
    .by(&["port"])
    .json("ports.{port}.link_up")
    .print(On(PORT, ", link up|, link down")),
    Row::gauge(
        "pdmv2_port_link_speed_bytes",
        "bytes",
        "Speed of the port's link, each second; 0 when it is down, or the driver does not say.",
        Each(|c| c.by_port(|p| p.link_octets_per_second)),
    )
    .by(&["port"])
    .json("ports.{port}.link_octets_per_second"),
    Row::counter(
        "pdmv2_port_link_changes_total",
        "",
        "Times that the port's link went up or down.",
        Each(|c| c.by_port(|p| p.link.link_changes)),
    )
    .by(&["port"])
    .json("ports.{port}.link_changes")
    .print(On(PORT, ", {} change(s)")),
    Row::gauge(
        "pdmv2_port_link_taken_down",
        "",
        "Whether the box has taken the port's link down, since the other port has none.",
        Each(|c| c.by_port(|p| p.link.link_taken_down)),
    )
    .by(&["port"])
    .json("ports.{port}.link_taken_down"),
    Row::gauge(
        "pdmv2_port_device_gone",
        "",
        "Whether the port's device is gone, or asked back by the kernel.",
        Each(|c| c.by_port(|p| p.link.device_gone)),
    )
    .by(&["port"])
    .json("ports.{port}.device_gone"),
    Row::counter(
        "pdmv2_port_lost_total",
        "",
        "Times that the port's device was lost: asked back by the kernel, or gone.",
        Each(|c| c.by_port(|p| p.lost)),
    )
    .by(&["port"])
    .json("ports.{port}.lost"),
    Row::counter(
        "pdmv2_port_taken_up_total",
        "",
        "Times that the port was taken up again after its device was lost.",
        Each(|c| c.by_port(|p| p.taken_up)),
    )
    .by(&["port"])
    .json("ports.{port}.taken_up"),
    Row::counter(
        "pdmv2_port_discarded_packets_total",
        "",
        "Packets that had come while the other port was away, dropped when it came back.",
        Each(|c| c.by_port(|p| p.discarded)),
    )
    .by(&["port"])
    .json("ports.{port}.discarded"),
    Row::gauge(
        "pdmv2_link_follow_state",
        "",
        "How the following of links stands: 1 for the present state; in JSON its name.",
        One(|c| Value::State(c.link_follow)),
    )
    .by(&["state"])
    .json("link_follow"),
];

const LABELS: &[Label] = &[
    Label {
        name: "direction",
        help: "Which way packets go.",
        values: || vec![("outbound", "inside to outside"), ("inbound", "outside to inside")],
    },
    Label {
        name: "form",
        help: "What the option looks like.",
        values: || FORMS.into_iter().zip(["RFC 8250", "PDMv2 in clear", "PDMv2 encrypted"]).collect(),
    },
    Label {
        name: "reason",
        help: "Why a packet was passed, stripped or dropped.",
        values: || Reason::ALL.iter().map(|r| (r.name(), r.describe())).collect(),
    },
    Label {
        name: "finding",
        help: "What was found of an ICMPv6 error.",
        values: || Finding::ALL.iter().map(|f| (f.name(), f.describe())).collect(),
    },
    Label { name: "policy", help: "Name of the policy.", values: Vec::new },
    Label { name: "pair", help: "Name of the pair of prefixes.", values: Vec::new },
    Label { name: "mode", help: "Its mode: `off`, `pdm`, `clear`, `encrypted`.", values: Vec::new },
    Label {
        name: "side",
        help: "Where the Kri has changed.",
        values: || vec![("sealed", "in packets sealed"), ("opened", "in packets opened")],
    },
    Label {
        name: "cause",
        help: "What gave a resumption away ([security.md](security.md#snapshots-and-clones)).",
        values: causes,
    },
    Label {
        name: "of",
        help: "What memory is of.",
        values: || {
            vec![
                ("records", "what packets towards the network need of a flow"),
                ("backs", "the rest of it"),
                ("index", "where flows are looked up"),
                ("tombstones", "what flows leave behind"),
                ("buffers", "packets"),
            ]
        },
    },
    Label {
        name: "pages",
        help: "The size of its pages.",
        values: || {
            vec![
                ("1G", "hugepages of 1 GiB"),
                ("2M", "hugepages of 2 MiB"),
                ("ordinary", "others, which the kernel may put together"),
            ]
        },
    },
    Label {
        name: "to",
        help: "Where flows are told to ([ipfix.md](ipfix.md)).",
        values: || vec![("ipfix", "`[export] ipfix`"), ("json", "`[export] json`")],
    },
    Label { name: "worker", help: "Number of the worker.", values: Vec::new },
    Label {
        name: "port",
        help: "Which port.",
        values: || vec![("inside", "towards the hosts"), ("outside", "towards the network")],
    },
    Label { name: "driver", help: "Its driver in DPDK.", values: Vec::new },
    Label { name: "offloads", help: "Its offloads in use, by DPDK's names.", values: Vec::new },
    Label { name: "rss", help: "What of IPv6 packets spreads them over its queues.", values: rss_fields },
    Label { name: "rss_key", help: "The key that it hashes them under.", values: rss_keys },
    Label { name: "timestamps", help: "The clock by which its packets come.", values: timestamps },
    Label { name: "queues", help: "Its queue pairs, one a worker.", values: Vec::new },
    Label { name: "mtu", help: "Its MTU, octets from the IP header on.", values: Vec::new },
    Label { name: "headroom", help: "Octets in front of a packet in its buffer.", values: Vec::new },
    Label {
        name: "rx_descriptors",
        help: "Descriptors of each receive queue, as the driver has them.",
        values: Vec::new,
    },
    Label { name: "tx_descriptors", help: "Descriptors of each transmit queue.", values: Vec::new },
    Label { name: "numa_node", help: "Its NUMA node; `any` where it has none.", values: Vec::new },
    Label { name: "state", help: "How the following of links may stand.", values: link_states },
    Label { name: "version", help: "The program's version.", values: Vec::new },
    Label { name: "dpdk", help: "DPDK's version.", values: Vec::new },
    Label { name: "aead", help: "The AEAD code that this CPU runs.", values: Vec::new },
];

fn causes() -> Vec<(&'static str, &'static str)> {
    let means = |cause| match cause {
        Cause::VmGeneration => "the kernel has a new VM generation id",
        Cause::Suspended => "the boot-time clock went on while the monotonic one stood still",
        Cause::WallClock => "the wall clock has jumped",
        Cause::HardwareClock => "the hardware clock has jumped",
        Cause::Stopped => "the process stood still",
    };
    Cause::ALL.map(|cause| (cause.name(), means(cause))).into()
}

fn link_states() -> Vec<(&'static str, &'static str)> {
    let meanings = [
        "by configuration, or a port is not a PCI device",
        "not both links have been up yet, and nothing is followed before",
        "both are up",
        "a port lost its link, and the other was taken down",
        "a port's link is back, and the other has time to come up",
        "both lost their links at once",
    ];
    LINK_STATES.into_iter().zip(meanings).collect()
}

fn rss_fields() -> Vec<(&'static str, &'static str)> {
    let meanings = ["nothing: there is one queue, or the driver cannot", "their addresses", "their ports too", ""];
    RSS_FIELDS.into_iter().zip(meanings).collect()
}

fn rss_keys() -> Vec<(&'static str, &'static str)> {
    let meanings =
        ["it does not hash", "both directions of a flow hash alike", "the driver's own, under which they do not", ""];
    RSS_KEYS.into_iter().zip(meanings).collect()
}

fn timestamps() -> Vec<(&'static str, &'static str)> {
    let meanings = ["the CPU's, when their burst is taken", "the device's, when it received them"];
    TIMESTAMPS.into_iter().zip(meanings).collect()
}

fn build(_: &Counts) -> Vec<Sample> {
    let aead = protocol::aead::Path::best().name();
    vec![Sample::new([env!("CARGO_PKG_VERSION"), &crate::ports::dpdk_version(), aead], 1u64)]
}

#[cfg(test)]
mod tests;
