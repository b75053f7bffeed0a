//! What a shell needs to complete a program's commands.

use clap_complete::Shell;
use std::io::Write;

/// Of which shell.
#[derive(clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_parser = ["bash", "zsh", "fish"])]
    shell: String,
}

impl CompletionsArgs {
    /// Writes the script for a program of these commands.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, mut program: clap::Command, out: &mut dyn Write) -> anyhow::Result<()> {
        let shell: Shell = self.shell.parse().map_err(anyhow::Error::msg)?;
        let name = program.get_name().to_owned();
        // It would panic where it cannot write.
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut program, name, &mut text);
        Ok(out.write_all(&text)?)
    }
}
