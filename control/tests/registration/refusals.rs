//! Who is refused, and that both sides say why: at TLS, at registration, in the negotiation, and for not reading.

use crate::lab::{Lab, SIDES, SimBox, up, wait_for, wait_within};
use crate::strangers::{block_on, channel};
use common::identity::Kind;
use futures_util::stream;
use middlebox::keys::connection::RegistrationSettings;
use registration::wire::proto::primary_client::PrimaryClient;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tools::pki::Authority;

/// A certificate in the place of another's, signed by this authority, good for so many days from now.
fn replace(lab: &Lab, authority: &mut Authority, holder: (Kind, &str), days: u32, place: &str) {
    let hosts: &[String] = if holder.0 == Kind::Registrar { &["127.0.0.1".to_owned()] } else { &[] };
    // Whoever has one already gets another like it.
    let issued = authority.renew(holder.1, days).or_else(|_| authority.issue(holder.0, holder.1, hosts, days));
    let (issued, key) = issued.expect("issued");
    std::fs::write(lab.path(&format!("{place}.crt")), issued.pem).expect("written");
    let place = lab.path(&format!("{place}.key"));
    std::fs::write(&place, key.as_bytes()).expect("written");
    std::fs::set_permissions(&place, Permissions::from_mode(0o600)).expect("closed to others");
}

fn authority(dir: &Path) -> Authority {
    Authority::open(dir).expect("an authority")
}

#[test]
fn who_may_not_register_is_told_why() {
    let mut lab = Lab::new();
    let [good, other, expired] = [1, 3, 4].map(|number| lab.node(0, number));
    let theirs = lab.node(1, 2);
    replace(&lab, &mut authority(&lab.path("pki-west")), (Kind::Node, "box-4"), 0, "box-4");
    let mut rogue = Authority::init(&lab.path("pki-rogue"), "rogue", 10).expect("an authority");
    replace(&lab, &mut rogue, (Kind::Node, "box-1"), 10, "rogue");
    lab.start_both();
    std::thread::sleep(Duration::from_secs(2)); // the certificate expires
    let with = |change: &dyn Fn(&mut RegistrationSettings)| {
        let mut settings = good.clone();
        change(&mut settings);
        settings
    };
    let elsewhere = with(&|s| s.registrars = vec![lab.address(1)]);
    let theirs = with(&|s| {
        // The other side's box: its authority is known to this registrar, but not as one of its own boxes.
        s.tls = theirs.tls.clone();
        s.tls.own = good.tls.own.clone();
        s.name = "box-2".into();
    });
    let unsigned = with(&|s| {
        s.tls.certificate = lab.path("rogue.crt");
        s.tls.key = lab.path("rogue.key");
    });
    let not_granted = with(&|s| s.prefixes = vec!["2001:db8::/32".parse().expect("a prefix")]);
    // Which registrar, what the box says, what the registrar says.
    for (settings, side, boxed, registrar) in [
        (with(&|s| s.id = [9; 16]), 0, "registers with another id", "registers with another id"),
        (not_granted, 0, "which is not granted", "which is not granted"),
        (theirs, 0, "UnknownIssuer", "UnknownIssuer"),
        (elsewhere, 1, "UnknownIssuer", "UnknownCA"),
        (unsigned, 0, "UnknownCA", "UnknownIssuer"),
        (expired, 0, "CertificateExpired", "certificate expired"),
    ] {
        let before = lab.log(side).len();
        let b = SimBox::start(settings);
        wait_for(boxed, || b.error().contains(boxed));
        wait_for(registrar, || lab.log(side)[before..].contains(registrar));
        assert!(!b.registration.registered() && b.sealing().is_none(), "{boxed}");
    }
    // A certificate that was revoked by the authority.
    let b = SimBox::start(other);
    wait_for("registered", || b.registration.registered());
    lab.ok(&["pki", "revoke", "--dir", "pki-west", "box-3"]);
    wait_for("its connection has ended", || b.error().contains("no longer good") || b.error().contains("evoked"));
}

/// The certificate of one of two primaries is wrong: they do not talk, both say why, and do when it is right again.
#[test]
fn primaries_with_wrong_certificates() {
    let mut lab = Lab::new();
    let (a, b) = (lab.node(0, 1), lab.node(1, 2));
    let mut rogue = Authority::init(&lab.path("pki-rogue"), "rogue", 10).expect("an authority");
    let kept = SIDES.map(|name| ["crt", "key"].map(|kind| std::fs::read(lab.path(&format!("{name}.{kind}")))));
    for (side, name) in SIDES.into_iter().enumerate() {
        let mut own = authority(&lab.path(&format!("pki-{name}")));
        // Whether its own authority has signed, for how long, and what it and the other say.
        for (known, days, mine, others) in
            [(false, 10, "UnknownCA", "UnknownIssuer"), (true, 0, "CertificateExpired", "certificate expired")]
        {
            let what = format!("{name}, signed by its own authority: {known}, good for {days} days");
            replace(&lab, if known { &mut own } else { &mut rogue }, (Kind::Registrar, name), days, name);
            std::thread::sleep(Duration::from_millis(if days == 0 { 2100 } else { 0 }));
            (0..2).for_each(|side| lab.kill(side));
            let before = [0, 1].map(|side| lab.log(side).len());
            lab.start_both();
            let said = |side: usize, words: &str| lab.log(side)[before[side]..].contains(words);
            wait_for(&format!("{what}: it says '{mine}'"), || said(side, mine));
            wait_for(&format!("{what}: the other says '{others}'"), || said(1 - side, others));
            assert!(!said(0, "in touch with") && !said(1, "in touch with"), "{what}");
        }
        // That of somebody else is noticed before anybody is shown it.
        for holder in [(Kind::Registrar, "north"), (Kind::Node, "box-9")] {
            replace(&lab, &mut own, holder, 10, name);
            lab.kill(side);
            lab.start(side);
            wait_for("it ends", || lab.ended(side));
            assert!(lab.log(side).contains(&format!("'{}', but this is registrar '{name}'", holder.1)), "{holder:?}");
        }
        for (kind, octets) in ["crt", "key"].iter().zip(&kept[side]) {
            std::fs::write(lab.path(&format!("{name}.{kind}")), octets.as_ref().expect("read")).expect("written");
        }
        lab.start(side);
    }
    let (a, b) = (SimBox::start(a), SimBox::start(b));
    wait_for("all is right", || a.opens(&b) && b.opens(&a));
}

/// Two that do not fit say so on both sides, and do not give up.
#[test]
fn configurations_that_do_not_fit() {
    let mut lab = Lab::new();
    for (side, name) in ["one.psk", "two.psk"].into_iter().enumerate() {
        lab.ok(&["pki", "secret", "--out", name]);
        lab.peer_lines[side] = format!("psk_id = \"lab\"\npsk = \"{name}\"");
    }
    lab.start_both();
    let (a, b) = (lab.node(0, 1), lab.node(1, 2));
    lab.kill(0);
    lab.kill(1);
    lab.start_both();
    let (a, b) = (SimBox::start(a), SimBox::start(b));
    wait_for("both say that the keys differ", || {
        lab.log(0).contains("the other primary refuses: it computed another secret")
            && lab.log(1).contains("has not computed the same secret: the pre-shared keys or static keys differ")
    });
    assert!(a.sealing().is_none() && b.sealing().is_none());
    lab.peer_lines[1] = "suites = [\"x25519, hkdf-sha256, aes-256-gcm\"]".into();
    lab.kill(1);
    lab.start(1);
    wait_for("one has no pre-shared key", || {
        lab.log(0).contains("it has no pre-shared key of this name")
            && lab.log(1).contains("this side has none, the other names 'lab'")
    });
    lab.peer_lines[0] = String::new();
    lab.kill(0);
    lab.start(0);
    wait_for("no common suite", || {
        lab.log(0).contains("it allows none of the suites offered")
            && lab.log(1).contains("none of the suites offered is allowed here")
    });
    lab.peer_lines[1] = String::new();
    lab.kill(1);
    lab.start(1);
    wait_for("then it works", || a.opens(&b) && b.opens(&a));
}

/// A primary's process stands still: what is in use stays in use, the other says that it is gone; it goes on, and all does.
#[test]
fn a_primary_that_stands_still() {
    for side in [0, 1] {
        let (lab, a, b) = up();
        let held = (a.sealing(), b.sealing());
        let signal = |signal| {
            let pid = Pid::from_raw(lab.pid(side).cast_signed()).expect("a process");
            kill_process(pid, signal).expect("a signal");
        };
        signal(Signal::STOP);
        // A sign of life is asked for after 5 s, and waited for as long.
        let lost = || lab.log(1 - side).contains("no longer in touch with the other primary");
        wait_within(Duration::from_secs(20), "the other has noticed", lost);
        assert_eq!((a.sealing(), b.sealing()), held);
        assert!(a.opens(&b) && b.opens(&a));
        signal(Signal::CONT);
        wait_for("it has noticed too", || lab.log(side).contains("no longer in touch with the other primary"));
        let all = || a.registration.registered() && b.registration.registered();
        wait_for("they are in touch again", || lab.status(0)["peers"][0]["connected"] == true && all());
        lab.ok(&["registrar", "rotate", "--config", "west.toml"]);
        wait_for("and make a new generation", || {
            a.sealing() != held.0 && b.sealing() != held.1 && a.opens(&b) && b.opens(&a)
        });
    }
}

/// A primary whose process runs, but which reads nothing of what it is told: it is cut off before that takes memory, and
/// told why; the others go on meanwhile.
#[test]
fn a_primary_that_does_not_read() {
    let mut lab = Lab::new();
    let b = lab.node(1, 2);
    // So that there is much to tell.
    (1000..3000).for_each(|number| lab.grant(1, number));
    lab.start(1);
    wait_for("it listens", || lab.log(1).contains(" ready "));
    let b = SimBox::start(b);
    block_on(async {
        let mut west = PrimaryClient::new(channel(&lab, "west", 1).await);
        let mut answers = west.coordinate(stream::pending()).await.expect("a stream").into_inner();
        let cut = || lab.log(1).contains("the other primary does not read; the connection is ended");
        // Enough to fill what sockets and queues hold; then it is only waited for.
        for told in 1..400 {
            if cut() {
                break;
            }
            let undo: &[&str] = if told % 2 == 0 { &["--undo"] } else { &[] };
            lab.ok(&[&["registrar", "revoke", "box-1000", "--config", "east.toml"], undo].concat());
        }
        wait_for("it is cut off", cut);
        assert!(b.registration.registered(), "{}", b.error());
        let why = loop {
            match answers.message().await {
                Ok(Some(_)) => {}
                ended => break ended.expect_err("an end with a reason"),
            }
        };
        assert!(why.message().contains("was not read from"), "{why}");
    });
    lab.start(0);
    let a = lab.node(0, 1);
    lab.kill(0);
    lab.start(0);
    let a = SimBox::start(a);
    wait_for("one that reads is served", || a.opens(&b) && b.opens(&a));
}
