//! Which sizes this machine has the memory for, and what DPDK is started with.

use super::keys::Keys;
use super::papaya::Papaya;
use super::rte_hash::RteHash;
use pipeline::flow::table::TableSize;

/// How large our table is for this many flows, and as many again that come and go beside them.
#[must_use]
pub const fn size(flows: usize) -> TableSize {
    TableSize { capacity: flows + visitors(flows), tombstones: 1024 }
}

/// Flows that come and go beside this many.
#[must_use]
pub const fn visitors(flows: usize) -> usize {
    let eighth = flows / 8;
    if eighth > 65_536 { 65_536 } else { eighth }
}

/// Octets of ordinary memory for one size: everything but DPDK's own.
fn needed(flows: usize) -> usize {
    size(flows).memory() + Papaya::memory(flows) + Keys::memory(flows, flows.min(super::MOST_MISSES))
}

/// Octets of DPDK's memory for one size.
#[must_use]
pub fn dpdk(flows: usize) -> usize {
    2 * RteHash::memory(flows + visitors(flows))
}

/// Of these sizes those that fit, and a note on each that does not.
#[must_use]
pub fn fitting(sizes: &[usize], available: usize) -> (Vec<usize>, Vec<String>) {
    let (mut fit, mut notes) = (Vec::new(), Vec::new());
    for &flows in sizes {
        // A tenth stays free for everybody else.
        let need = needed(flows) + dpdk(flows);
        if need <= available / 10 * 9 {
            fit.push(flows);
        } else {
            notes.push(format!(
                "{flows} flows were left out: they take {:.1} GiB, and {:.1} are available",
                gibibytes(need),
                gibibytes(available)
            ));
        }
    }
    (fit, notes)
}

fn gibibytes(octets: usize) -> f64 {
    octets as f64 / f64::from(1 << 30)
}

/// A line of `/proc/meminfo`, as a number.
#[must_use]
pub fn meminfo(name: &str) -> usize {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    field(&text, name)
}

fn field(text: &str, name: &str) -> usize {
    let value = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':')?.split_whitespace().next());
    value.and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// EAL's arguments for this much memory: from hugepages when there are enough; whether it is.
#[must_use]
pub fn eal(octets: usize) -> (Vec<String>, bool) {
    let huge = meminfo("HugePages_Free") * meminfo("Hugepagesize") * 1024 >= octets;
    let args: &[&str] = if huge { &["--in-memory"] } else { &["--no-huge", "--no-shconf", "--iova-mode=va"] };
    let mut all: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
    all.extend(["-l", "0", "--no-pci", "--no-telemetry", "--log-level", "4"].map(str::to_owned));
    if !huge {
        all.extend(["-m".to_owned(), (octets.div_ceil(1 << 20) + 64).to_string()]);
    }
    (all, huge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_that_does_not_fit_is_left_out_with_a_note() {
        let small = (needed(1000) + dpdk(1000)) * 2;
        let (fit, notes) = fitting(&[1000, 8_000_000], small);
        assert_eq!(fit, [1000]);
        assert!(notes.len() == 1 && notes[0].starts_with("8000000 flows were left out"), "{notes:?}");
    }

    #[test]
    fn fields_of_meminfo() {
        let text = "MemAvailable:   21000000 kB\nHugePages_Free:     1024\n";
        assert_eq!(
            (field(text, "MemAvailable"), field(text, "HugePages_Free"), field(text, "x")),
            (21_000_000, 1024, 0)
        );
    }
}
