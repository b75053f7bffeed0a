//! The loop that takes the connections of a listener: each comer gets a place (`places`), or is turned away; the slow are
//! looked for now and then; and a listener without a descriptor for a connection is tried again.

use super::places::{Comer, Door, Lost, Place};
use super::sparing::Sparing;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

/// What connections come to.
pub trait Listener {
    /// A connection.
    type Stream;
    /// Where it comes from.
    type From;

    /// The next connection.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::From)>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;
    type From = std::net::SocketAddr;

    async fn accept(&self) -> io::Result<(Self::Stream, Self::From)> {
        Self::accept(self).await
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;
    type From = tokio::net::unix::SocketAddr;

    async fn accept(&self) -> io::Result<(Self::Stream, Self::From)> {
        Self::accept(self).await
    }
}

/// What a server does with those who come to its listener. None of it waits: whatever takes time is a task of its own.
pub trait Reception<L: Listener> {
    /// Where the places are.
    fn door(&self) -> &Door;

    /// Who has come, and how many places such a one may have.
    fn comer(&self, from: &L::From) -> Comer;

    /// It has a place, until that is dropped or lost.
    fn admit(&self, stream: L::Stream, from: L::From, place: Place, lost: oneshot::Receiver<Lost>);

    /// There is no place for it.
    fn turn_away(&self, stream: L::Stream, from: L::From);

    /// Ends those that are too slow.
    fn sweep(&self) {
        self.door().sweep();
    }
}

/// Takes connections.
#[derive(Debug)]
pub struct Accepting {
    what: &'static str,
    sweep: Duration,
    /// Errors are said at this rate.
    sparing: Sparing,
    /// After the next error.
    pause: Duration,
}

impl Accepting {
    const LEAST_PAUSE: Duration = Duration::from_millis(10);
    const LONGEST_PAUSE: Duration = Duration::from_secs(1);

    /// From a listener that the log is to name like this; the slow are looked for so often.
    #[must_use]
    pub fn new(what: &'static str, sweep: Duration) -> Self {
        Self { what, sweep, sparing: Sparing::new(1, Duration::from_secs(10)), pause: Self::LEAST_PAUSE }
    }

    /// Takes them, as long as it is polled.
    pub async fn run<L: Listener>(mut self, listener: L, reception: impl Reception<L>) -> Infallible {
        let mut sweep = tokio::time::interval(self.sweep);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = sweep.tick() => {
                    reception.sweep();
                    continue;
                }
            };
            let Some((stream, from)) = self.taken(accepted).await else { continue };
            match reception.door().enter(reception.comer(&from)) {
                Some((place, lost)) => reception.admit(stream, from, place, lost),
                None => reception.turn_away(stream, from),
            }
            // Whoever has lost a place closes its connection before there is another: no more are open than there are
            // places.
            tokio::task::yield_now().await;
        }
    }

    /// The connection, if there is one. Without (others use up all descriptors) there is a pause, ever longer, and a line in
    /// the log now and then.
    async fn taken<T>(&mut self, accepted: io::Result<T>) -> Option<T> {
        match accepted {
            Ok(connection) => {
                self.pause = Self::LEAST_PAUSE;
                Some(connection)
            }
            Err(error) => {
                if let Some(unsaid) = self.sparing.may(Instant::now()) {
                    tracing::warn!(on = self.what, %error, unsaid, "a connection could not be accepted");
                }
                let pause = self.pause;
                self.pause = (pause * 2).min(Self::LONGEST_PAUSE);
                tokio::time::sleep(pause).await;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serving::places::{Rules, Source, Stage};
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use tokio::sync::mpsc;

    /// Gives what is in it, one after another, and then nothing any more.
    struct Queue(Mutex<VecDeque<io::Result<u32>>>);

    impl Listener for Queue {
        type Stream = u32;
        type From = ();

        async fn accept(&self) -> io::Result<(u32, ())> {
            let next = self.0.lock().expect("the queue").pop_front();
            match next {
                Some(next) => next.map(|number| (number, ())),
                None => std::future::pending().await,
            }
        }
    }

    /// Says what becomes of each; keeps the places.
    struct Book(Door, mpsc::UnboundedSender<String>, Mutex<Vec<Place>>);

    impl Reception<Queue> for Book {
        fn door(&self) -> &Door {
            &self.0
        }

        fn comer(&self, (): &()) -> Comer {
            Comer { source: Source::Local, known: true, most: 2 }
        }

        fn admit(&self, stream: u32, (): (), place: Place, _lost: oneshot::Receiver<Lost>) {
            self.2.lock().expect("the places").push(place);
            self.1.send(format!("{stream} admitted")).expect("the test reads");
        }

        fn turn_away(&self, stream: u32, (): ()) {
            self.1.send(format!("{stream} turned away")).expect("the test reads");
        }
    }

    #[tokio::test]
    async fn an_error_keeps_nobody_out_and_whoever_finds_no_place_is_turned_away() {
        const STAGES: &[Stage] = &[Stage { safe: None, patience: None, crowded: None }];
        let error = || Err(io::Error::other("no descriptor"));
        let queue = Queue(Mutex::new([error(), Ok(1), error(), error(), Ok(2), Ok(3)].into()));
        let (said, mut hears) = mpsc::unbounded_channel();
        let book = Book(Door::new(Rules { all: 2, reserved: 0, stages: STAGES }), said, Mutex::default());
        let accepting = Accepting::new("a test", Duration::from_secs(60)).run(queue, book);
        let three = async {
            let mut heard = Vec::new();
            while heard.len() < 3 {
                heard.push(hears.recv().await.expect("it goes on"));
            }
            heard
        };
        let heard = tokio::select! {
            never = accepting => match never {},
            heard = three => heard,
        };
        assert_eq!(heard, ["1 admitted", "2 admitted", "3 turned away"]);
    }
}
