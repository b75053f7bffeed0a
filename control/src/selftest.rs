//! stand-in
#![allow(missing_docs)]
#[derive(clap::Args, Debug)]
pub struct SelftestArgs {
    #[arg(long)]
    pub vectors: std::path::PathBuf,
}
pub fn run(_: &SelftestArgs, _: &mut dyn std::io::Write) -> anyhow::Result<bool> {
    anyhow::bail!("not yet")
}
