//! `pdmv2 capture`: packets of a running box, for Wireshark.

use crate::client::{Client, Which, with_parameters};
use crate::flows::Filter;
use anyhow::Context;
use common::admin::{CAPTURED, MOST_CAPTURED, MOST_SECONDS, MOST_SNAPLEN, SNAPLEN, WATCHED_SECONDS};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where packets are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Point {
    /// At the inside port: as hosts send and receive them
    Inside,
    /// At the outside port: as they are on the network
    Outside,
    /// Those that are dropped, as they came
    Dropped,
}

/// The command.
#[derive(Debug, clap::Args)]
pub struct CaptureArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    filter: Filter,
    /// Where packets are taken
    #[arg(long, value_enum, default_value = "outside")]
    point: Point,
    /// The file, pcapng, which must not be there yet; '-': standard output, for 'wireshark -k -i -'
    #[arg(short = 'w', value_name = "FILE")]
    file: PathBuf,
    /// How many packets
    #[arg(short = 'c', default_value_t = CAPTURED, value_name = "PACKETS", value_parser = clap::value_parser!(u64).range(1..=MOST_CAPTURED))]
    number: u64,
    /// End after so many seconds, however many packets came
    #[arg(long, default_value_t = WATCHED_SECONDS, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=MOST_SECONDS))]
    seconds: u64,
    /// Octets of each packet, at most
    #[arg(long, default_value_t = SNAPLEN as u64, value_name = "OCTETS", value_parser = clap::value_parser!(u64).range(1..=MOST_SNAPLEN as u64))]
    snaplen: u64,
}

/// Writes packets as they come.
///
/// # Errors
/// The box cannot be asked or does not understand, or the file cannot be written.
pub fn run(args: &CaptureArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let client = Client::new(&args.which)?;
    let point = match args.point {
        Point::Inside => "inside",
        Point::Outside => "outside",
        Point::Dropped => "dropped",
    };
    let more = [
        ("point", point.to_owned()),
        ("n", args.number.to_string()),
        ("seconds", args.seconds.to_string()),
        ("snaplen", args.snaplen.to_string()),
    ];
    let path = with_parameters("/v1/capture", args.filter.parameters().chain(more));
    let place = args.file.display();
    // The file is made when the box has agreed. What people have said to one another stands in it, so it is for its owner alone.
    let mut file = None;
    client.stream(&path, |octets| {
        let into: &mut dyn Write = if args.file == Path::new("-") {
            &mut *out
        } else if let Some(file) = &mut file {
            file
        } else {
            let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&args.file);
            file.insert(made.with_context(|| format!("{place}: cannot be made; choose another -w, or move it away"))?)
        };
        into.write_all(octets).and_then(|()| into.flush()).with_context(|| format!("{place}: cannot be written"))?;
        Ok(true)
    })
}
