use super::*;
use crate::take_over::sockets::Inherited;
use crate::take_over::talk::SharedSocket;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

type Notes = Arc<Mutex<Vec<String>>>;

struct Noting {
    notes: Notes,
    /// What fails, and how often.
    fails: Mutex<Vec<&'static str>>,
}

impl Noting {
    fn note(&self, what: &'static str) -> anyhow::Result<()> {
        self.notes.lock().expect("notes").push(what.to_owned());
        let mut fails = self.fails.lock().expect("a list");
        match fails.iter().position(|fail| *fail == what) {
            Some(at) => {
                fails.remove(at);
                anyhow::bail!("{what} does not work")
            }
            None => Ok(()),
        }
    }
}

impl Hands for Noting {
    fn facts(&self) -> Facts {
        let (version, iova) = ("1".to_owned(), "va".to_owned());
        Facts { version, process: 1, outside_mtu: 1500, seals: true, iova, steps_aside: true, sockets: Vec::new() }
    }

    fn let_keys_go(&self) -> anyhow::Result<()> {
        self.note("keys go")
    }

    fn take_keys_back(&self) {
        let _ = self.note("keys back");
    }

    fn give_ports_up(&self) -> anyhow::Result<()> {
        self.note("ports go")
    }

    fn leave_ports_alone(&self) -> anyhow::Result<()> {
        self.note("ports alone")
    }

    fn take_ports_up(&self) -> anyhow::Result<()> {
        self.note("ports back")
    }

    fn failed(&self, why: &str) {
        self.notes.lock().expect("notes").push(format!("failed: {why}"));
    }

    fn leave(&self, process: u32, gap_ns: u64, keeps_socket: bool) {
        self.notes.lock().expect("notes").push(format!("leaves to {process} {gap_ns} {keeps_socket}"));
    }
}

/// The other process: it lives until it is ended.
struct Ending(Notes, Arc<AtomicBool>);

impl Ends for Ending {
    fn process(&self) -> u32 {
        77
    }

    fn has_ended(&self) -> bool {
        self.1.load(Ordering::SeqCst)
    }

    fn end(&self, by_itself: Duration) -> bool {
        let how = if by_itself.is_zero() { "killed" } else { "waited for" };
        self.0.lock().expect("notes").push(how.to_owned());
        true
    }
}

/// An old process's thread that speaks with the test, which plays the new one.
struct Lab {
    talk: Option<Talk>,
    thread: JoinHandle<Holds>,
    notes: Notes,
    /// Whether the other process has ended.
    ended: Arc<AtomicBool>,
    _dir: tempfile::TempDir,
}

impl Lab {
    fn new(fails: &[&'static str], limit: Duration) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(dir.path().join("s")).expect("a socket");
        listener.set_nonblocking(true).expect("a socket");
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let notes = Notes::default();
        let hands = Noting { notes: Arc::clone(&notes), fails: Mutex::new(fails.to_vec()) };
        let (admin, _) = UnixStream::pair().expect("a pair");
        let own = Own::default();
        own.put(SharedSocket::Admin("/run/x.sock".into()), OwnedFd::from(admin));
        let limits = Limits { prepare: limit, give: limit, done: limit, end: Duration::from_secs(1) };
        let at = At { listener, own, hands, limits, stop: Arc::default() };
        let ended = Arc::<AtomicBool>::default();
        let ending = Ending(Arc::clone(&notes), Arc::clone(&ended));
        let thread = std::thread::spawn(move || Conversation::new(&at, Talk::new(theirs), ending).hold());
        Self { talk: Some(Talk::new(ours)), thread, notes, ended, _dir: dir }
    }

    fn say(&mut self, what: &FromNew) -> Result<FromOld, Lost> {
        let talk = self.talk.as_mut().expect("a connection");
        talk.say(what, &[]).and_then(|()| talk.hear(Duration::from_secs(20), &mut || true))
    }

    /// Says so many of the words that lead to the take-over.
    fn steps(&mut self, n: usize) {
        let hello = FromNew::Hello { version: "2".into() };
        for (step, what) in [hello, FromNew::Prepare, FromNew::Give].iter().take(n).enumerate() {
            let answer = self.say(what).expect("an answer");
            let right = match answer {
                FromOld::Here(_) => step == 0,
                FromOld::Prepared => step == 1,
                FromOld::Given { since_ns } => step == 2 && since_ns <= now_ns(),
                _ => false,
            };
            assert!(right, "{step}: {answer:?}");
        }
    }

    /// What it held at the end, and what it had done.
    fn end(self) -> (Holds, Vec<String>) {
        drop(self.talk);
        let holds = self.thread.join().expect("no panic");
        let notes = self.notes.lock().expect("notes").clone();
        (holds, notes)
    }
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn step_by_step_all_goes_to_the_other() {
    let mut lab = Lab::new(&[], LONG);
    lab.steps(3);
    let sockets = std::mem::take(&mut lab.talk.as_mut().expect("a connection").sockets);
    let mut inherited = Inherited::new(&[SharedSocket::Admin("/run/x.sock".into())], sockets);
    assert!(inherited.admin(std::path::Path::new("/run/y.sock")).is_none());
    assert!(inherited.admin(std::path::Path::new("/run/x.sock")).is_some(), "it came beside the first answer");
    assert_eq!(lab.say(&FromNew::Done { gap_ns: 5, keeps_socket: true }), Ok(FromOld::Gone));
    assert_eq!(lab.end(), (Holds::Left, ["keys go", "ports go", "leaves to 77 5 true"].map(String::from).into()));
}

#[test]
fn ports_are_left_alone_for_one_that_holds_its_own_and_are_taken_up_when_it_is_gone() {
    let mut lab = Lab::new(&[], LONG);
    lab.steps(2);
    assert!(matches!(lab.say(&FromNew::StepAside), Ok(FromOld::Given { .. })));
    assert_eq!(lab.say(&FromNew::Done { gap_ns: 5, keeps_socket: true }), Ok(FromOld::Gone));
    assert_eq!(lab.end(), (Holds::Left, ["keys go", "ports alone", "leaves to 77 5 true"].map(String::from).into()));
    let mut lab = Lab::new(&[], LONG);
    lab.steps(2);
    assert!(matches!(lab.say(&FromNew::StepAside), Ok(FromOld::Given { .. })));
    let gone = "failed: it has ended, or closed the connection";
    let expected = ["keys go", "ports alone", gone, "killed", "ports back", "keys back"];
    assert_eq!(lab.end(), (Holds::Everything, expected.map(String::from).into()));
}

#[test]
fn whatever_the_other_has_got_comes_back_when_it_is_gone_and_not_before() {
    let gone = "failed: it has ended, or closed the connection";
    for (steps, expected) in [
        (1, vec![gone]),
        (2, vec!["keys go", gone, "killed", "keys back"]),
        (3, vec!["keys go", "ports go", gone, "killed", "ports back", "keys back"]),
    ] {
        let mut lab = Lab::new(&[], LONG);
        lab.steps(steps);
        assert_eq!(lab.end(), (Holds::Everything, expected.iter().map(ToString::to_string).collect()), "{steps}");
    }
    // Who has only looked whether somebody is there has not failed.
    assert_eq!(Lab::new(&[], LONG).end(), (Holds::Everything, Vec::new()));
}

#[test]
fn one_that_says_that_it_fails_may_end_by_itself() {
    let mut lab = Lab::new(&[], LONG);
    lab.steps(3);
    let said = lab.say(&FromNew::Failed { why: "no device".into() });
    assert_eq!(said, Err(Lost::Closed));
    let expected = ["keys go", "ports go", "failed: no device", "waited for", "ports back", "keys back"];
    assert_eq!(lab.end(), (Holds::Everything, expected.map(String::from).into()));
}

#[test]
fn the_last_word_of_one_that_is_no_more_is_not_believed() {
    let mut lab = Lab::new(&[], LONG);
    lab.steps(3);
    lab.ended.store(true, Ordering::SeqCst);
    assert_eq!(lab.say(&FromNew::Done { gap_ns: 5, keeps_socket: true }), Err(Lost::Closed));
    let (holds, notes) = lab.end();
    let expected = ["failed: it has forwarded, and has ended at once", "killed", "ports back", "keys back"];
    assert_eq!((holds, &notes[2..]), (Holds::Everything, &expected.map(String::from)[..]));
}

#[test]
fn silence_and_nonsense_are_ended() {
    let mut lab = Lab::new(&[], Duration::from_secs(2));
    lab.steps(3);
    let silent = lab.talk.as_mut().expect("a connection").hear::<FromOld>(LONG, &mut || true);
    assert_eq!(silent, Err(Lost::Closed));
    let (holds, notes) = lab.end();
    assert_eq!((holds, notes[3].as_str()), (Holds::Everything, "killed"), "{notes:?}");
    assert!(notes[2].contains("said nothing for 2 s"), "{notes:?}");

    let mut lab = Lab::new(&[], LONG);
    lab.steps(2);
    lab.talk.as_ref().expect("a connection").say(&"what?", &[]).expect("said");
    let nothing = lab.talk.as_mut().expect("a connection").hear::<FromOld>(LONG, &mut || true);
    assert_eq!(nothing, Err(Lost::Closed));
    let (_, notes) = lab.end();
    assert!(notes[1].contains("does not know") && notes[2..] == ["killed", "keys back"], "{notes:?}");

    // What is not its turn.
    let mut lab = Lab::new(&[], LONG);
    lab.steps(1);
    assert_eq!(lab.say(&FromNew::Give), Err(Lost::Closed));
    assert_eq!(lab.end(), (Holds::Everything, vec!["failed: it has asked for what is not its turn".to_owned()]));
}

#[test]
fn what_this_process_cannot_do_is_refused_and_undone() {
    let mut lab = Lab::new(&["ports go", "ports back"], LONG);
    lab.steps(2);
    let said = lab.say(&FromNew::Give).expect("an answer");
    assert_eq!(said, FromOld::Refused { why: "ports go does not work".into() });
    let (holds, notes) = lab.end();
    let expected = ["waited for", "ports back", "ports back", "keys back"];
    assert_eq!((holds, &notes[3..]), (Holds::Everything, &expected.map(String::from)[..]), "tried until it works");
    let mut lab = Lab::new(&["keys go"], LONG);
    lab.steps(1);
    assert_eq!(lab.say(&FromNew::Prepare), Ok(FromOld::Refused { why: "keys go does not work".into() }));
    assert_eq!(lab.end().1[2..], ["waited for", "keys back"].map(String::from));
}
