//! The octets of a capture, in order: how far it has been read, and never more memory than there are octets.

use std::io::{self, BufReader, Read};

/// Octets asked of the file at once.
const WINDOW: usize = 1 << 18;

/// How much of what was asked for is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Got {
    /// All of it.
    All,
    /// The file ends within it.
    Part,
    /// The file ended before it.
    Nothing,
}

/// A file that is read once, from its first octet to its last. It may be a pipe.
pub(super) struct Source {
    reader: BufReader<Box<dyn Read + Send>>,
    at: u64,
}

impl Source {
    pub(super) fn new(reader: Box<dyn Read + Send>) -> Self {
        Self { reader: BufReader::with_capacity(WINDOW, reader), at: 0 }
    }

    /// Octets read.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Fills `into`.
    pub(super) fn fill(&mut self, into: &mut [u8]) -> io::Result<Got> {
        let mut filled = 0;
        while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.reader.read(rest) {
                Ok(0) if filled == 0 => return Ok(Got::Nothing),
                Ok(0) => return Ok(Got::Part),
                Ok(n) => {
                    filled += n;
                    self.at += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Got::All)
    }

    /// Exchanges what is in `into` for the next `len` octets. Its memory grows as they come, so that a length that the file
    /// only claims costs nothing.
    pub(super) fn take(&mut self, into: &mut Vec<u8>, len: u64) -> io::Result<Got> {
        into.clear();
        let got = (&mut self.reader).take(len).read_to_end(into)? as u64;
        self.at += got;
        Ok(Self::of(got, len))
    }

    /// Steps over `len` octets.
    pub(super) fn skip(&mut self, len: u64) -> io::Result<Got> {
        let got = io::copy(&mut (&mut self.reader).take(len), &mut io::sink())?;
        self.at += got;
        Ok(Self::of(got, len))
    }

    const fn of(got: u64, wanted: u64) -> Got {
        if got < wanted { Got::Part } else { Got::All }
    }
}
