//! Whether an option that an error quotes is one that this box lately put into a packet of its flow.

use crate::flow::record::WholeFlow;
use crate::observe::counters::WorkerCounters;
use crate::packet::encrypted::EncryptedOption;
use crate::state::budgets::ErrorBudget;
use crate::state::keyring::{IN_CLEAR, KeyRing};
use crate::state::shared::Shared;
use protocol::aead::KeyState;
use protocol::key_schedule::ReadyKey;
use protocol::sender::{Given, PACKETS_PER_KRI};
use protocol::wire::option::{Form, Metrics, Prefix6};
use protocol::wire::profile::{PDM, PROFILE};

/// What came of the search for a proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Proof {
    /// It was.
    Sent,
    /// It was not, or it cannot be told any more.
    NotSent,
    /// Its key would have to be derived, and the worker's budget for that is used up.
    TooMany,
}

/// PSNTPs back from the last one that may be quoted. One of a PDM option is all that there is to go by: who has to guess
/// it finds one in eight tries at best, and then has done no more than an error without a quoted option does by itself.
const PDM_BACK: u64 = 1 << 13;
/// With PRSEQ, which an observer cannot predict either.
const CLEAR_BACK: u64 = PACKETS_PER_KRI;
/// With the tag: all that a PSNTP can tell apart.
const SEALED_BACK: u64 = 1 << 16;

/// Looks for it. `octets` is the option, whole, of the form that the flow's policy has.
#[expect(clippy::too_many_arguments, reason = "one caller; a struct for it would only rename them")]
pub(super) fn lately_sent(
    shared: &Shared,
    ring: &KeyRing,
    counters: &WorkerCounters,
    budget: &mut ErrorBudget,
    flow: WholeFlow<'_>,
    form: Form,
    octets: &[u8],
    now: u64,
) -> Proof {
    // A flow whose numbers are of another generation: an error of a moment ago, or a packet sent again will bring a new one.
    let given = flow.given((form == Form::Encrypted).then(|| ring.sealing_generation()));
    let Some(given) = given else { return Proof::NotSent };
    let sent = match form {
        Form::Pdm => pdm(given, octets),
        Form::Clear => clear(shared, flow, given, octets),
        Form::Encrypted => match sealed(ring, counters, budget, flow, given, octets, now) {
            Err(TooMany) => return Proof::TooMany,
            Ok(sent) => sent,
        },
    };
    if sent.is_some() { Proof::Sent } else { Proof::NotSent }
}

fn pdm(given: Given, octets: &[u8]) -> Option<()> {
    let metrics = Metrics::parse_pdm(octets.get(PDM.head_len..)?.first_chunk()?);
    given.number(metrics.psntp, PDM_BACK).map(drop)
}

fn clear(shared: &Shared, flow: WholeFlow<'_>, given: Given, octets: &[u8]) -> Option<()> {
    let head = Prefix6::parse(octets.first_chunk()?)?;
    let metrics = Metrics::parse(octets.get(PROFILE.head_len..)?.first_chunk()?);
    let number = given.number(metrics.psntp, CLEAR_BACK)?;
    let prseq = shared.prseq_order(flow, IN_CLEAR, number.kri).prseq(number.index);
    (head.prseq == prseq && (head.f != 0) == number.f()).then_some(())
}

struct TooMany;

fn sealed(
    ring: &KeyRing,
    counters: &WorkerCounters,
    budget: &mut ErrorBudget,
    flow: WholeFlow<'_>,
    given: Given,
    octets: &[u8],
    now: u64,
) -> Result<Option<()>, TooMany> {
    let (Some(option), Some(sealer)) = (EncryptedOption::parse(octets), &ring.sealer) else { return Ok(None) };
    let Some(kri) = given.kri(option.head.f != 0) else { return Ok(None) };
    let mut state = KeyState::ZERO;
    let own = flow.owner() == counters.worker as u16;
    let key = match own.then(|| flow.key(sealer.id(), kri, &mut state)).flatten() {
        Some(found) => ReadyKey { state, base_nonce: found.base_nonce() },
        // Another worker's flow, or around a rotation: the flow keeps one key to seal with.
        None => {
            if !budget.derived.take(now) {
                return Err(TooMany);
            }
            counters.derivations.add(1);
            let Some(session) = sealer.keys.session(&flow.back.tuple(), kri) else { return Ok(None) };
            session.ready(sealer.aead)
        }
    };
    let Some(metrics) = option.open(sealer.aead, &key) else { return Ok(None) };
    Ok(given.number(metrics.psntp, SEALED_BACK).filter(|number| number.kri == kri).map(drop))
}
