//! `pdmv2-middlebox replay`: captures through the real path, without DPDK's ports. No root, no hugepages; one worker, so
//! everything comes out in order; it ends when the captures are through.

mod content;
mod port;

use crate::config::Config;
use crate::keys::from_file::FileKeys;
use crate::observe::counts::{Counts, Ports};
use crate::setup;
use anyhow::{Context, bail};
use common::capture::{Capture, LinkType, Writer};
use content::Content;
use pipeline::ports::Clock;
use pipeline::state::worker::Worker;
use pipeline::worker::{turn_inbound, turn_outbound};
use port::CapturePort;
use std::fs::{DirBuilder, File};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What is replayed, and where it goes.
#[derive(clap::Args, Debug)]
pub struct ReplayArgs {
    /// The box's configuration; its ports are not used. Its key file and state file are: to replay with the keys of a box
    /// that is in operation, do it with a copy of both, and put nothing of what comes out on a wire
    #[arg(long)]
    pub config: PathBuf,
    /// Capture of what arrives at the inside port (pcap or pcapng, Ethernet; a file, no pipe: it is read twice)
    #[arg(long, value_name = "PCAP", required_unless_present = "outside")]
    pub inside: Option<PathBuf>,
    /// Capture of what arrives at the outside port
    #[arg(long, value_name = "PCAP")]
    pub outside: Option<PathBuf>,
    /// Where the frames go that the box sends, each with the time of the frame that it was: those of the outside port, then
    /// those of the inside port
    #[arg(long, value_name = "PCAP")]
    pub out: PathBuf,
    /// Where the frames of the inside port go, if not to --out
    #[arg(long, value_name = "PCAP")]
    pub out_inside: Option<PathBuf>,
    /// MTU of the outside port, octets from the IPv6 header on [default: that of the configuration, else no limit]
    #[arg(long, value_name = "OCTETS", value_parser = clap::value_parser!(u16).range(1280..))]
    pub mtu: Option<u16>,
    /// Refuse captures with frames that were cut when they were captured (tcpdump -s); otherwise these are counted, said, and
    /// pass as they are, without the option
    #[arg(long)]
    pub whole: bool,
    /// Print the counters as JSON
    #[arg(long)]
    pub json: bool,
}

/// Octets of a pcap file before its first record.
const FILE_HEADER: u64 = 24;

/// A directory for what comes out, until everything has gone well.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let base = std::env::temp_dir();
        for i in 0..100 {
            let dir = base.join(format!("pdmv2-replay-{}-{i}", std::process::id()));
            // Traffic is nobody else's business.
            match DirBuilder::new().mode(0o700).create(&dir) {
                Ok(()) => return Ok(Self(dir)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot create {}; set TMPDIR", dir.display()));
                }
            }
        }
        bail!("cannot create a directory in {}; clean it up or set TMPDIR", base.display())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // nothing more can be done about it
    }
}

/// Replays.
///
/// # Errors
/// A capture that cannot be replayed, or an output that cannot be written.
pub fn run(args: &ReplayArgs, mut config: Config) -> anyhow::Result<()> {
    common::logging::start(&config.telemetry);
    let inputs = [&args.inside, &args.outside];
    let mut contents = [Content::default(); 2];
    for (content, path) in contents.iter_mut().zip(inputs) {
        let Some(path) = path else { continue };
        *content = Content::of(path)?;
        content.tell(path, args.whole)?;
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    // Before the work, not after it. Nothing is lost in a file of this name before everything has gone well.
    for out in [Some(&args.out), args.out_inside.as_ref()].into_iter().flatten() {
        File::options()
            .append(true)
            .create(true)
            .open(out)
            .with_context(|| format!("cannot write {}", out.display()))?;
    }
    let keys = setup::keys(&mut config, contents[0].frames > 0)?;

    let scratch = Scratch::new()?;
    let is_fine = contents.iter().any(|c| c.is_fine);
    let longest = contents.iter().map(|c| c.longest).max().unwrap_or(0);
    let outputs = ["to-inside", "to-outside"].map(|name| scratch.0.join(name));
    let mut ports = Vec::new();
    for (input, output) in inputs.into_iter().zip(&outputs) {
        let input = input.as_deref().map(Capture::open).transpose()?;
        // An option, and the header that it may need.
        let create = || Writer::new(BufWriter::new(File::create(output)?), LinkType::ETHERNET, is_fine, longest + 64);
        let writer = create().with_context(|| format!("cannot write {}", output.display()))?;
        ports.push(CapturePort::new(input, writer, output.clone(), usize::from(config.workers.burst)));
    }
    let (Some(outside), Some(inside)) = (ports.pop(), ports.pop()) else { bail!("no ports") };
    let counts = pump(args, &config, keys, [inside, outside], contents.map(|c| c.frames))?;
    collect(&outputs, args)?;
    setup::print(&counts, args.json)?;
    for (name, d) in counts.directions() {
        let (received, forwarded, dropped) = (d.received(), d.forwarded(), d.dropped());
        if forwarded + dropped != received {
            bail!("{name}: {received} frames received, but {forwarded} forwarded and {dropped} dropped");
        }
    }
    Ok(())
}

/// Runs the path until the captures are through.
fn pump(
    args: &ReplayArgs,
    config: &Config,
    mut keys: Option<FileKeys>,
    [mut inside, mut outside]: [CapturePort; 2],
    expected: [u64; 2],
) -> anyhow::Result<Counts> {
    let start = Instant::now();
    let clock = || 1 + u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX - 1);
    let mtu = args.mtu.or(config.outside.mtu).map_or(usize::MAX, usize::from);
    let cell = keys.as_ref().map_or_else(Default::default, |k| k.cell.clone());
    let shared = setup::shared(config, cell, mtu, clock.now_ns(), 1)?;
    match &mut keys {
        Some(keys) => keys.start().context("no keys")?,
        None => tracing::warn!("no keys: packets pass without the option ([keys] is not configured)"),
    }
    let mut worker = Worker::new(shared.clone(), 0);
    worker.audit = setup::audit(config)?;
    let counters = worker.counters.clone();
    let mut turns = 0u32;
    while !(inside.is_through() && outside.is_through()) {
        turn_outbound(&mut worker, &mut inside, &mut outside, &clock);
        turn_inbound(&mut worker, &mut outside, &mut inside, &clock);
        inside.check()?;
        outside.check()?;
        turns = turns.wrapping_add(1);
        // The peers' generations move along as they do in a running box.
        if let (Some(keys), 0) = (&mut keys, turns % 16) {
            keys.tick(&shared);
        }
    }
    let received = [counters.outbound.received.get(), counters.inbound.received.get()];
    let mut counts = setup::counts(&config.node, &shared, std::slice::from_ref(&counters), clock.now_ns());
    counts.generation = keys.as_ref().and_then(FileKeys::generation);
    counts.ports = Ports { inside: inside.finish()?, outside: outside.finish()? };
    if let Some(keys) = &mut keys {
        keys.persist();
    }
    if received != expected {
        bail!(
            "a capture has changed while it was replayed: {} frames, then {}; name a file that nobody writes, and no pipe",
            expected[0] + expected[1],
            received[0] + received[1]
        );
    }
    Ok(counts)
}

/// Puts the ports' files together as the arguments ask.
fn collect(outputs: &[PathBuf; 2], args: &ReplayArgs) -> anyhow::Result<()> {
    let [inside, outside] = outputs;
    let mut out = Output::create(&args.out)?;
    out.append(outside, 0)?;
    match &args.out_inside {
        Some(path) => {
            let mut other = Output::create(path)?;
            other.append(inside, 0)?;
            other.finish()?;
        }
        None => out.append(inside, FILE_HEADER)?,
    }
    out.finish()
}

struct Output<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> Output<'a> {
    fn create(path: &'a Path) -> anyhow::Result<Self> {
        Ok(Self { path, file: File::create(path).with_context(|| format!("cannot write {}", path.display()))? })
    }

    fn append(&mut self, from: &Path, skip: u64) -> anyhow::Result<()> {
        let mut from =
            File::open(from).context("what came out is gone; set TMPDIR to a directory that nobody cleans up")?;
        from.seek(SeekFrom::Start(skip))?;
        let copied = std::io::copy(&mut from, &mut self.file);
        copied.with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.file.flush().with_context(|| format!("cannot write {}", self.path.display()))
    }
}
