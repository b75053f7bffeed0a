//! Tools that need no DPDK: ask a running box, make key files, read captures, check vectors.

mod completions;
mod man;

use clap::{CommandFactory, Parser, Subcommand};
use console::{capture, flows, policy, reload, status, top, trace, upgrade};
use registrar::command::{self, RegistrarCommand};
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use tools::{decode, keygen, pki, selftest, state_tool};

/// Tools for PDMv2: ask a running box, make key files, read captures, check test vectors
#[derive(Parser)]
#[command(name = "pdmv2", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// How a running box stands: ports, keys, workers, flows, drops and what to do about them
    Status(status::StatusArgs),
    /// The policies of a running box: see, start and stop them
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// The flows of a running box, by what matters
    Flows(flows::FlowsArgs),
    /// The flows of a running box, live
    Top(top::TopArgs),
    /// The next packets of a running box that match, each with every step it took and why
    Trace(trace::TraceArgs),
    /// Packets of a running box in a file for Wireshark, each with a comment of what became of it
    Capture(capture::CaptureArgs),
    /// A running box reads its configuration again
    Reload(reload::ReloadArgs),
    /// The program as it is installed now takes over from a running box, which forwards until then
    Upgrade(upgrade::UpgradeArgs),
    /// Make a key file for boxes that run without a registrar
    Keygen(keygen::KeygenArgs),
    /// A certification authority for the lab, and the secrets of registrars
    #[command(subcommand)]
    Pki(pki::PkiCommand),
    /// The registrar: negotiates with the other side's, and hands boxes their keys
    #[command(subcommand)]
    Registrar(RegistrarCommand),
    /// What a box has recorded of its generations beside its key file
    #[command(subcommand)]
    State(state_tool::StateCommand),
    /// Show the PDM options of a capture, opened with a key file or a key log; or its flows, and what is wrong with them
    Decode(decode::DecodeArgs),
    /// Check the implementation against a file of test vectors
    Selftest(selftest::SelftestArgs),
    /// What a shell needs to complete these commands; docs/admin.md says where it goes
    Completions(completions::CompletionsArgs),
    /// Man pages of these commands
    #[command(hide = true)]
    Man(man::ManArgs),
}

/// Where the pages lead on to.
const SEE: &str = ".SH FILES\n/etc/pdmv2, /usr/share/doc/pdmv2 (all of the documentation), /usr/share/pdmv2 (monitoring, Wireshark).\n\
    .SH \"SEE ALSO\"\n\\fBpdmv2\\fR(1), \\fBpdmv2\\-middlebox\\fR(1), \\fBpdmv2\\-middlebox.toml\\fR(5)\n";

fn main() -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    let result =
        run(&Arguments::parse().command, &mut out).and_then(|code| out.flush().map(|()| code).map_err(Into::into));
    match result {
        Ok(code) => code,
        // `pdmv2 decode … | head` has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = out.flush();
            eprintln!("pdmv2: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match command {
        Command::Status(args) => status::run(args, out)?,
        Command::Policy(command) => policy::run(command, out)?,
        Command::Flows(args) => flows::run(args, out)?,
        Command::Top(args) => top::run(args)?,
        Command::Trace(args) => trace::run(args, out)?,
        Command::Capture(args) => capture::run(args, out)?,
        Command::Reload(args) => reload::run(args, out)?,
        Command::Upgrade(args) => upgrade::run(args, out)?,
        Command::Completions(args) => args.write(Arguments::command(), out)?,
        Command::Man(args) => args.write(Arguments::command(), SEE)?,
        Command::Keygen(args) => keygen::run(args, out)?,
        Command::Pki(command) => pki::run(command, out)?,
        Command::Registrar(command) => command::run(command, out)?,
        Command::State(command) => state_tool::run(command, out)?,
        Command::Decode(args) => {
            let summary = decode::run(args, out)?;
            out.flush()?;
            eprintln!("{summary}");
            return Ok(ExitCode::from(u8::from(summary.nothing_known())));
        }
        Command::Selftest(args) => return selftest::run(args, out).map(|passed| ExitCode::from(u8::from(!passed))),
    }
    Ok(ExitCode::SUCCESS)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe))
}
