//! `pdmv2 state …`: for operators, what stands in a state file.

use anyhow::Context;
use clap::{Args, Subcommand};
use common::key_file::{KeyFile, Node};
use common::machine::Machine;
use common::state_file::StateFile;
use std::io::Write;
use std::path::PathBuf;

/// `pdmv2 state …`.
#[derive(Subcommand, Debug)]
pub enum StateCommand {
    /// Make a state file that was written on another machine this machine's: after a new mainboard, or when the disk was
    /// moved. Never for a copy whose original may run again: both would seal under the same generations. Make a new key file
    /// then
    Adopt(AdoptArgs),
}

/// Arguments of `pdmv2 state adopt`.
#[derive(Args, Debug)]
pub struct AdoptArgs {
    /// The key file
    #[arg(long, value_name = "FILE")]
    pub keys: PathBuf,
    /// The box, as the key file has it
    #[arg(long, value_name = "NAME")]
    pub node: String,
    /// Where the state file is; without it, beside the key file
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// Each with its remedy.
pub fn run(command: &StateCommand, out: &mut dyn Write) -> anyhow::Result<()> {
    let StateCommand::Adopt(args) = command;
    let keys = KeyFile::load(&args.keys).map_err(|e| anyhow::anyhow!("{e}"))?;
    let node: &Node = keys.node(&args.node).with_context(|| {
        let names: Vec<_> = keys.nodes.iter().map(|n| n.name.as_str()).collect();
        format!("{}: no node '{}'; there are: {}", args.keys.display(), args.node, names.join(", "))
    })?;
    let beside = args.keys.parent().filter(|dir| !dir.as_os_str().is_empty()).map_or_else(|| ".".into(), PathBuf::from);
    let dir = args.state_dir.clone().unwrap_or(beside);
    match StateFile::adopt(&Machine::here(), &dir, &keys, node)? {
        Some(state) => writeln!(
            out,
            "{}: this machine's now; generation {} was the last. The machine it comes from must never run as '{}' again.",
            state.path().display(),
            state.generation(),
            args.node
        )?,
        None => writeln!(out, "{}: no state of '{}' here yet; nothing to do", dir.display(), args.node)?,
    }
    Ok(())
}
