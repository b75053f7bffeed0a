//! Stage 2: the flows of a burst. The memory's latencies overlap: all buckets are asked for before the first is looked at,
//! and all records' lines before the first record is.

use crate::buffer::PacketBuf;
use crate::flow::Flow;
use crate::flow_hash::FlowHash;
use crate::flow_table::FlowTable;
use crate::parse::Quick;
use crate::path::BURST;
use protocol::wire::option::Form;

/// A packet of a shape that is parsed quickly, and the record that is most likely its flow's ([`Flow::is`] says whether).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Likely<'a> {
    pub(crate) quick: Quick,
    pub(crate) form: Option<Form>,
    pub(crate) hash: FlowHash,
    pub(crate) flow: Option<&'a Flow>,
}

/// Parses a burst's packets and finds the records that are most likely theirs. `None`: no packet, or of another shape.
#[inline(never)]
pub(crate) fn look_up<'a, B: PacketBuf>(
    table: &'a FlowTable,
    packets: &[B],
    parse: impl Fn(&B) -> Option<(Quick, Option<Form>)>,
    prefetch: impl Fn(&Flow),
) -> [Option<Likely<'a>>; BURST] {
    let mut all = [None; BURST];
    for (likely, packet) in all.iter_mut().zip(packets) {
        if let Some((quick, form)) = parse(packet) {
            let hash = table.hash(&quick.words);
            table.prefetch(hash);
            *likely = Some(Likely { quick, form, hash, flow: None });
        }
    }
    for likely in all.iter_mut().take(packets.len()).flatten() {
        likely.flow = table.candidate(likely.hash);
        if let Some(flow) = likely.flow {
            prefetch(flow);
        }
    }
    all
}
