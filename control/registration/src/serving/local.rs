//! Sockets of this machine: who may connect is a matter of the file's permissions.

use anyhow::{Context, bail, ensure};
use rustix::fs::Mode;
use rustix::process::umask;
use std::fs::Permissions;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

/// A socket that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What in the configuration asks for it.
    pub setting: &'a str,
    /// Who may be listening there already: `box`, `registrar`.
    pub who: &'a str,
    /// Its permissions.
    pub mode: u32,
    /// Its group, by name or number; `None`: the program's.
    pub group: Option<&'a str>,
}

/// Listens; nobody can connect before the permissions are as asked. For the start of a program, before other threads make files:
/// their permissions would be narrowed too. Within a runtime.
///
/// # Errors
/// Somebody answers there, or something else is in its place, or the permissions cannot be given.
pub fn listen(path: &Path, asked: &Asked<'_>) -> anyhow::Result<UnixListener> {
    let (place, setting) = (path.display(), asked.setting);
    let group = group_of(path, asked)?;
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => {
            let socket = metadata.file_type().is_socket();
            ensure!(socket, "{place}: there is something that is no socket; correct {setting}");
            if UnixStream::connect(path).is_ok() {
                let who = asked.who;
                bail!("{place}: another {who} answers there; stop it, or give this one its own {setting}");
            }
            std::fs::remove_file(path).with_context(|| format!("{place}: cannot be removed"))?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => make_directory(path),
        Err(error) => return Err(error).with_context(|| place.to_string()),
    }
    let before = umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
    let listener = UnixListener::bind(path);
    umask(before);
    let listener =
        listener.with_context(|| format!("{place}: cannot listen; make its directory, or correct {setting}"))?;
    give_to(path, asked, group)?;
    Ok(listener)
}

/// Gives a socket that is there the permissions that are asked for.
///
/// # Errors
/// They cannot be given.
pub fn give_as_asked(path: &Path, asked: &Asked<'_>) -> anyhow::Result<()> {
    give_to(path, asked, group_of(path, asked)?)
}

fn group_of(path: &Path, asked: &Asked<'_>) -> anyhow::Result<Option<u32>> {
    let group =
        asked.group.map(|name| group_id(name).with_context(|| format!("{}: {}", asked.setting, path.display())));
    group.transpose()
}

fn give_to(path: &Path, asked: &Asked<'_>, group: Option<u32>) -> anyhow::Result<()> {
    give(path, asked.mode, group).with_context(|| {
        format!(
            "{}: cannot be given mode {:04o} and the group; choose one that this user is in, or correct {}",
            path.display(),
            asked.mode,
            asked.setting
        )
    })
}

/// `/run` is empty after each start of the machine. Whether it could be made shows when the socket is. Everybody may pass through it,
/// whatever the umask: who may connect, the socket itself says.
fn make_directory(path: &Path) {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.exists()) {
        drop(
            std::fs::create_dir(parent).and_then(|()| std::fs::set_permissions(parent, Permissions::from_mode(0o755))),
        );
    }
}

fn give(path: &Path, mode: u32, group: Option<u32>) -> std::io::Result<()> {
    // A unit of systemd with Group= gives it the group, and allows no chown.
    if let Some(group) = group
        && std::fs::symlink_metadata(path)?.gid() != group
    {
        std::os::unix::fs::chown(path, None, Some(group))?;
    }
    std::fs::set_permissions(path, Permissions::from_mode(mode))
}

/// A group's number. Only groups in `/etc/group` have names; others go by their numbers.
fn group_id(name: &str) -> anyhow::Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let text = std::fs::read_to_string("/etc/group").context("/etc/group")?;
    group_in(&text, name)
        .with_context(|| format!("/etc/group has no group '{name}'; 'groupadd {name}', or give its number"))
}

fn group_in(text: &str, name: &str) -> Option<u32> {
    let mut lines = text.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?)
}

/// Takes a socket's name away when its program ends.
#[derive(Debug)]
pub struct Remove {
    /// The name.
    pub path: PathBuf,
    /// Whether it is this program's. Otherwise another one goes on answering there.
    pub is_ours: bool,
}

impl Drop for Remove {
    fn drop(&mut self) {
        if self.is_ours {
            drop(std::fs::remove_file(&self.path)); // it is gone already
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINE: Asked<'_> = Asked { setting: "[admin] socket", who: "box", mode: 0o640, group: None };

    #[tokio::test]
    async fn a_socket_has_the_permissions_that_were_asked_for_and_one_owner() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("run/s");
        let listener = listen(&path, &MINE).expect("a socket, in a directory that was not there");
        let of = |path: &Path| std::fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o7777;
        assert_eq!((of(&path), of(&dir.path().join("run"))), (0o640, 0o755));
        let said = listen(&path, &MINE).expect_err("taken").to_string();
        assert!(said.contains("another box answers there") && said.contains("[admin] socket"), "{said}");
        drop(listener);
        let own = rustix::process::getgid().as_raw().to_string();
        let again = listen(&path, &Asked { mode: 0o660, group: Some(&own), ..MINE });
        assert!(again.is_ok() && of(&path) == 0o660, "what a killed program has left is replaced: {again:?}");
        let nobodys = listen(&path, &Asked { group: Some("no such group"), ..MINE }).map_err(|e| format!("{e:#}"));
        assert!(nobodys.expect_err("no group").contains("groupadd"));
        let file = dir.path().join("file");
        std::fs::write(&file, "data").expect("written");
        assert!(listen(&file, &MINE).expect_err("no socket").to_string().contains("no socket"));
        assert_eq!(std::fs::read(&file).expect("still there"), b"data");
    }

    #[test]
    fn groups_have_numbers() {
        let text = "root:x:0:\nops:x:27:a,b\nbad\nworse:x:y:\n";
        assert_eq!(
            ["root", "ops", "bad", "worse", "none"].map(|name| group_in(text, name)),
            [Some(0), Some(27), None, None, None]
        );
    }
}
