//! Two registrars as processes, and boxes, on loopback: what must hold when all goes well, and when it does not.

mod between;
mod certificates;
mod crowds;
mod etcd_leads;
mod etcd_wrong;
mod full_disk;
mod lab;
mod light;
mod many;
mod out_of_touch;
mod refusals;
mod scope_client;
mod strangers;
mod told;

use lab::{Lab, SimBox, audit, shown, up, wait_for};
use std::time::Duration;

/// Draft appendix B.2, each step by its message, and the boxes' keys behind them.
#[test]
fn the_six_steps() {
    let mut lab = Lab::new();
    let (a, b) = (lab.node(0, 1), lab.node(1, 2));
    // Only the client primary, then only a box: nothing to seal with.
    lab.start(0);
    let a = SimBox::start(a);
    wait_for("the box has registered", || a.registration.registered());
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(a.generation(), None);
    lab.start(1);
    wait_for("it seals", || a.generation() == Some(1));
    let (west, east) = (lab.log(0), lab.log(1));
    let order = |log: &str, lines: &[&str]| {
        let at: Vec<_> = lines.iter().map(|l| log.find(l).unwrap_or_else(|| panic!("{l}\n{log}"))).collect();
        assert!(at.is_sorted(), "{lines:?}: {at:?}\n{log}");
    };
    order(&west, &["registered", "negotiating a new generation", "generation agreed", "generation active"]);
    order(&east, &["setup: suite chosen, key made", "generation agreed", "kem: the client has the same secret"]);
    // The server's side: its box gets a generation that nobody sealed under before it came.
    let b = SimBox::start(b);
    wait_for("both seal, and open each other", || a.opens(&b) && b.opens(&a));
    assert_ne!(a.sealing().map(|s| s.1), b.sealing().map(|s| s.1), "each under its own secret");
    // No box has what only another needs: a's set has neither its own opening secret nor more than one box.
    assert!(!a.opens(&a));
    let secrets: Vec<_> =
        [&a, &b].iter().flat_map(|x| x.held.lock().expect("held").sealed.clone()).map(|s| s.1).collect();
    let texts = [lab.log(0), lab.log(1), lab.status(0).to_string(), lab.status(1).to_string()];
    assert_eq!(shown(&texts, &secrets), None);
}

#[test]
fn the_operator_asks_and_is_answered() {
    let (lab, a, b) = up();
    let before = a.generation();
    let peers = &lab.status(0)["peers"][0];
    assert_eq!(
        (peers["peer"].as_str(), peers["role"].as_str(), peers["connected"].as_bool()),
        (Some("east"), Some("client"), Some(true))
    );
    // From the server's side too.
    for side in ["west", "east"] {
        let generation = a.generation();
        assert!(lab.ok(&["registrar", "rotate", "--config", &format!("{side}.toml")]).contains("Done"));
        wait_for("both have moved on", || a.generation() > generation && a.generation() == b.generation());
        assert!(a.opens(&b) && b.opens(&a));
    }
    assert!(a.generation() > before);
    assert!(
        lab.ok(&["registrar", "status", "--config", "west.toml"])
            .contains("peer east: in touch; this is the client primary")
    );
    assert!(lab.ok(&["registrar", "nodes", "--config", "east.toml"]).contains("connected"));
    let output = lab.pdmv2(&["registrar", "rotate", "--peer", "north", "--config", "west.toml"]);
    assert!(output.stderr.contains("no peer 'north'; there is: east"));
    let output = lab.pdmv2(&["registrar", "revoke", "box-9", "--config", "west.toml"]);
    assert!(output.stderr.contains("no node 'box-9'"));
    audit([&*a.held.lock().expect("held"), &*b.held.lock().expect("held")]);
}

#[test]
fn a_revoked_box_is_out_and_stays_out() {
    let (mut lab, a, b) = up();
    lab.ok(&["registrar", "revoke", "box-1", "--config", "west.toml"]);
    wait_for("its peer has dropped it", || !b.opens(&a));
    wait_for("it is told", || a.error().contains("revoked"));
    lab.kill(0);
    lab.start(0);
    wait_for("it is told again", || a.error().contains("was revoked; 'pdmv2 registrar revoke --undo'"));
    lab.ok(&["registrar", "revoke", "--undo", "box-1", "--config", "west.toml"]);
    wait_for("it is back", || a.opens(&b) && b.opens(&a));
}

/// kill -9 of either registrar, or both, whatever they are doing: all seals again by itself, under fresh secrets where a
/// process is fresh, and a box that only lost its registrar goes on with what it had.
#[test]
fn registrars_are_killed() {
    let (mut lab, a, b) = up();
    for (round, sides) in [vec![0], vec![1], vec![0, 1], vec![1, 0]].into_iter().enumerate() {
        let held = a.sealing();
        // In the middle of a roll-over, at another moment each time.
        lab.ok(&["registrar", "rotate", "--config", "east.toml"]);
        std::thread::sleep(Duration::from_millis(40 * round as u64 + 80));
        sides.iter().for_each(|&side| lab.kill(side));
        assert!(a.sealing().is_some() && b.sealing().is_some(), "keys at hand stay in use");
        std::thread::sleep(Duration::from_millis(300));
        sides.iter().for_each(|&side| lab.start(side));
        wait_for("all seal and open each other", || {
            a.registration.registered() && b.registration.registered() && a.opens(&b) && b.opens(&a)
        });
        lab.ok(&["registrar", "rotate", "--config", "west.toml"]);
        wait_for("a new generation", || {
            a.sealing() != held && a.generation() == b.generation() && a.opens(&b) && b.opens(&a)
        });
    }
    audit([&*a.held.lock().expect("held"), &*b.held.lock().expect("held")]);
}

/// kill -9 at every step of a negotiation and of a roll-over: after the restart all goes on by itself.
fn killed_at(side: usize, steps: &[&'static str]) {
    let (mut lab, a, b) = up();
    let both = || a.opens(&b) && b.opens(&a);
    let back = || a.registration.registered() && b.registration.registered();
    for &step in steps {
        let before = (a.sealing(), b.sealing());
        lab.kill(side);
        lab.fault = Some(step);
        lab.start(side);
        // It may come by that place before it is asked: a wish of before has been kept by the other side.
        wait_for(step, || lab.ended(side) || back());
        // Whatever happens, what is sealed can be opened.
        assert!(both(), "{step}");
        wait_for(step, || {
            lab.pdmv2(&["registrar", "rotate", "--config", &format!("{}.toml", lab::SIDES[side])]);
            lab.ended(side)
        });
        assert!(both(), "{step}");
        lab.fault = None;
        lab.start(side);
        // The rotation that was under way may have been lost with the process; the next is not.
        wait_for("both are back", back);
        lab.pdmv2(&["registrar", "rotate", "--config", "west.toml"]);
        wait_for("a new generation on both sides", || {
            let now = (a.sealing(), b.sealing());
            now.0 != before.0 && now.1 != before.1 && both() && a.generation() == b.generation()
        });
    }
    audit([&*a.held.lock().expect("held"), &*b.held.lock().expect("held")]);
}

#[test]
fn the_client_primary_is_killed_at_every_step() {
    let steps = ["setup-sent", "encapsulated", "kem-answered"];
    killed_at(0, &[&steps[..], &["write-generation", "wrote-generation", "write-sealed", "wrote-sealed"]].concat());
}

#[test]
fn the_server_primary_is_killed_at_every_step() {
    let steps = ["setup-answered", "kem-computed", "kem-kept"];
    killed_at(1, &[&steps[..], &["write-generation", "wrote-generation", "write-sealed", "wrote-sealed"]].concat());
}

#[test]
fn a_box_that_restarts_gets_fresh_secrets() {
    let (lab, a, b) = up();
    let mut processes = Vec::new();
    let mut a = a;
    for _ in 0..3 {
        let held = std::mem::take(&mut *a.held.lock().expect("held"));
        drop(a);
        processes.push(held);
        a = SimBox::start(lab.settings(0, 1));
        wait_for("it seals again", || a.opens(&b) && b.opens(&a));
    }
    let (a, b) = (a.held.lock().expect("held"), b.held.lock().expect("held"));
    audit(processes.iter().chain([&*a, &*b]));
}

#[test]
fn post_quantum_and_p256() {
    for suite in ["x-wing, hkdf-sha512, aes-256-gcm", "p-256, hkdf-sha384, chacha20poly1305"] {
        let mut lab = Lab::new();
        lab.ok(&["pki", "secret", "--out", "lab.psk"]);
        lab.peer_lines = [0, 1].map(|_| format!("psk_id = \"lab\"\npsk = \"lab.psk\"\nsuites = [\"{suite}\"]"));
        let (a, b) = (lab.node(0, 1), lab.node(1, 2));
        lab.start_both();
        let (a, b) = (SimBox::start(a), SimBox::start(b));
        wait_for("both seal", || a.opens(&b) && b.opens(&a));
        wait_for(suite, || lab.status(0)["peers"][0]["generations"][0]["suite"].as_str() == Some(suite));
    }
}
