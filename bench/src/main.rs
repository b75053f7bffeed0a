//! Benchmarks and the demo.

mod tasks;

use bench::{aead, claims, diagnostics, flow, instructions, latency, pipeline, results, rfc2544, scale, tcp_ratio};
use clap::{Parser, Subcommand};
use rig::{demo, trouble};
use std::process::ExitCode;

/// Benchmarks and the demo of the PDMv2 middlebox
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sealing and opening under many keys: our paths against what else there is
    Aead(aead::AeadArgs),
    /// All benchmarks, written to a directory as tables, JSON and plots
    All(results::AllArgs),
    /// What is said of this box's speed, measured anew, a line each
    Claims(claims::ClaimsArgs),
    /// Two boxes between two hosts, shown on one screen
    Demo(demo::DemoArgs),
    /// What it costs to keep times by flow and by policy: the path with that on, and off, in turns
    Diagnostics(diagnostics::DiagnosticsArgs),
    /// The flow table against DPDK's `rte_hash` and papaya
    Flow(flow::FlowArgs),
    /// Instructions per packet of the hot functions, counted by callgrind and by single steps
    Instructions(instructions::InstructionsArgs),
    /// One case of `instructions`, in this process
    #[command(hide = true)]
    InstructionsRun(instructions::RunArgs),
    /// Packets per second of the worker loop through DPDK ports, against dpdk-testpmd on the same ports
    Pipeline(pipeline::PipelineArgs),
    /// Added delay per packet, and what new flows and keys cost
    Latency(latency::LatencyArgs),
    /// The highest rate without loss, latency and its variation, as RFC 2544 and RFC 8219 ask
    Rfc2544(rfc2544::Rfc2544Args),
    /// Cost per packet as flows, new flows and changes of keys grow; 100 and 400 Gbit/s on paper
    Scale(scale::ScaleArgs),
    /// One measurement of `pipeline`, `latency` and their like, in this process
    #[command(hide = true)]
    Measure(tasks::MeasureArgs),
    /// TCP through two boxes, against two dpdk-testpmd in their places
    TcpRatio(tcp_ratio::TcpRatioArgs),
    /// A trouble between two hosts, and what boxes and captures tell of it
    Trouble(trouble::TroubleArgs),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Aead(args) => aead::run(&args),
        Command::All(args) => results::run(&args),
        Command::Claims(args) => claims::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Diagnostics(args) => diagnostics::run(&args),
        Command::Flow(args) => flow::run(&args),
        Command::Instructions(args) => instructions::run(&args),
        Command::InstructionsRun(args) => instructions::run_one(&args),
        Command::Pipeline(args) => pipeline::run(&args),
        Command::Latency(args) => latency::run(&args),
        Command::Rfc2544(args) => rfc2544::run(&args),
        Command::Scale(args) => scale::run(&args),
        Command::Measure(args) => tasks::run(&args),
        Command::TcpRatio(args) => tcp_ratio::run(&args),
        Command::Trouble(args) => trouble::run(&args),
    };
    match result {
        Ok(passed) => ExitCode::from(u8::from(!passed)),
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
