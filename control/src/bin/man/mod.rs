//! Man pages, made of what `--help` says: the packages' build asks for them.

use clap::{Args, Command};
use clap_mangen::Man;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Hidden: nobody needs it who has the pages.
#[derive(Args)]
pub struct ManArgs {
    /// The directory that gets a page for the program and for each of its commands; it is made
    directory: PathBuf,
}

/// What stands at the head of each page, in the middle.
const MANUAL: &str = "PDMv2 middlebox";

impl ManArgs {
    /// Writes the pages of `program`, section 1: `pdmv2.1`, `pdmv2-policy-list.1`. Each ends with `see`, lines of roff.
    ///
    /// # Errors
    /// The directory or a file cannot be written; the error names it.
    pub fn write(&self, program: Command, see: &str) -> anyhow::Result<()> {
        let of = |path: &Path, error: &io::Error| anyhow::anyhow!("{}: {error}", path.display());
        fs::create_dir_all(&self.directory).map_err(|error| of(&self.directory, &error))?;
        // A page that says 'print this message' says nothing.
        let mut program = program.disable_help_subcommand(true);
        program.build();
        let version = program.render_version().trim_end().to_owned();
        let mut commands = vec![program];
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands().filter(|c| !c.is_hide_set()).cloned());
            let path = self.directory.join(format!("{}.1", name(&command)));
            let text = page(command, &version, see).map_err(|error| of(&path, &error))?;
            fs::write(&path, text).map_err(|error| of(&path, &error))?;
        }
        Ok(())
    }
}

/// `pdmv2-policy-list`.
fn name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

/// A page, with what its maker gets wrong put right.
fn page(command: Command, version: &str, see: &str) -> io::Result<String> {
    // Without a date: the same program makes the same page. But an empty argument is one, and it leaves that out.
    let title =
        format!(".TH \"{}\" 1 \"\" \"{version}\" \"{MANUAL}\"", name(&command).to_uppercase().replace('-', "\\-"));
    let mut text = Vec::new();
    Man::new(command).render(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().map(|line| if line.starts_with(".TH ") { title.as_str() } else { line }).collect();
    // An empty line between two breaks is a space.
    let text = lines.join("\n").replace("\n.br\n\n.br\n", "\n.sp\n");
    Ok(format!("{text}\n{see}"))
}
