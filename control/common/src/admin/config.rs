//! Where a box's admin socket is, and who may use it: `[admin]` of its configuration.

use crate::config::reader::Table;
use crate::config::report::{Errors, Report};
use crate::config::{parsed, path, section, text_of};
use std::path::{Path, PathBuf};

/// Where sockets are that nobody has named.
pub const DIRECTORY: &str = "/run/pdmv2";

/// Who may connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Access {
    /// Permissions of the socket.
    pub mode: u32,
    /// Its group, by name or number; `None`: the program's.
    pub group: Option<String>,
}

/// The section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admin {
    /// The socket.
    pub socket: PathBuf,
    /// Who may connect.
    pub access: Access,
}

/// The socket of a box that names none.
#[must_use]
pub fn default_socket(node: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{node}.sock"))
}

/// Reads `[admin]`. `None`: it is not there, and nobody is listened to, or it is wrong. Paths in it start at `dir`.
pub fn admin(root: &mut Table<'_>, node: Option<&str>, dir: &Path, report: &mut Report<'_>) -> Option<Admin> {
    let mut table = section(root, "admin", report)??;
    let socket = path(&mut table, "socket", dir, report);
    let group = table.text("group", report).map(|group| group.value.to_owned());
    // Whoever names a group wants it to be let in.
    let mut mode = if group.is_some() { 0o660 } else { 0o600 };
    if let Some(text) = table.text("mode", report) {
        let digits = !text.value.is_empty() && text.value.bytes().all(|b| (b'0'..=b'7').contains(&b));
        match u32::from_str_radix(text.value, 8).ok().filter(|mode| digits && *mode <= 0o777) {
            Some(given) => mode = given,
            None => {
                let message = format!("'{}' is not a mode for 'admin.mode'", text.value);
                report.error(text.at, message, "write it in octal digits, like \"0660\"");
            }
        }
        if mode & 0o007 != 0 {
            let message = "everybody on this machine may ask the box who talks to whom";
            report.warn(text.at, message, "mode = \"0660\", and a group");
        }
    }
    table.finish(report);
    let socket = match (socket, node) {
        (Some(socket), _) => socket.value,
        (None, node) => default_socket(node?),
    };
    Some(Admin { socket, access: Access { mode, group } })
}

/// The admin socket that a box's configuration names. Of the rest of it only the box's name is looked at.
///
/// # Errors
/// It cannot be read, or has no `[admin]`.
pub fn socket_of(file: &Path) -> Result<PathBuf, Errors> {
    let read = |mut root: Table<'_>, dir: &Path, report: &mut Report<'_>| {
        if !root.require("admin", "[admin] to the box's configuration, and start the box again", report) {
            return None;
        }
        let mut node = root.table("node", report);
        let node = node.as_mut().and_then(|table| table.text("name", report));
        admin(&mut root, node.map(|node| node.value), dir, report).map(|admin| admin.socket)
    };
    parsed(&text_of(file)?, file, read).map(|(socket, _)| socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Option<Admin>, usize), String> {
        let read = |mut root: Table<'_>, dir: &Path, report: &mut Report<'_>| {
            Some(admin(&mut root, Some("west"), dir, report))
        };
        parsed(text, Path::new("/etc/pdmv2/box.toml"), read)
            .map(|(admin, warnings)| (admin, warnings.len()))
            .map_err(|errors| errors.to_string())
    }

    fn of(socket: &str, mode: u32, group: Option<&str>) -> Option<Admin> {
        Some(Admin { socket: socket.into(), access: Access { mode, group: group.map(str::to_owned) } })
    }

    #[test]
    fn nobody_but_its_user_is_let_in_unless_the_configuration_says_so() {
        assert_eq!(read(""), Ok((None, 0)));
        assert_eq!(read("[admin]\n"), Ok((of("/run/pdmv2/west.sock", 0o600, None), 0)));
        let with_group = of("/etc/pdmv2/s", 0o660, Some("ops"));
        assert_eq!(read("[admin]\nsocket = \"s\"\ngroup = \"ops\"\n"), Ok((with_group, 0)));
        assert_eq!(read("[admin]\nsocket = \"/s\"\nmode = \"0666\"\n"), Ok((of("/s", 0o666, None), 1)), "a warning");
        for mode in ["rw", "", "8", "01000", "+660"] {
            let said = read(&format!("[admin]\nmode = \"{mode}\"\n")).expect_err("an error");
            assert!(said.contains("box.toml:2:") && said.contains("octal"), "{said}");
        }
        assert!(read("[admin]\nmoed = \"0600\"\n").expect_err("an error").contains("mode"));
    }

    #[test]
    fn a_configuration_tells_where_its_box_is_asked() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("box.toml");
        let socket = |text: &str| {
            std::fs::write(&file, text).expect("written");
            socket_of(&file).map_err(|errors| errors.to_string())
        };
        let rest = "[node]\nname = \"east\"\n[ports]\nunread = true\n";
        assert_eq!(socket(&format!("{rest}[admin]\n")), Ok("/run/pdmv2/east.sock".into()));
        assert_eq!(socket(&format!("{rest}[admin]\nsocket = \"here\"\n")), Ok(dir.path().join("here")));
        assert!(socket(rest).expect_err("none").contains("add [admin]"));
    }
}
