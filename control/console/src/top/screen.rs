//! The terminal while it is ours: it is given back however the program ends, but by SIGKILL.

use super::app::App;
use super::draw;
use anyhow::Context;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use std::io::{Stdout, stdout};

/// The whole screen; given back when it is dropped, and before a panic is told.
pub struct Screen(Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    /// Takes the terminal.
    pub fn open() -> anyhow::Result<Self> {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            give_back();
            told(info);
        }));
        enable_raw_mode().context("the terminal cannot be set")?;
        let entered = execute!(stdout(), EnterAlternateScreen);
        let terminal = entered.and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        terminal.map(Self).inspect_err(|_| give_back()).context("the terminal cannot be set")
    }

    /// Draws it anew.
    pub fn draw(&mut self, app: &App) -> anyhow::Result<()> {
        self.0.draw(|frame| draw::page(frame, app)).context("the terminal")?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    // A terminal that is gone needs nothing.
    drop(disable_raw_mode());
    drop(execute!(stdout(), LeaveAlternateScreen, Show));
}
