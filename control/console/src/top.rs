//! `pdmv2 top`: a box's flows, live.
//!
//! A thread asks the box; the first one draws, and is never held up by an answer that is late. What is drawn is made of
//! [`app::App`] alone.

pub mod app;
mod draw;
mod history;
mod screen;

use crate::client::{Client, Which};
use crate::flows::{By, Wanted};
use anyhow::{Context, ensure};
use app::{Answer, App, Question};
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use screen::Screen;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Keys and signals are looked for so often.
const STEP: Duration = Duration::from_millis(100);

/// The command.
#[derive(Debug, clap::Args)]
pub struct TopArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    wanted: Wanted,
    /// What comes first; keys change it
    #[arg(long, value_enum, default_value = "received")]
    sort: By,
    /// Seconds from one answer to the next
    #[arg(long, default_value_t = 1, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=60))]
    interval: u64,
}

/// Shows the flows until it is told to stop.
///
/// # Errors
/// The box cannot be asked when it begins, or there is no terminal.
pub fn run(args: &TopArgs) -> anyhow::Result<()> {
    ensure!(
        std::io::stdout().is_terminal() && std::io::stdin().is_terminal(),
        "top needs a terminal; elsewhere 'pdmv2 flows --watch' tells the same"
    );
    let client = Client::new(&args.which)?;
    let question = Question { wanted: args.wanted.clone(), by: args.sort, ascending: false };
    // What is wrong from the beginning is told where it stays to be read.
    let first = ask(&client, &question)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("cannot wait for signals")?;
    }
    let mut app = App::new(question);
    app.heard(Ok(first));
    let (answers, wake, asked) = ask_again(client, Duration::from_secs(args.interval), &app);
    let mut screen = Screen::open()?;
    while !stop.load(Relaxed) {
        screen.draw(&app)?;
        let asked_before = app.question.clone();
        if event::poll(STEP).context("the terminal")?
            && let Event::Key(key) = event::read().context("the terminal")?
            && key.kind == KeyEventKind::Press
            && app.pressed(key)
        {
            break;
        }
        if app.question != asked_before {
            *asked.lock().unwrap_or_else(PoisonError::into_inner) = app.question.clone();
            let _ = wake.send(()); // the thread has ended
        }
        loop {
            match answers.try_recv() {
                Ok(answer) => app.heard(answer),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => anyhow::bail!("the thread that asks the box has ended: report it"),
            }
        }
    }
    Ok(())
}

fn ask(client: &Client, question: &Question) -> anyhow::Result<Answer> {
    let status = client.ask("/v1/status")?;
    let flows = client.ask(&question.path())?;
    Ok(Answer { status, flows, question: question.clone(), at: Instant::now() })
}

/// What the thread is asked with: its answers, what wakes it early, and what it is to ask.
type Asking = (Receiver<Result<Answer, String>>, Sender<()>, Arc<Mutex<Question>>);

fn ask_again(client: Client, interval: Duration, app: &App) -> Asking {
    let (answers, hears) = channel();
    let (wake, woken) = channel();
    let question = Arc::new(Mutex::new(app.question.clone()));
    let asked = Arc::clone(&question);
    // It ends when nobody hears it any more; the program does not wait for it.
    std::thread::spawn(move || {
        loop {
            match woken.recv_timeout(interval) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let question = asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let answer = ask(&client, &question).map_err(|error| format!("{error:#}"));
            if answers.send(answer).is_err() {
                return;
            }
        }
    });
    (hears, wake, question)
}

#[cfg(test)]
mod tests;
