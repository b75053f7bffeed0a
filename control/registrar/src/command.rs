//! `pdmv2 registrar …`: the program, and the commands that ask one that runs.

use crate::admin::{self, Answer, Question};
use crate::config::RegistrarConfig;
use crate::core::{Core, StoreStatus};
use crate::engine::{EngineStatus, NodeStatus};
use crate::entrance::{self, Doors};
use crate::etcd_client::Etcd;
use crate::service::{Services, say_refused};
use crate::store::FileStore;
use crate::{election, metrics, primary_client};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use common::{logging, private_file};
use futures_util::stream;
use registration::serving::http;
use registration::{net, tls};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::service::Routes;

/// Steps of the engines' time.
const TICK: Duration = Duration::from_millis(50);
/// Certificates of open connections are checked at least so often: they expire.
const RECHECK: Duration = Duration::from_secs(60);
/// The answer to a call begins within this: longer than a box's first message, and what a follower asks its leader, may take.
const CALL: Duration = Duration::from_secs(45);
/// A registrar that is told to end tries to let another lead for so long.
const PARTING: Duration = Duration::from_secs(3);
/// It waits for its store to be closed for so long.
const CLOSING: Duration = Duration::from_secs(2);

/// `pdmv2 registrar …`.
#[derive(Subcommand, Debug)]
pub enum RegistrarCommand {
    /// Run a registrar until SIGTERM or SIGINT
    Run(RunArgs),
    /// How things stand: peers and generations
    Status(AskArgs),
    /// The boxes of this side
    Nodes(AskArgs),
    /// Make a new generation now
    Rotate(RotateArgs),
    /// Strike a box out: its connection ends, its peers drop its secrets, a new generation follows
    Revoke(RevokeArgs),
}

/// Arguments of `pdmv2 registrar run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Check the configuration and the files it names, and start nothing
    #[arg(long)]
    pub check: bool,
}

/// Which registrar is asked, and how it answers.
#[derive(Args, Debug)]
pub struct AskArgs {
    /// The registrar's configuration: its socket is asked
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `pdmv2 registrar rotate`.
#[derive(Args, Debug)]
pub struct RotateArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap shows the fields' own")]
    pub ask: AskArgs,
    /// With this peer; without it, with all
    #[arg(long, value_name = "NAME")]
    pub peer: Option<String>,
}

/// Arguments of `pdmv2 registrar revoke`.
#[derive(Args, Debug)]
pub struct RevokeArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap shows the fields' own")]
    pub ask: AskArgs,
    /// The box
    #[arg(value_name = "NAME")]
    pub node: String,
    /// Take a revocation back
    #[arg(long)]
    pub undo: bool,
}

/// Runs the command.
///
/// # Errors
/// Each with its remedy.
pub fn run(command: &RegistrarCommand, out: &mut dyn Write) -> anyhow::Result<()> {
    let (ask, question) = match command {
        RegistrarCommand::Run(args) => return start(args, out),
        RegistrarCommand::Status(args) | RegistrarCommand::Nodes(args) => (args, Question::Status),
        RegistrarCommand::Rotate(args) => (&args.ask, Question::Rotate { peer: args.peer.clone() }),
        RegistrarCommand::Revoke(args) => (&args.ask, Question::Revoke { node: args.node.clone(), undo: args.undo }),
    };
    let socket = RegistrarConfig::admin_of(&ask.config).map_err(|e| anyhow::anyhow!("{e}"))?;
    let answer = admin::ask(&socket, &question)?;
    match (answer, matches!(command, RegistrarCommand::Nodes(_))) {
        (Answer::Status { peers, .. }, true) => {
            let nodes: Vec<_> = peers.into_iter().flat_map(|p| p.nodes).collect();
            if ask.json { json(out, &nodes) } else { show_nodes(out, &nodes) }
        }
        (answer, _) if ask.json => json(out, &answer),
        (Answer::Status { name, version, role, leader, peers, store }, _) => {
            let leader = leader.as_deref().unwrap_or("nobody known");
            writeln!(out, "registrar {name}, version {version}; {role}; leader: {leader}")?;
            if let Some(store) = &store {
                show_store(out, store)?;
            }
            peers.iter().try_for_each(|p| show_peer(out, p))
        }
        (Answer::Done(with), _) => Ok(writeln!(out, "Done: {}.", with.join(", "))?),
        (Answer::Error(error), _) => bail!(error),
    }
}

fn json(out: &mut dyn Write, value: &impl serde::Serialize) -> anyhow::Result<()> {
    Ok(writeln!(out, "{}", serde_json::to_string(value)?)?)
}

fn show_store(out: &mut dyn Write, store: &StoreStatus) -> anyhow::Result<()> {
    let Some(seconds) = store.behind_seconds else { return Ok(()) };
    let (place, error) = (&store.place, store.error.as_deref().unwrap_or_default());
    writeln!(out, "\nNOT KEPT: {place} cannot be written since {seconds} s: {error}")?;
    writeln!(out, "  nothing new is handed out; boxes go on with what they have, for as long as their keys are good")?;
    Ok(writeln!(out, "  remedy: {}", store.remedy.as_deref().unwrap_or_default())?)
}

fn show_peer(out: &mut dyn Write, p: &EngineStatus) -> anyhow::Result<()> {
    let link = if p.connected { "in touch" } else { "NOT in touch" };
    writeln!(out, "\npeer {}: {link}; this is the {} primary; scope {}", p.peer, p.role, p.scope)?;
    let (connected, sealing) =
        (p.nodes.iter().filter(|n| n.connected).count(), p.nodes.iter().filter(|n| n.seals > 0).count());
    writeln!(out, "  boxes: {} here ({connected} connected, {sealing} seal), {} there", p.nodes.len(), p.peer_nodes)?;
    if let Some(due) = &p.due {
        writeln!(out, "  a new generation is due: {due}")?;
    }
    if let Some(error) = &p.last_error {
        writeln!(out, "  the last negotiation failed: {error}")?;
    }
    for n in &p.nodes {
        if let Some(contest) = &n.contested {
            let holder = n.address.as_deref().unwrap_or("nobody any more");
            let (claimant, claims) = (&contest.claimant, contest.claims);
            writeln!(
                out,
                "  two processes of {}: {holder} has its place, {claimant} asks for it ({claims} times)",
                n.name
            )?;
        }
    }
    if p.generations.is_empty() {
        writeln!(out, "  no generation yet")?;
    } else {
        writeln!(out, "  {:>10}  {:<10}  {:>9}  {:>10}  suite", "generation", "state", "age", "expires in")?;
    }
    for g in &p.generations {
        let (age, expires) = (format!("{} s", g.age_seconds), format!("{} s", g.expires_in_seconds));
        writeln!(out, "  {:>10}  {:<10}  {age:>9}  {expires:>10}  {}", g.number, g.state, g.suite)?;
    }
    Ok(())
}

fn show_nodes(out: &mut dyn Write, nodes: &[NodeStatus]) -> anyhow::Result<()> {
    writeln!(out, "{:<20}  {:<12}  {:<12}  {:>6}  {:>6}  prefixes", "node", "peer", "state", "opens", "seals")?;
    for n in nodes {
        let state = match (n.revoked, n.connected, &n.contested) {
            (true, ..) => "revoked",
            (_, true, Some(_)) => "contested",
            (_, true, _) => "connected",
            _ => "absent",
        };
        let prefixes = n.prefixes.join(" ");
        writeln!(out, "{:<20}  {:<12}  {state:<12}  {:>6}  {:>6}  {prefixes}", n.name, n.peer, n.opens, n.seals)?;
    }
    Ok(())
}

fn start(args: &RunArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let config = RegistrarConfig::load(&args.config).map_err(|e| anyhow::anyhow!("{e}"))?;
    if args.check {
        config.warnings.iter().for_each(|w| eprintln!("warning: {w}"));
        let (peers, nodes) = (config.peers.len(), config.nodes.len());
        return Ok(writeln!(out, "{}: {peers} peers, {nodes} nodes, no errors", args.config.display())?);
    }
    logging::start(&config.telemetry);
    config.warnings.iter().for_each(|w| tracing::warn!("{w}"));
    // Before there are threads: their signals are this one's.
    let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT])
        .context("cannot wait for signals")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
    let (core, election) = runtime.block_on(serve(config))?;
    let watchdog = crate::watchdog::start(Arc::clone(&core));
    if let Err(error) = &watchdog {
        tracing::error!(%error, "systemd is not told how the registrar stands");
    }
    let signal = signals.forever().next();
    tracing::info!(signal, "stopping");
    drop(watchdog);
    if let Some((stop, ended)) = election {
        stop.send_replace(true);
        // Without an answer of etcd the lease runs out by itself.
        let _ = runtime.block_on(async { tokio::time::timeout(PARTING, ended).await });
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
    // A store that does not answer does not keep the program.
    core.close(CLOSING);
    Ok(())
}

/// The election's task, and what tells it to end: another may lead then.
type Election = (watch::Sender<bool>, JoinHandle<()>);

/// Starts everything; returns when all listens.
async fn serve(config: RegistrarConfig) -> anyhow::Result<(Arc<Core>, Option<Election>)> {
    let key = private_file::read_secret(&config.state_key)?;
    let store = config.state.as_deref().map(|state| FileStore::open(state, &key)).transpose()?;
    let etcd = config.etcd.clone().map(Etcd::new).transpose().context("[etcd]")?;
    let admin = admin::listen(&config.admin)?;
    let (address, telemetry) = (config.listen, config.telemetry.listen);
    let (doors, nodes) = (Doors::new(), config.nodes.len());
    if doors.connections() < nodes {
        let most = doors.connections();
        tracing::warn!(
            most,
            nodes,
            "fewer connections can be open than there are boxes; raise the limit of open files (LimitNOFILE)"
        );
    }
    let (core, orders) = Core::new(config)?;
    let election = match (store, etcd) {
        (Some(store), _) => {
            core.lead(Arc::new(store))?;
            None
        }
        (None, Some(etcd)) => {
            let (stop, stopped) = watch::channel(false);
            Some((stop, tokio::spawn(election::run(Arc::clone(&core), etcd, key, stopped))))
        }
        (None, None) => bail!("neither [registrar] state nor [etcd]; add one"),
    };
    if let Some(listen) = telemetry {
        let listener = tokio::net::TcpListener::bind(listen).await.with_context(|| {
            format!("[telemetry] listen: cannot listen on {listen}; choose a free port, or an address of this machine")
        })?;
        let router = metrics::router(Arc::clone(&core), doors.clone());
        tokio::spawn(http::serve(listener, router));
    }
    tokio::spawn(admin::serve(Arc::clone(&core), admin));
    let (address, connections) = entrance::listen(Arc::clone(&core.tls), doors, address).await?;
    let services = Services(Arc::clone(&core));
    let connections = stream::unfold(connections, |mut c| async move { c.recv().await.map(|next| (next, c)) });
    let routes = Routes::new(services.primary()).add_service(services.secondary()).prepare().into_axum_router();
    let routes = routes.layer(axum::middleware::from_fn(say_refused));
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(net::KEEPALIVE))
        .http2_keepalive_timeout(Some(net::KEEPALIVE_ANSWER))
        // A box has one stream, a primary three calls.
        .max_concurrent_streams(16)
        // Until an answer begins: a message that never ends is no reason to wait.
        .timeout(CALL)
        .add_routes(routes.into());
    tokio::spawn(async move {
        if let Err(error) = server.serve_with_incoming(Box::pin(connections)).await {
            tracing::error!(%error, "the service has ended");
        }
    });
    for (peer, orders) in orders {
        tokio::spawn(primary_client::run(Arc::clone(&core), peer, orders));
    }
    tokio::spawn(tick(Arc::clone(&core)));
    tokio::spawn(tls::keep_fresh(Arc::clone(&core.tls)));
    tokio::spawn(recheck(Arc::clone(&core)));
    let (peers, nodes) = (core.peers.len(), core.config.nodes.len());
    tracing::info!(name = core.config.name, %address, peers, nodes, "ready");
    Ok((core, election))
}

async fn tick(core: Arc<Core>) {
    loop {
        tokio::time::sleep(TICK).await;
        core.tick();
    }
}

/// Looks whether the certificates of open connections are still good: when there are new lists or authorities, and as time
/// passes.
async fn recheck(core: Arc<Core>) {
    let mut changes = core.tls.changes();
    loop {
        let _ = tokio::time::timeout(RECHECK, changes.changed()).await; // whichever it was
        changes.borrow_and_update();
        core.check_certificates();
    }
}
