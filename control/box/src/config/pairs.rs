//! The `[[pair]]` tables.

use super::policies::named_prefixes;
use common::config::reader::Table;
use common::config::report::{At, Report};
use pipeline::state::pairs::Pair;
use pipeline::state::policies::Policy;
use protocol::prefix::Prefix;

/// Pairs that the box looks through for the first packet of a flow.
const MAX_PAIRS: usize = 256;
/// Policies, and pairs of which flows fall under them, one by one: each has counters of some 30 KiB a worker.
const MAX_COUNTED: usize = 4096;

/// Reads them.
pub fn pairs(root: &mut Table<'_>, policies: &[Policy], report: &mut Report<'_>) -> Vec<Pair> {
    let tables = root.tables("pair", report);
    if let Some(table) = tables.get(MAX_PAIRS) {
        report.error(table.at, format!("more than {MAX_PAIRS} pairs"), "join some: a pair takes lists of prefixes");
    }
    let mut pairs: Vec<Pair> = Vec::new();
    let mut counted = policies.len();
    for table in tables.into_iter().take(MAX_PAIRS) {
        let Some(At { value: pair, at }) = pair(table, report) else { continue };
        if pairs.iter().any(|p| p.name == pair.name) {
            let remedy = "rename one: counters are told apart by it";
            report.error(at, format!("two pairs are named '{}'", pair.name), remedy);
        }
        let hides = |before: &&Pair| within(&pair.inside, &before.inside) && within(&pair.outside, &before.outside);
        if let Some(before) = pairs.iter().find(hides) {
            let message =
                format!("pair '{}' counts nothing: '{}' before it names all of its flows", pair.name, before.name);
            report.warn(at, message, format!("move it before '{}'", before.name));
        }
        let named = policies.iter().filter(|policy| pair.may_share_flows_with(policy)).count();
        if named == 0 && !policies.is_empty() {
            let message = format!("pair '{}' counts nothing: no policy names flows of it", pair.name);
            report.warn(at, message, "correct its prefixes, or add a policy for them");
        }
        counted += named;
        if counted > MAX_COUNTED && counted - named <= MAX_COUNTED {
            let message = format!("more than {MAX_COUNTED} policies and pairs that flows of policies fall under");
            report.error(at, message, "name fewer pairs, or give policies prefixes that fewer pairs share");
        }
        pairs.push(pair);
    }
    pairs
}

/// Whether every address that a list names another names too; an empty list names all.
fn within(list: &[Prefix], of: &[Prefix]) -> bool {
    of.is_empty() || !list.is_empty() && list.iter().all(|prefix| of.iter().any(|of| of.covers(prefix)))
}

fn pair(mut table: Table<'_>, report: &mut Report<'_>) -> Option<At<Pair>> {
    let at = table.at;
    table.require("name", "name = \"…\": what counters call it", report);
    let (name, [inside, outside]) = named_prefixes(&mut table, report);
    table.finish(report);
    let (name, inside, outside) = (name?.value.to_owned(), inside?, outside?);
    if inside.is_empty() && outside.is_empty() {
        report.error(
            at,
            format!("pair '{name}' has neither 'inside' nor 'outside'"),
            "name prefixes of one side or both",
        );
        return None;
    }
    Some(At { value: Pair { name, inside, outside }, at })
}
