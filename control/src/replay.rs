//! `pdmv2-middlebox replay`: captures through the real path, over DPDK's `net_pcap`. No root, no hugepages; one worker, so
//! everything comes out in order; it ends when the captures are through.

use crate::capture::Capture;
use crate::config::Config;
use crate::counts::{Counts, Ports};
use crate::keys::KeyManager;
use crate::setup;
use anyhow::{Context, bail};
use dpdk_ffi::{Eal, Mempool, Port, PortConfig, Started};
use pcap_parser::Linktype;
use pipeline::dpdk::{DpdkQueue, TscClock};
use pipeline::path::{Clock, Worker};
use pipeline::worker::{turn_inbound, turn_outbound};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What is replayed, and where it goes.
#[derive(clap::Args, Debug)]
pub struct ReplayArgs {
    /// The box's configuration; its ports are not used. Its key file and state file are: to replay with the keys of a box
    /// that is in operation, do it with a copy of both, and put nothing of what comes out on a wire
    #[arg(long)]
    pub config: PathBuf,
    /// Capture of what arrives at the inside port (pcap or pcapng, Ethernet)
    #[arg(long, value_name = "PCAP", required_unless_present = "outside")]
    pub inside: Option<PathBuf>,
    /// Capture of what arrives at the outside port
    #[arg(long, value_name = "PCAP")]
    pub outside: Option<PathBuf>,
    /// Where the frames go that the box sends: those of the outside port, then those of the inside port
    #[arg(long, value_name = "PCAP")]
    pub out: PathBuf,
    /// Where the frames of the inside port go, if not to --out
    #[arg(long, value_name = "PCAP")]
    pub out_inside: Option<PathBuf>,
    /// MTU of the outside port, octets from the IPv6 header on [default: that of the configuration, else no limit]
    #[arg(long, value_name = "OCTETS", value_parser = clap::value_parser!(u16).range(1280..))]
    pub mtu: Option<u16>,
    /// Print the counters as JSON
    #[arg(long)]
    pub json: bool,
}

/// Longest frame: with headroom and option it still fits one buffer, whose length is 16 bits.
const MAX_FRAME: usize = 65_000;
/// Buffers: two bursts in, two out.
const BUFFERS: u32 = 511;
/// Polls without a frame after which a port that has not delivered all is given up.
const PATIENCE: u32 = 100_000;
/// Octets of a pcap file before its first record.
const FILE_HEADER: u64 = 24;

/// What a capture holds, found before anything is started.
#[derive(Clone, Copy, Default, Debug)]
struct Content {
    frames: u64,
    longest: usize,
}

fn look(path: &Path) -> anyhow::Result<Content> {
    let mut content = Content::default();
    let mut capture = Capture::open(path)?;
    capture.for_each::<anyhow::Error>(|frame| {
        if frame.link != Linktype::ETHERNET {
            bail!(
                "{}: frame {} has link type {} and not Ethernet (1); capture on an Ethernet interface (tcpdump -i eth0, not -i any)",
                path.display(),
                frame.number,
                frame.link.0
            );
        }
        if frame.data.len() > MAX_FRAME {
            bail!(
                "{}: frame {} has {} octets; at most {MAX_FRAME} fit a packet buffer; capture with segmentation offload off \
                 (ethtool -K … gro off gso off tso off)",
                path.display(),
                frame.number,
                frame.data.len()
            );
        }
        content.frames += 1;
        content.longest = content.longest.max(frame.data.len());
        Ok(true)
    })?;
    Ok(content)
}

/// Names without commas and other things that DPDK's device arguments take apart.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let base = std::env::temp_dir();
        for i in 0..100 {
            let dir = base.join(format!("pdmv2-replay-{}-{i}", std::process::id()));
            match std::fs::create_dir(&dir) {
                Ok(()) => return Ok(Self(dir)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot create {}; set TMPDIR", dir.display()));
                }
            }
        }
        bail!("cannot create a directory in {}; clean it up or set TMPDIR", base.display())
    }

    fn link(&self, name: &str, to: &Path) -> anyhow::Result<String> {
        let link = self.0.join(name);
        let to = to.canonicalize().with_context(|| format!("cannot read {}", to.display()))?;
        std::os::unix::fs::symlink(&to, &link).with_context(|| format!("cannot link {}", link.display()))?;
        Ok(link.display().to_string())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
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
/// A capture that cannot be replayed, an output that cannot be written, or DPDK refuses.
pub fn run(args: &ReplayArgs, mut config: Config) -> anyhow::Result<()> {
    crate::logging::start(&config.telemetry);
    let look_at = |path: &Option<PathBuf>| path.as_deref().map(look).transpose();
    let (inside, outside) = (look_at(&args.inside)?, look_at(&args.outside)?);
    let (inside, outside) = (inside.unwrap_or_default(), outside.unwrap_or_default());
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
    let keys = setup::keys(&mut config, inside.frames > 0)?;

    let scratch = Scratch::new()?;
    let outputs = [scratch.file("to-inside"), scratch.file("to-outside")];
    let vdev = |name: &str, input: &Option<PathBuf>, output: &Path| -> anyhow::Result<String> {
        let mut text = format!("--vdev=net_pcap_{name}");
        if let Some(input) = input {
            text += &format!(",rx_pcap={}", scratch.link(name, input)?);
        }
        Ok(text + &format!(",tx_pcap={}", output.display()))
    };
    let room = (inside.longest.max(outside.longest) + 128 + 64).max(2048 + 128);
    let megabytes = 48 + (room + 512) * BUFFERS as usize / (1 << 20);
    let core = core_affinity::get_core_ids().and_then(|c| c.first().map(|c| c.id)).unwrap_or(0);
    let mut arguments: Vec<String> =
        ["--no-huge", "--no-pci", "--no-shconf", "--no-telemetry", "--iova-mode=va", "--log-level=error", "-m"]
            .map(Into::into)
            .into();
    arguments.extend([megabytes.to_string(), "-l".into(), core.to_string()]);
    arguments.push(vdev("inside", &args.inside, &outputs[0])?);
    arguments.push(vdev("outside", &args.outside, &outputs[1])?);

    let eal = Eal::init(&arguments)?;
    let pool = Mempool::new(&eal, "packets", BUFFERS, 0, room.min(usize::from(u16::MAX)) as u16, None)?;
    let start = |name| -> anyhow::Result<Port<Started>> {
        let mut port = eal.port(name)?;
        let config = PortConfig { queues: 1, rx_descriptors: 256, tx_descriptors: 256, mtu: None, promiscuous: false };
        port.configure(&config, &pool)?;
        Ok(port.start()?)
    };
    let mut ports = (start("net_pcap_inside")?, start("net_pcap_outside")?);
    let counts = pump(args, &config, keys, &mut ports, [inside.frames, outside.frames])?;
    // Closing the ports writes what is left in their files.
    drop(ports);
    collect(&outputs, args)?;
    setup::print(&counts, args.json)?;
    for (name, d) in [("outbound", &counts.outbound), ("inbound", &counts.inbound)] {
        if d.forwarded + d.dropped_total != d.received {
            bail!(
                "{name}: {} frames received, but {} forwarded and {} dropped",
                d.received,
                d.forwarded,
                d.dropped_total
            );
        }
    }
    Ok(())
}

/// Runs the path until as many frames have come as the captures hold.
fn pump(
    args: &ReplayArgs,
    config: &Config,
    mut keys: Option<KeyManager>,
    ports: &mut (Port<Started>, Port<Started>),
    expected: [u64; 2],
) -> anyhow::Result<Counts> {
    let clock = TscClock::new();
    let mtu = args.mtu.or(config.outside.mtu).map_or(usize::MAX, usize::from);
    let ring = keys.as_ref().map_or_else(Default::default, |k| k.cell.current.clone());
    let shared = setup::shared(config, ring, mtu, clock.now_ns(), 1)?;
    match &mut keys {
        Some(keys) => keys.start().context("no keys")?,
        None => tracing::warn!("no keys: packets pass without the option ([keys] is not configured)"),
    }
    let mut worker = Worker::new(shared.clone(), 0);
    worker.audit = setup::audit(config)?;
    let counters = worker.counters.clone();
    let burst = usize::from(config.workers.burst);
    let queue = |port: &mut Port<Started>| port.take_queues().pop().map(|pair| DpdkQueue::new(pair, burst));
    let (Some(mut inside), Some(mut outside)) = (queue(&mut ports.0), queue(&mut ports.1)) else {
        bail!("net_pcap gives no queue");
    };
    let received = || [counters.outbound.received.get(), counters.inbound.received.get()];
    let (mut idle, mut turns) = (0, 0u32);
    while received() != expected && idle < PATIENCE {
        let mut moved = expected[0] > 0 && turn_outbound(&mut worker, &mut inside, &mut outside, &clock);
        moved |= expected[1] > 0 && turn_inbound(&mut worker, &mut outside, &mut inside, &clock);
        idle = if moved { 0 } else { idle + 1 };
        turns = turns.wrapping_add(1);
        // The peers' generations move along as they do in a running box.
        if let (Some(keys), 0) = (&mut keys, turns % 16) {
            keys.tick(&shared);
        }
    }
    drop((inside, outside));
    let mut counts = setup::counts(&config.node, &shared, std::slice::from_ref(&counters));
    counts.generation = keys.as_ref().and_then(KeyManager::generation);
    counts.ports = Ports { inside: setup::port_counts(&ports.0), outside: setup::port_counts(&ports.1) };
    if let Some(keys) = &mut keys {
        keys.persist();
    }
    if received() != expected {
        let [outbound, inbound] = received();
        bail!("net_pcap has delivered {outbound} of {} and {inbound} of {} frames", expected[0], expected[1]);
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
        let mut from = File::open(from).context("net_pcap has written no file")?;
        from.seek(SeekFrom::Start(skip))?;
        let copied = std::io::copy(&mut from, &mut self.file);
        copied.with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.file.flush().with_context(|| format!("cannot write {}", self.path.display()))
    }
}
