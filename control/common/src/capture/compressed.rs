//! Captures that are compressed: unpacked as they are read, and never kept. What a file unpacks to may be a thousand times
//! what it is, so nothing here holds more of it than a window.

use std::io::{self, Cursor, Read};

/// What zstd calls the largest window that its own command unpacks without being asked: 128 MiB, which are taken from the
/// system only as they fill.
const WINDOW_LOG: u32 = 27;

/// How a file is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    /// By the first octets of a file. zstd's frames that are to be skipped may come first: pzstd writes one.
    fn recognise(magic: &[u8]) -> Option<Self> {
        match magic {
            [0x1F, 0x8B, ..] => Some(Self::Gzip),
            [0x28, 0xB5, 0x2F, 0xFD] | [0x50..=0x5F, 0x2A, 0x4D, 0x18] => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Its name, and the command that unpacks it and says more of what is wrong.
    pub(super) const fn name_and_test(self) -> (&'static str, &'static str) {
        match self {
            Self::Gzip => ("gzip", "gzip -t"),
            Self::Zstd => ("zstd", "zstd -t --long=31"),
        }
    }
}

/// A file that may be compressed, as what is in it.
pub(super) fn unpacked(mut reader: Box<dyn Read + Send>) -> io::Result<(Box<dyn Read + Send>, Option<Compression>)> {
    let mut magic = Vec::with_capacity(4);
    (&mut reader).take(4).read_to_end(&mut magic)?;
    let compression = Compression::recognise(&magic);
    let whole = Cursor::new(magic).chain(reader);
    Ok(match compression {
        None => (Box::new(whole), None),
        // Several members, one behind the other, as rotating captures that were put together have.
        Some(Compression::Gzip) => (Box::new(flate2::read::MultiGzDecoder::new(whole)), compression),
        Some(Compression::Zstd) => {
            let mut decoder = zstd::stream::read::Decoder::new(whole)?;
            decoder.window_log_max(WINDOW_LOG)?;
            (Box::new(decoder), compression)
        }
    })
}
