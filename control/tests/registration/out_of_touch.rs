//! A box whose way to its registrar is cut, while it and all the others live on.

use crate::lab::{Lab, SimBox, audit, wait_for};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A way that can be cut: what goes to its port is passed on to a registrar.
struct Way {
    port: u16,
    /// `None`: cut.
    open: Arc<Mutex<Option<Vec<TcpStream>>>>,
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        let mut octets = [0; 4096];
        while let Ok(n) = from.read(&mut octets)
            && n > 0
            && to.write_all(&octets[..n]).is_ok()
        {}
        let _ = to.shutdown(Shutdown::Both); // it may be gone already
    });
}

impl Way {
    fn to(registrar: (String, u16)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let open = Arc::new(Mutex::new(Some(Vec::new())));
        let ways = Arc::clone(&open);
        std::thread::spawn(move || {
            for from in listener.incoming().flatten() {
                let Ok(to) = TcpStream::connect((registrar.0.as_str(), registrar.1)) else { continue };
                if let Some(ways) = &mut *ways.lock().expect("ways") {
                    ways.push(from.try_clone().expect("a stream"));
                    ways.push(to.try_clone().expect("a stream"));
                    pass(from.try_clone().expect("a stream"), to.try_clone().expect("a stream"));
                    pass(to, from);
                }
            }
        });
        Self { port, open }
    }

    fn cut(&self) {
        for stream in self.open.lock().expect("ways").take().into_iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both); // one end may be gone already
        }
    }

    fn mend(&self) {
        *self.open.lock().expect("ways") = Some(Vec::new());
    }
}

#[test]
fn the_others_open_what_a_box_out_of_touch_seals() {
    let mut lab = Lab::new();
    lab.times = "coalesce = \"100ms\"\nack_timeout = \"1s\"\ngrace = \"1s\"\n".into();
    let (mut a, b, c) = (lab.node(0, 1), lab.node(1, 2), lab.node(0, 3));
    lab.start_both();
    let way = Way::to(lab.address(0));
    a.registrars = vec![("127.0.0.1".into(), way.port)];
    let (a, b, c) = (SimBox::start(a), SimBox::start(b), SimBox::start(c));
    let all_open = || b.opens(&a) && b.opens(&c) && a.opens(&b) && c.opens(&b);
    wait_for("all seal under one generation", || all_open() && a.generation() == b.generation());
    let held = a.sealing().expect("it seals");
    let promised = || {
        let held = a.held.lock().expect("held");
        held.current.as_ref()?.keys.sealing.as_ref()?.opened_for
    };
    wait_for("the other side's word for how long it opens", || promised().is_some());
    way.cut();
    wait_for("it is gone", || !a.registration.registered());
    for round in 0..4 {
        let before = b.generation();
        lab.ok(&["registrar", "rotate", "--config", ["west.toml", "east.toml"][round % 2]]);
        wait_for("the others roll over", || b.generation() > before && c.generation() == b.generation());
        // Beyond the grace time: the neighbour's old secret is no longer there.
        let old = c.held.lock().expect("held").sealed.first().cloned().expect("it sealed");
        if round > 0 {
            wait_for("the neighbour's old secret is dropped", || !b.held.lock().expect("held").opens(&c.name, &old));
        }
        assert_eq!(a.sealing().as_ref(), Some(&held), "it goes on with what it has");
        assert!(b.opens(&a), "round {round}: the others do not open what it seals");
        // Also by a registrar that was started anew.
        if round == 1 {
            for side in 0..2 {
                lab.kill(side);
                lab.start(side);
            }
            wait_for("all is as before", || b.registration.registered() && c.registration.registered());
            wait_for("in touch with each other", || lab.status(0)["peers"][0]["connected"] == true);
        }
    }
    way.mend();
    wait_for("it is in touch again, and all is as it was", || {
        all_open() && a.generation() == b.generation() && a.generation() > Some(held.0)
    });
    wait_for("its old secret is dropped", || !b.held.lock().expect("held").opens(&a.name, &held));
    audit([&a, &b, &c].map(|x| x.held.lock().expect("held")).iter().map(|held| &**held));
}
