//! Stages 1 and 2: the packets of a burst and their flows.

use crate::flow::hash::FlowHash;
use crate::flow::record::WholeFlow;
use crate::flow::table::FlowTable;
use crate::packet::buffer::PacketBuf;
use crate::packet::parse::Quick;
use crate::ports::BURST;
use arrayvec::ArrayVec;
use protocol::wire::option::Form;

/// A packet of a shape that is parsed quickly, and the record that is most likely its flow's ([`FlowBack::is`](crate::flow::record::FlowBack::is) says whether).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Likely<'a> {
    pub(crate) quick: Quick,
    pub(crate) form: Option<Form>,
    pub(crate) hash: FlowHash,
    pub(crate) flow: Option<WholeFlow<'a>>,
}

impl<'a> Likely<'a> {
    /// A packet that is looked up by itself. `hash`: its flow's, if that is known.
    pub(crate) fn of(table: &'a FlowTable, quick: Quick, hash: Option<FlowHash>) -> Self {
        let hash = hash.unwrap_or_else(|| table.hash(&quick.words));
        Self { quick, form: None, hash, flow: table.candidate(hash) }
    }
}

/// Packets between a line's being asked for and its being looked at: each takes some 30 ns, memory some 100 to 200 ns.
const AHEAD: usize = 8;

/// Parses a burst's packets, finds the records that are most likely theirs, and gives each packet to `take`, in order,
/// `None` with those of another shape. Those whose bits are set in `off` are not looked at. `prefetch` asks for the lines of a record that `take` looks at. The steps run behind
/// one another, so that memory is asked for lines all the time and not for many at once: a CPU waits for some twenty, and
/// drops what is asked for beyond them.
#[inline]
pub(crate) fn look_up<'a, B: PacketBuf>(
    table: &'a FlowTable,
    packets: &mut [B],
    off: u32,
    parse: impl Fn(&B) -> Option<(Quick, Option<Form>)>,
    prefetch: impl Fn(WholeFlow<'a>),
    mut take: impl FnMut(usize, &mut B, Option<&Likely<'a>>),
) {
    let mut all: ArrayVec<Option<Likely<'a>>, BURST> = ArrayVec::new();
    packets.iter().take(AHEAD).for_each(PacketBuf::prefetch);
    for step in 0..packets.len().min(BURST) + 2 * AHEAD {
        if let Some(packet) = packets.get(step + AHEAD) {
            packet.prefetch();
        }
        if let Some(packet) = packets.get(step).filter(|_| !all.is_full()) {
            let parsed = if off & 1 << step == 0 { parse(packet) } else { None };
            all.push(parsed.map(|(quick, form)| {
                let hash = table.hash(&quick.words);
                table.prefetch(hash);
                Likely { quick, form, hash, flow: None }
            }));
        }
        if let Some(Some(likely)) = all.get_mut(step.wrapping_sub(AHEAD)) {
            likely.flow = table.candidate(likely.hash);
            if let Some(flow) = likely.flow {
                prefetch(flow);
            }
        }
        let at = step.wrapping_sub(2 * AHEAD);
        if let (Some(packet), Some(likely)) = (packets.get_mut(at), all.get(at)) {
            take(at, packet, likely.as_ref());
        }
    }
}
