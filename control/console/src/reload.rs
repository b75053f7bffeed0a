//! `pdmv2 reload`: a running box reads its configuration again.

use crate::client::{Client, Which};
use crate::units::plain;
use common::admin::Reloaded;
use std::io::Write;

/// The command.
#[derive(Debug, clap::Args)]
pub struct ReloadArgs {
    #[command(flatten)]
    which: Which,
}

/// Has it done, and says what has changed.
///
/// # Errors
/// The box cannot be asked; or its configuration has errors, or a change that needs a restart, and all is as it was.
pub fn run(args: &ReloadArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    tell(&Client::new(&args.which)?.order("/v1/reload")?, out)
}

fn tell(Reloaded { changed, warnings }: &Reloaded, out: &mut dyn Write) -> anyhow::Result<()> {
    for warning in warnings {
        writeln!(out, "warning: {}", plain(warning))?;
    }
    match changed.as_slice() {
        [] => writeln!(out, "nothing has changed")?,
        changed => writeln!(out, "changed: {}", plain(&changed.join(", ")))?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_is_said() {
        let said = |changed: &[&str], warnings: &[&str]| {
            let of = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
            let mut out = Vec::new();
            tell(&Reloaded { changed: of(changed), warnings: of(warnings) }, &mut out).expect("told");
            String::from_utf8(out).expect("text")
        };
        assert_eq!(said(&[], &[]), "nothing has changed\n");
        assert_eq!(said(&["policy", "pair"], &["x\x1b"]), "warning: x?\nchanged: policy, pair\n");
    }
}
