//! Benchmarks and the demo.

use bench::ports::child;
use bench::{aead, claims, demo, flow, instructions, pipeline, results, tcp_ratio};
use clap::{Parser, Subcommand};
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
    /// The flow table against DPDK's `rte_hash` and papaya
    Flow(flow::FlowArgs),
    /// Instructions per packet of the hot functions, counted by callgrind
    Instructions(instructions::InstructionsArgs),
    /// One case of `instructions`, in this process
    #[command(hide = true)]
    InstructionsRun(instructions::RunArgs),
    /// Packets per second of the worker loop through DPDK ports, against dpdk-testpmd on the same ports
    Pipeline(pipeline::PipelineArgs),
    /// One measurement of `pipeline`, in this process
    #[command(hide = true)]
    PipelineRun(child::ChildArgs),
    /// TCP through two boxes, against two dpdk-testpmd in their places
    TcpRatio(tcp_ratio::TcpRatioArgs),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Aead(args) => aead::run(&args),
        Command::All(args) => results::run(&args),
        Command::Claims(args) => claims::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Flow(args) => flow::run(&args),
        Command::Instructions(args) => instructions::run(&args),
        Command::InstructionsRun(args) => instructions::run_one(&args),
        Command::Pipeline(args) => pipeline::run(&args),
        Command::PipelineRun(args) => child::run(&args),
        Command::TcpRatio(args) => tcp_ratio::run(&args),
    };
    match result {
        Ok(passed) => ExitCode::from(u8::from(!passed)),
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
