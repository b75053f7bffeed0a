//! The promise that no generation is ever taken twice, against everything that can happen to a file.

use common::key_file::{KeyFile, Scope, Side};
use common::machine::Machine;
use common::state_file::{StateError, StateFile, known_generations};
use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn keys() -> KeyFile {
    let node = |name: &str, side, id| common::key_file::Node {
        name: name.to_owned(),
        id: [id; 16],
        side,
        prefixes: vec!["2001:db8::/32".parse().expect("prefix")],
    };
    let nodes = vec![node("box-a", Side::Client, 1), node("box-b", Side::Server, 2), node("box-c", Side::Server, 3)];
    KeyFile::generate(protocol::suite::Suite::default(), Scope::Node, nodes).expect("keys")
}

fn open(dir: &Path, keys: &KeyFile, node: &str) -> Result<StateFile, StateError> {
    StateFile::open(dir, keys, keys.node(node).expect("node"))
}

/// Takes one generation, as a process does that starts and ends.
fn take(dir: &Path, keys: &KeyFile) -> Result<u32, StateError> {
    open(dir, keys, "box-a")?.take_generation()
}

fn file(dir: &Path, ending: &str) -> PathBuf {
    let mut found = std::fs::read_dir(dir).expect("directory").flatten().map(|e| e.path());
    found.find(|p| p.to_string_lossy().ends_with(ending)).expect("a state file")
}

#[test]
fn a_thousand_starts_give_a_thousand_generations() {
    let (dir, keys) = (tempfile::tempdir().expect("directory"), keys());
    let mut expected = 1;
    while expected <= 1000 {
        let mut state = open(dir.path(), &keys, "box-a").expect("opened");
        for _ in 0..=expected % 3 {
            assert_eq!(state.take_generation().expect("taken"), expected);
            assert_eq!(state.generation(), expected);
            expected += 1;
        }
    }
    for ending in [".state", ".lock"] {
        let mode = std::fs::metadata(file(dir.path(), ending)).expect("there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{ending}");
    }
}

#[test]
fn another_process_waits_outside() {
    let (dir, keys) = (tempfile::tempdir().expect("directory"), keys());
    let mut first = open(dir.path(), &keys, "box-a").expect("opened");
    first.take_generation().expect("taken");
    let error = open(dir.path(), &keys, "box-a").expect_err("locked");
    assert!(matches!(error, StateError::Locked(_)), "{error}");
    assert!(error.to_string().contains("another process runs as this node; stop it"), "{error}");
    open(dir.path(), &keys, "box-b").expect("another node has its own");
    assert_eq!(first.take_generation().expect("the rename did not lose the lock"), 2);
    assert!(matches!(open(dir.path(), &keys, "box-a"), Err(StateError::Locked(_))));
    drop(first);
    assert_eq!(take(dir.path(), &keys).expect("free again"), 3);
}

#[test]
fn crash_points() {
    let (dir, keys) = (tempfile::tempdir().expect("directory"), keys());
    // Before the first generation: the lock file is there and empty.
    drop(open(dir.path(), &keys, "box-a").expect("opened"));
    assert_eq!(take(dir.path(), &keys).expect("taken"), 1);
    let state = file(dir.path(), ".state");
    let temporary = state.with_extension("state.tmp");
    // While the temporary file was written, at every length; and something else in its place.
    let whole = std::fs::read(&state).expect("state");
    for (i, len) in (0..=whole.len()).step_by(41).enumerate() {
        std::fs::write(&temporary, &whole[..len]).expect("written");
        assert_eq!(take(dir.path(), &keys).expect("taken"), 2 + i as u32);
        assert!(!temporary.exists());
    }
    // A link to elsewhere is replaced, not followed.
    let victim = dir.path().join("victim");
    std::fs::write(&victim, "precious").expect("written");
    std::os::unix::fs::symlink(&victim, &temporary).expect("link");
    take(dir.path(), &keys).expect("taken");
    assert_eq!(std::fs::read(&victim).expect("there"), b"precious");
    // Between the first state file and the mark in the lock: taken, never returned, so never used.
    let lock = file(dir.path(), ".lock");
    std::fs::write(&lock, "").expect("emptied");
    let last = open(dir.path(), &keys, "box-a").expect("opened").generation();
    assert_eq!(take(dir.path(), &keys).expect("taken"), last + 1);
    assert!(!std::fs::read(&lock).expect("lock").is_empty(), "marked now");
}

#[test]
fn damage_and_loss_never_start_again_at_1() {
    let (dir, keys) = (tempfile::tempdir().expect("directory"), keys());
    for _ in 0..3 {
        take(dir.path(), &keys).expect("taken");
    }
    let state = file(dir.path(), ".state");
    let whole = std::fs::read(&state).expect("state");
    let text = String::from_utf8(whole.clone()).expect("text");
    let mut bad: Vec<Vec<u8>> = (0..whole.len()).map(|len| whole[..len].to_vec()).collect();
    bad.push(text.replace("generation 3", "generation 1").into_bytes());
    bad.push([&whole[..], b"\n"].concat());
    bad.push(vec![0xFF; 100]);
    bad.push(vec![b'x'; 3 << 20]);
    for octets in bad {
        std::fs::write(&state, &octets).expect("written");
        let error = take(dir.path(), &keys).expect_err("refused");
        assert!(matches!(error, StateError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("bring back") && error.to_string().contains("pdmv2 keygen"), "{error}");
        assert_eq!(std::fs::read(&state).expect("there"), octets, "left as it was");
    }
    std::fs::remove_file(&state).expect("removed");
    let error = take(dir.path(), &keys).expect_err("refused");
    assert!(matches!(error, StateError::Lost(_)), "{error}");
    std::fs::create_dir(&state).expect("a directory in its place");
    assert!(matches!(take(dir.path(), &keys), Err(StateError::Io { .. })));
    std::fs::remove_dir(&state).expect("removed");
    std::fs::write(&state, &whole).expect("brought back");
    assert_eq!(take(dir.path(), &keys).expect("taken"), 4);
}

#[test]
fn another_nodes_state_is_refused() {
    let (dir, keys) = (tempfile::tempdir().expect("directory"), keys());
    take(dir.path(), &keys).expect("taken");
    let a = file(dir.path(), ".state");
    let mut b = open(dir.path(), &keys, "box-b").expect("opened");
    b.take_generation().expect("taken");
    let to = b.path().to_owned();
    assert_ne!(a, to);
    drop(b);
    std::fs::copy(&a, &to).expect("copied");
    let error = open(dir.path(), &keys, "box-b").expect_err("refused").to_string();
    assert!(error.contains("belongs to another node or key file"), "{error}");
}

#[test]
fn a_new_key_file_starts_at_1_and_the_old_one_goes_on_when_it_comes_back() {
    let (dir, old, new) = (tempfile::tempdir().expect("directory"), keys(), keys());
    assert_eq!(take(dir.path(), &old).expect("taken"), 1);
    assert_eq!(take(dir.path(), &old).expect("taken"), 2);
    assert_eq!(take(dir.path(), &new).expect("taken"), 1);
    assert_eq!(take(dir.path(), &old).expect("taken"), 3);
    // Neither a new name of the node nor other prefixes make it start again: its secrets are the same.
    let text = old.to_toml().replace("box-a", "box-z").replace("2001:db8::/32", "2001:db8::/33");
    let renamed = KeyFile::parse(&text, "renamed").expect("keys");
    assert_eq!(open(dir.path(), &renamed, "box-z").expect("opened").take_generation().expect("taken"), 4);
}

#[test]
fn opened_generations_are_kept_and_only_rise() {
    let (dir, keys) = (tempfile::tempdir().expect("directory"), keys());
    let mut state = open(dir.path(), &keys, "box-a").expect("opened");
    assert_eq!(state.opened(&[2; 16]), None);
    state.record_opened(&[([2; 16], 9), ([3; 16], 1)]).expect("recorded");
    drop(state);
    // Recorded before the first generation was taken: not a loss of one.
    let mut state = open(dir.path(), &keys, "box-a").expect("opened");
    assert_eq!(state.take_generation().expect("taken"), 1);
    state.record_opened(&[([2; 16], 4)]).expect("recorded");
    assert_eq!((state.opened(&[2; 16]), state.opened(&[3; 16])), (Some(9), Some(1)));
    let before = std::fs::metadata(state.path()).expect("there");
    state.record_opened(&[([2; 16], 9), ([3; 16], 1)]).expect("recorded");
    let after = std::fs::metadata(state.path()).expect("there");
    assert_eq!(
        std::os::unix::fs::MetadataExt::ino(&before),
        std::os::unix::fs::MetadataExt::ino(&after),
        "not written"
    );
    drop(state);
    let known = known_generations(dir.path(), &keys);
    assert_eq!(known.into_iter().collect::<Vec<_>>(), [([1; 16], 1), ([2; 16], 9), ([3; 16], 1)]);
}

#[test]
fn the_last_generation_is_the_last() {
    let (dir, keys) = (tempfile::tempdir().expect("directory"), keys());
    take(dir.path(), &keys).expect("taken");
    let state = file(dir.path(), ".state");
    let text = std::fs::read_to_string(&state).expect("state");
    let body = text.split("sha256 ").next().expect("body").replace("generation 1\n", "generation 4294967294\n");
    let sum = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(body.as_bytes()));
    std::fs::write(&state, format!("{body}sha256 {sum}\n")).expect("written");
    assert_eq!(take(dir.path(), &keys).expect("taken"), u32::MAX);
    for _ in 0..2 {
        let error = take(dir.path(), &keys).expect_err("exhausted");
        assert!(matches!(error, StateError::Exhausted(_)), "{error}");
    }
}

/// Runs this test binary's `child` in `dir`, behind `before` in a shell.
fn start(dir: &Path, before: &str) -> Command {
    let mut command = Command::new("sh");
    let exe = std::env::current_exe().expect("this program");
    command
        .args(["-c", &format!("{before} exec \"$0\" --exact child --ignored --nocapture")])
        .arg(exe)
        .env("STATE_TEST_DIR", dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn printed(output: &[u8]) -> Vec<u32> {
    let text = String::from_utf8_lossy(output);
    text.lines().filter_map(|l| l.split("took ").nth(1)?.trim().parse().ok()).collect()
}

/// Not a test by itself: what the tests below start, limit and kill. Takes generations and says so, for ever.
#[test]
#[ignore = "started by other tests"]
fn child() {
    let Ok(dir) = std::env::var("STATE_TEST_DIR") else { return };
    let dir = Path::new(&dir);
    let keys = KeyFile::parse(&std::fs::read_to_string(dir.join("keys")).expect("keys"), "keys").expect("keys");
    let mut state = open(dir, &keys, "box-a").expect("opened");
    loop {
        match state.take_generation() {
            // println! may be cut in two by a kill; one write of a short line is not.
            Ok(g) => rustix::io::write(std::io::stdout(), format!("took {g}\n").as_bytes()).expect("said"),
            Err(error) => panic!("refused: {error}"),
        };
    }
}

#[test]
fn killed_processes_never_repeat_a_generation() {
    let (dir, keys) = (tempfile::tempdir().expect("directory"), keys());
    std::fs::write(dir.path().join("keys"), keys.to_toml().as_bytes()).expect("written");
    let mut seen = HashSet::new();
    let mut last = 0;
    for round in 0..8u64 {
        let mut process = start(dir.path(), "").spawn().expect("started");
        std::thread::sleep(std::time::Duration::from_millis(60 + 7 * round));
        process.kill().expect("killed");
        let output = process.wait_with_output().expect("ended");
        for g in printed(&output.stdout) {
            assert!(seen.insert(g), "{g} twice");
            assert!(g > last, "{g} after {last}");
            last = g;
        }
    }
    assert!(!seen.is_empty());
    let next = take(dir.path(), &keys).expect("taken");
    assert!(next > last && next <= last + 2, "{next} after {last}");
}

#[test]
fn a_full_disk_stops_sealing_and_no_generation_is_lost_or_repeated() {
    let (dir, keys) = (tempfile::tempdir().expect("directory"), keys());
    std::fs::write(dir.path().join("keys"), keys.to_toml().as_bytes()).expect("written");
    assert_eq!(take(dir.path(), &keys).expect("taken"), 1);
    // No file may grow beyond 0 octets; a signal would end the process, so it is ignored.
    let output = start(dir.path(), "trap '' XFSZ; ulimit -f 0;").output().expect("ran");
    assert!(!output.status.success());
    assert!(printed(&output.stdout).is_empty(), "nothing was taken");
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("cannot write") && said.contains("make room on its file system"), "{said}");
    // A box that seals already goes on under the generation it has, and its log says so in the same line.
    assert!(!said.contains("does not seal"), "{said}");
    assert_eq!(take(dir.path(), &keys).expect("taken"), 2);
}

#[test]
fn threads_that_compete_never_share_a_generation() {
    let (dir, keys) = (tempfile::tempdir().expect("directory"), keys());
    let taken = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                let mut mine = 0;
                while mine < 25 {
                    match take(dir.path(), &keys) {
                        Ok(g) => {
                            taken.lock().expect("lock").push(g);
                            mine += 1;
                        }
                        Err(StateError::Locked(_)) => std::thread::yield_now(),
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    let mut taken = taken.into_inner().expect("lock");
    taken.sort_unstable();
    assert_eq!(taken, (1..=100).collect::<Vec<_>>());
}

/// In scopes "shared" and "client" the secret does not depend on the node's id: a box that takes another's place in the
/// key file, with its state directory, must not seal under a generation that the other one has used.
#[test]
fn a_new_id_does_not_start_again_at_1_where_the_secret_is_the_same() {
    for scope in [Scope::Shared, Scope::Client] {
        let node = |name: &str, side, id, prefix: &str| common::key_file::Node {
            name: name.to_owned(),
            id: [id; 16],
            side,
            prefixes: vec![prefix.parse().expect("prefix")],
        };
        let nodes =
            vec![node("box-a", Side::Client, 1, "2001:db8:a::/48"), node("box-b", Side::Server, 2, "2001:db8:b::/48")];
        let before = KeyFile::generate(protocol::suite::Suite::default(), scope, nodes).expect("keys");
        let dir = tempfile::tempdir().expect("directory");
        let used = take(dir.path(), &before).expect("taken");
        let after = KeyFile::parse(&before.to_toml().replace(&"01".repeat(16), &"07".repeat(16)), "").expect("keys");
        let next = take(dir.path(), &after).expect("taken");
        let tuple = protocol::five_tuple::FiveTuple { src: [1; 16], sport: 2, dst: [3; 16], dport: 4, protocol: 6 };
        let key = |keys: &KeyFile, g| {
            keys.generation_keys(keys.node("box-a").expect("node"), g)
                .expect("length")
                .session(&tuple, 0)
                .expect("a key")
                .key
        };
        assert_ne!(key(&before, used), key(&after, next), "{scope:?}: generation {used}, then {next}");
    }
}

fn on(machine: &Machine, dir: &Path, keys: &KeyFile) -> Result<StateFile, StateError> {
    StateFile::open_on(machine, dir, keys, keys.node("box-a").expect("node"))
}

#[test]
fn a_copied_disk_is_refused_until_somebody_says_that_it_was_moved() {
    let (dir, keys) = (tempfile::tempdir().expect("directory"), keys());
    let original = Machine::of([Some("installed once"), Some("4c4c4544")]);
    let clone = Machine::of([Some("installed once"), Some("a virtual machine's own")]);
    let reinstalled = Machine::of([Some("installed anew"), Some("4c4c4544")]);
    assert_eq!(on(&original, dir.path(), &keys).expect("opened").take_generation().expect("taken"), 1);
    let state = file(dir.path(), ".state");
    let written = std::fs::read(&state).expect("state");
    for other in [clone, reinstalled] {
        let error = on(&other, dir.path(), &keys).expect_err("refused");
        assert!(matches!(error, StateError::Elsewhere { .. }), "{error}");
        let text = error.to_string();
        for part in [&*state.to_string_lossy(), "written on another machine", "'pdmv2 state adopt'", "pdmv2 keygen"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(std::fs::read(&state).expect("state"), written, "left as it was");
    }
    // What cannot be read (a product UUID is root's) says nothing, and is not forgotten.
    let unprivileged = Machine::of([Some("installed once"), None]);
    assert_eq!(on(&unprivileged, dir.path(), &keys).expect("opened").take_generation().expect("taken"), 2);
    assert!(on(&clone, dir.path(), &keys).is_err());
    let node = keys.node("box-a").expect("node");
    let adopted = StateFile::adopt(&clone, dir.path(), &keys, node).expect("adopted").expect("there is a state");
    assert_eq!(adopted.generation(), 2);
    drop(adopted);
    assert_eq!(on(&clone, dir.path(), &keys).expect("opened").take_generation().expect("taken"), 3);
    assert!(matches!(on(&original, dir.path(), &keys), Err(StateError::Elsewhere { .. })), "only one may go on");
    let empty = tempfile::tempdir().expect("directory");
    assert!(StateFile::adopt(&clone, empty.path(), &keys, node).expect("nothing to do").is_none());
}

#[test]
fn a_state_file_of_before_is_taken_and_gets_its_machine() {
    use sha2::{Digest, Sha256};
    let (dir, keys) = (tempfile::tempdir().expect("directory"), keys());
    let (here, elsewhere) = (Machine::of([Some("here"), None]), Machine::of([Some("elsewhere"), None]));
    on(&here, dir.path(), &keys).expect("opened").take_generation().expect("taken");
    let state = file(dir.path(), ".state");
    let text = std::fs::read_to_string(&state).expect("state");
    let lines = text.lines().filter(|l| !l.starts_with("machine ") && !l.starts_with("sha256 "));
    let body: String = lines.flat_map(|l| [l, "\n"]).collect();
    let sum = hex::encode(Sha256::digest(body.as_bytes()));
    std::fs::write(&state, format!("{body}sha256 {sum}\n")).expect("written");
    assert_eq!(on(&elsewhere, dir.path(), &keys).expect("opened").take_generation().expect("taken"), 2);
    assert!(std::fs::read_to_string(&state).expect("state").contains("\nmachine "));
    assert!(matches!(on(&here, dir.path(), &keys), Err(StateError::Elsewhere { .. })));
}

#[test]
fn a_file_or_a_process_that_was_set_back_makes_no_generation_come_twice() {
    let (dir, ahead, keys) = (tempfile::tempdir().expect("directory"), tempfile::tempdir().expect("directory"), keys());
    let mut process = open(dir.path(), &keys, "box-a").expect("opened");
    process.take_generation().expect("taken");
    let state = file(dir.path(), ".state");
    let old = std::fs::read(&state).expect("state");
    assert_eq!((process.take_generation().expect("taken"), process.take_generation().expect("taken")), (2, 3));
    // The file is brought back from a copy: this process knows better.
    std::fs::write(&state, &old).expect("set back");
    assert_eq!(process.take_generation().expect("taken"), 4);
    std::fs::write(&state, &old).expect("set back");
    process.record_opened(&[([2; 16], 7)]).expect("recorded");
    assert!(
        std::fs::read_to_string(&state).expect("state").contains("\ngeneration 4\n"),
        "neither does that set it back"
    );
    std::fs::remove_file(&state).expect("removed");
    assert_eq!(process.take_generation().expect("taken"), 5);
    std::fs::write(&state, b"damaged").expect("written");
    assert_eq!(process.take_generation().expect("taken"), 6);
    // The process is set back (a snapshot of its memory), and the disk is not.
    for _ in 0..9 {
        take(ahead.path(), &keys).expect("taken");
    }
    std::fs::copy(file(ahead.path(), ".state"), &state).expect("ahead");
    process.record_opened(&[([3; 16], 8)]).expect("recorded");
    assert!(std::fs::read_to_string(&state).expect("state").contains("\ngeneration 9\n"), "it is not set back");
    assert_eq!(process.take_generation().expect("taken"), 10);
    assert_eq!(process.opened(&[2; 16]), Some(7));
}
