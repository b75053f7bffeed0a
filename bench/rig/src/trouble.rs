//! `bench trouble CASE`: a trouble is made between two hosts, and what hosts, boxes and `pdmv2 decode` tell of it is shown
//! beside what it is. The worked cases of `docs/diagnosing.md`.

pub mod talk;

use crate::capture::Capturing;
use crate::command;
use crate::counters::Counters;
use crate::demo::screen::{Screen, nanoseconds};
use crate::forwarders::{BoxConfig, INSIDE, Keys};
use crate::programs::{Programs, core};
use crate::side::Side;
use crate::slow_wire::SlowWire;
use crate::topology::{Options, Rig};
use crate::traffic::Pings;
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use rustix::process::Signal;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;
use talk::{Client, Server, Talk};

const SOON: Duration = Duration::from_secs(20);
const PORT: u16 = 5001;
/// What all is like before the trouble begins, and what the slow ones become.
const SERVER: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(40)];
const EACH_WAY: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(20)];
/// One packet of so many is lost.
const LOST: u32 = 20;
const POLICIES: &str = "[[policy]]\nname = \"ping\"\nprotocol = \"icmpv6\"\nmode = \"off\"\n\
                        [[policy]]\nname = \"requests\"\nmode = \"encrypted\"\n";

/// What is wrong.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Case {
    /// The server takes 40 ms instead of 2 after a while
    SlowServer,
    /// The network takes 20 ms each way instead of 1 after a while
    SlowNetwork,
    /// One request of 20 is lost between the boxes
    LossOnPath,
    /// One request of 20 is lost between host A and its box
    LossInFront,
    /// The network drops packets with Destination Options
    OptionsDropped,
}

impl Case {
    /// All.
    pub const ALL: [Self; 5] =
        [Self::SlowServer, Self::SlowNetwork, Self::LossOnPath, Self::LossInFront, Self::OptionsDropped];
}

/// Arguments of `bench trouble`.
#[derive(Args, Debug)]
pub struct TroubleArgs {
    /// What is to be wrong
    case: Case,
    /// Seconds of traffic; the trouble begins after an eighth
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=600))]
    seconds: u32,
    /// Where pdmv2-middlebox and pdmv2 are [default: beside this program]
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
}

/// What was seen of a case.
#[derive(Debug)]
pub struct Seen {
    /// At host A.
    pub talk: Talk,
    /// Pings at the end, which no policy measures.
    pub pings: Pings,
    /// What the boxes say at the end.
    pub boxes: [Counters; 2],
    /// What `pdmv2 decode --flows --json` says of the capture at box B, of the requests' flow.
    pub flow: Value,
    /// The same as text.
    pub text: String,
    /// What was lost, and what refused: the truth.
    pub not_carried: [u64; 2],
}

/// Makes a case, and shows it. `true`: hosts, boxes and capture were there to tell of it.
///
/// # Errors
/// A program is missing, a box does not start, a command fails.
pub fn run(args: &TroubleArgs) -> Result<bool> {
    let screen = Screen::new();
    let programs = Programs::find(args.bin_dir.as_deref())?;
    let name = args.case.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    screen.title(&format!("{name}: what hosts, boxes and the capture tell of it"));
    screen.text("host A ── [box A] ── network ── [box B] ── host B       (a request every 10 ms or so, UDP)");
    let seen = observe(&programs, args.case, Duration::from_secs(args.seconds.into()))?;
    show(&screen, &seen);
    Ok(true)
}

/// Makes a case, and gives what was seen.
///
/// # Errors
/// As [`run`].
pub fn observe(programs: &Programs, case: Case, time: Duration) -> Result<Seen> {
    let rig = Rig::new(Options { host_mtu: 1460, wire_mtu: 1500 })?;
    let mut wire = rig.slow_wire()?;
    wire.delay(EACH_WAY[0])?;
    let mut inside = (case == Case::LossInFront).then(|| rig.slow_inside()).transpose()?;
    let keys = rig.keygen(&programs.pdmv2)?;
    let mut boxes = Vec::new();
    for side in Side::BOTH {
        let config = BoxConfig {
            core: core(side),
            keys: Keys::File(keys.clone()),
            policies: POLICIES.to_owned(),
            inside: (side == Side::A && inside.is_some()).then_some(INSIDE),
            ..BoxConfig::default()
        };
        boxes.push(rig.start_box(side, &programs.middlebox, &rig.configure(side, &config)?)?);
    }
    rig.connect(SOON)?;
    let capture = wire.capture(&rig)?;
    let server = Server::start(&rig, PORT, SERVER[0])?;
    let mut client = Client::new(&rig, PORT)?;
    client.ask_for(time / 8, false)?;
    begin(case, &mut wire, inside.as_mut(), &server)?;
    client.ask_for(time * 7 / 8, true)?;
    // Without a packet behind it nobody sees that one was lost.
    inside.as_mut().unwrap_or(&mut wire).lose(0)?;
    client.ask_for(Duration::ZERO, true)?;
    let talk = client.end();
    drop(server);
    let pings = rig.ping(Side::A, Side::B.address(), 10, 50)?;
    rig.quiesce()?;
    let losing = inside.as_mut().unwrap_or(&mut wire);
    let not_carried = losing.not_carried()?;
    let (text, flow) = decode(programs, &keys, capture)?;
    let mut counters = Vec::new();
    for mut running in boxes {
        let status = running.stop(Signal::TERM, SOON)?;
        ensure!(status.success(), "a box ended with {status}:\n{}", running.tail());
        counters.push(Counters::parse(&running.out())?);
    }
    let boxes = counters.try_into().ok().context("two boxes")?;
    Ok(Seen { talk, pings, boxes, flow, text, not_carried })
}

/// The trouble.
fn begin(case: Case, wire: &mut SlowWire, inside: Option<&mut SlowWire>, server: &Server) -> Result<()> {
    match case {
        Case::SlowServer => server.takes(SERVER[1]),
        Case::SlowNetwork => wire.delay(EACH_WAY[1])?,
        Case::LossOnPath | Case::LossInFront => inside.unwrap_or(wire).lose(LOST)?,
        Case::OptionsDropped => wire.refuse_options()?,
    }
    Ok(())
}

/// What `pdmv2 decode --flows` says of the requests, as text and as JSON.
fn decode(programs: &Programs, keys: &std::path::Path, capture: Capturing) -> Result<(String, Value)> {
    let (file, _) = capture.stop()?;
    let (pdmv2, file, keys) =
        (programs.pdmv2.display().to_string(), file.display().to_string(), keys.display().to_string());
    let line = [&pdmv2, "decode", "--flows", "--keys", &keys, &file].map(String::from);
    let line: Vec<_> = line.iter().map(String::as_str).collect();
    let text = command::check(&line, SOON)?;
    let json = command::check(&[&line[..], &["--json"]].concat(), SOON)?;
    let flows: Vec<Value> =
        json.lines().map(serde_json::from_str).collect::<Result<_, _>>().context("decode's JSON")?;
    Ok((text, flows.into_iter().next().unwrap_or_default()))
}

/// Figures of the boxes that tell of delays and losses: what is shown, and its place.
const TIMES: [(&str, &str); 4] = [
    ("network, there and back: half below", "/delays/round_trip/p50_ns"),
    ("network, there and back: 90 % below", "/delays/round_trip/p90_ns"),
    ("behind the other box: half below", "/delays/server_delay/p50_ns"),
    ("behind the other box: 90 % below", "/delays/server_delay/p90_ns"),
];
const COUNTS: [(&str, &str); 7] = [
    ("packets from the network", "/inbound/received"),
    ("  option opened and taken out", "/inbound/removed/encrypted"),
    ("  no option, though the policy measures", "/inbound/passed/no_option"),
    ("numbers skipped (lost, or late)", "/sequence/skipped"),
    ("packets that came late", "/sequence/reordered"),
    ("lost at the outside port (missed)", "/ports/outside/rx_missed"),
    ("dropped by the box", "/outbound/dropped_total"),
];

fn show(screen: &Screen, seen: &Seen) {
    let Seen { talk, boxes: [a, b], text, not_carried: [lost, refused], .. } = seen;
    screen.heading("What host A sees");
    let Talk { sent, answered, .. } = talk;
    screen.text(&format!("  {sent} requests, {answered} answered, {} not", sent - answered));
    let median = |times: &[Duration]| talk::median(times).map(|time| nanoseconds(time.as_nanos() as u64));
    let words = |times: &[Duration]| median(times).map_or("none".into(), |time| format!("half of all within {time}"));
    screen.text(&format!("  answers: {} at first, {} then", words(&talk.before), words(&talk.after)));
    let Pings { sent, received, .. } = seen.pings;
    screen.text(&format!("  {sent} pings at the end, {received} answered (no policy measures them)"));
    screen.heading("What the boxes tell");
    screen.row("", "box A", "box B");
    for (name, place) in TIMES {
        screen.row(name, &nanoseconds(a.get(place)), &nanoseconds(b.get(place)));
    }
    let requests = |counters: &Counters| counters.policies("added").to_string();
    screen.row("options put in, policy 'requests'", &requests(a), &requests(b));
    for (name, place) in COUNTS {
        screen.row(name, &a.get(place).to_string(), &b.get(place).to_string());
    }
    screen.heading("What 'pdmv2 decode --flows' tells of a capture in front of box B");
    screen.text(text.trim_end());
    screen.heading("The truth");
    screen.text(&format!("  {lost} requests lost, {refused} packets with options refused"));
}
