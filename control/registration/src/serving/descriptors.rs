//! Open files. What anybody can make this program open (connections) gets a part of them only, so that there are always
//! some for what must work: state, keys and certificates that are read again, connections to registrars.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Left for what must work.
const RESERVE: usize = 64;
/// What a limit is taken for that is none.
const MANY: u64 = 1 << 20;

/// How many files may be open, after the soft limit was raised to the hard one.
#[must_use]
pub fn raise() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, wanted)
    {
        tracing::warn!(%error, "the limit of open files cannot be raised to the hard one");
    }
    of(getrlimit(Resource::Nofile).current)
}

fn of(limit: Option<u64>) -> usize {
    usize::try_from(limit.unwrap_or(MANY).min(MANY)).unwrap_or(usize::MAX)
}

/// Files that are open now; none, where the system does not say.
fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// How many connections of one kind may be open: so many, but no more than this part of what is free beyond the reserve.
#[must_use]
pub fn share(most: usize, part: usize) -> usize {
    share_of(raise(), open(), most, part)
}

fn share_of(limit: usize, open: usize, most: usize, part: usize) -> usize {
    // Of very few the reserve is a half.
    let free = limit.saturating_sub(open);
    let spare = free.saturating_sub(RESERVE.min(free / 2));
    (spare / part.max(1)).clamp(1, most.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_what_must_work() {
        assert_eq!(share_of(65_536, 20, 64, 2), 64);
        assert_eq!(share_of(1024, 20, 64, 2), 64);
        assert_eq!(share_of(100, 20, 64, 2), 20);
        assert_eq!(share_of(100, 99, 64, 2), 1, "metrics are served also then");
        for limit in (0..4096).step_by(7) {
            for open in (0..200).step_by(13) {
                let both = share_of(limit, open, 64, 2) + share_of(limit, open, 4096, 4);
                assert!(both <= 2 || open + both + RESERVE.min((limit - open) / 2) <= limit, "{limit}, {open}");
            }
        }
    }

    #[test]
    fn the_soft_limit_is_the_hard_one() {
        let limit = raise();
        assert_eq!(limit, of(getrlimit(Resource::Nofile).maximum));
        assert!(share(64, 2) <= 64);
    }
}
