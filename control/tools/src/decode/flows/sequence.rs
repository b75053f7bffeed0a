//! What the numbers of one direction tell: what was lost before the place of the capture, what came twice or out of order;
//! and of TCP what was sent again though it had passed here.

/// Numbers that are remembered.
const WINDOW: u32 = 1024;
/// A leap of more is a new beginning: the box was restarted, or the capture was not running.
const LEAP: u32 = 1000;
/// Gaps in a TCP stream that are remembered at once.
const GAPS: usize = 8;

/// How a number stands to those before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The highest so far.
    Ahead,
    /// One that was missing.
    Late,
    /// One that was there.
    Copy,
    /// The numbers begin anew.
    Anew,
}

/// The packet numbers (PSNTP) of one direction.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    started: bool,
    highest: u16,
    /// Numbers up to the highest that there were since the beginning, as far as they fit.
    reach: u32,
    seen: [u64; WINDOW as usize / 64],
    /// Numbers that did not come by, which is less again when they do.
    pub lost: u64,
    /// Packets that came after higher numbers.
    pub late: u64,
    /// Packets whose number was there already.
    pub copies: u64,
    /// Beginnings behind the first.
    pub restarts: u64,
}

impl Sequence {
    fn bit(&mut self, number: u16) -> (&mut u64, u64) {
        let at = u32::from(number) % WINDOW;
        (&mut self.seen[at as usize / 64], 1 << (at % 64))
    }

    fn begin(&mut self, number: u16) {
        (self.started, self.highest, self.reach) = (true, number, 0);
        self.seen = [0; WINDOW as usize / 64];
        let (word, bit) = self.bit(number);
        *word |= bit;
    }

    /// Takes a number.
    pub fn take(&mut self, number: u16) -> Place {
        if !self.started {
            self.begin(number);
            return Place::Ahead;
        }
        let ahead = u32::from(number.wrapping_sub(self.highest));
        if ahead != 0 && ahead <= LEAP {
            for step in 1..=ahead {
                let (word, bit) = self.bit(self.highest.wrapping_add(step as u16));
                *word = if step == ahead { *word | bit } else { *word & !bit };
            }
            self.highest = number;
            self.reach = self.reach.saturating_add(ahead);
            self.lost += u64::from(ahead - 1);
            return Place::Ahead;
        }
        let behind = u32::from(self.highest.wrapping_sub(number));
        if behind >= WINDOW {
            self.begin(number);
            self.restarts += 1;
            return Place::Anew;
        }
        let reach = self.reach;
        let (word, bit) = self.bit(number);
        if *word & bit != 0 {
            self.copies += 1;
            return Place::Copy;
        }
        *word |= bit;
        self.late += 1;
        // From before the first one: it was not taken for lost.
        if behind <= reach {
            self.lost = self.lost.saturating_sub(1);
        }
        Place::Late
    }
}

/// The octets of one direction of a TCP connection.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    started: bool,
    next: u32,
    /// Octets that have not come by: from, to.
    gaps: Vec<(u32, u32)>,
    /// Segments sent again of which all had passed here: they, or what acknowledged them, were lost behind this place.
    pub resent: u64,
    /// Segments sent again that had not: they were lost before it.
    pub filled: u64,
}

fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

impl Stream {
    /// Takes a segment of `len` octets (SYN and FIN count as one each), which is no copy. `late`: it was overtaken.
    pub fn take(&mut self, seq: u32, len: u32, late: bool) {
        // An octet before what is next asks whether somebody is there; it is nothing that was lost.
        if len == 0 || (self.started && len == 1 && seq.wrapping_add(1) == self.next) {
            return;
        }
        let end = seq.wrapping_add(len);
        if !self.started || seq.wrapping_sub(self.next).wrapping_add(1 << 30) > 1 << 31 {
            (self.started, self.next) = (true, end);
            self.gaps.clear();
            return;
        }
        if !before(seq, self.next) {
            if seq != self.next {
                if self.gaps.len() == GAPS {
                    self.gaps.remove(0);
                }
                self.gaps.push((self.next, seq));
            }
            self.next = end;
            return;
        }
        let touched = self.gaps.iter().position(|&(from, to)| before(seq, to) && before(from, end));
        match touched {
            Some(i) => {
                self.filled += u64::from(!late);
                let (from, to) = self.gaps.remove(i);
                let rest = [(from, seq), (end, to)];
                self.gaps.extend(rest.iter().filter(|(from, to)| before(*from, *to)));
                self.gaps.truncate(GAPS);
            }
            None if !before(self.next, end) => self.resent += u64::from(!late),
            None => {}
        }
        if before(self.next, end) {
            self.next = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(numbers: &[u16]) -> (u64, u64, u64, u64) {
        let mut s = Sequence::default();
        for &n in numbers {
            s.take(n);
        }
        (s.lost, s.late, s.copies, s.restarts)
    }

    #[test]
    fn loss_copies_and_order_are_counted_exactly() {
        assert_eq!(counts(&[65_534, 65_535, 0, 1]), (0, 0, 0, 0));
        assert_eq!(counts(&[1, 2, 5, 6]), (2, 0, 0, 0));
        assert_eq!(counts(&[1, 2, 5, 3, 4, 6]), (0, 2, 0, 0));
        assert_eq!(counts(&[1, 2, 2, 3, 1]), (0, 0, 2, 0));
        // What comes before the first was not lost, and counts as late.
        assert_eq!(counts(&[10, 9, 8, 11]), (0, 2, 0, 0));
        assert_eq!(counts(&[0, 1000, 30_000, 30_002]), (999 + 1, 0, 0, 1));
        assert_eq!(counts(&[5000, 5001, 3000]), (0, 0, 0, 1));
        let swapped: Vec<u16> = (0..3000u16).map(|i| i ^ 1).collect();
        assert_eq!(counts(&swapped), (0, 1500, 0, 0));
        let holes: Vec<u16> = (0..=u16::MAX).filter(|i| i % 100 != 50).collect();
        assert_eq!(counts(&[holes.clone(), holes].concat()).0, 655 + 655);
    }

    #[test]
    fn segments_sent_again_say_where_they_were_lost() {
        let mut s = Stream::default();
        for seq in [u32::MAX - 9, 0, 10, 30] {
            s.take(seq, 10, false);
        }
        assert_eq!((s.resent, s.filled, s.gaps.len()), (0, 0, 1));
        s.take(10, 10, false);
        s.take(0, 20, false);
        assert_eq!((s.resent, s.filled), (2, 0), "all of it had passed");
        s.take(20, 5, false);
        s.take(25, 5, false);
        assert_eq!((s.resent, s.filled, s.gaps.len()), (2, 2, 0), "nothing of it had");
        s.take(60, 10, false);
        s.take(40, 20, true);
        assert_eq!((s.resent, s.filled, s.gaps.len()), (2, 2, 0), "overtaken, not sent again");
        s.take(69, 1, false);
        s.take(70, 0, false);
        s.take(70, 10, false);
        assert_eq!((s.resent, s.filled, s.next), (2, 2, 80), "a question whether somebody is there");
        for i in 0..1000 {
            s.take(1000 + 20 * i, 10, false);
        }
        assert_eq!(s.gaps.len(), GAPS);
        s.take(3_000_000_000, 10, false);
        assert_eq!((s.next, s.gaps.len()), (3_000_000_010, 0), "another connection of these ports");
    }
}
