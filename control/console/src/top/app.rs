//! What `top` shows, and what keys do to it.

use super::history::History;
use crate::flows::{By, Rates, Wanted};
use common::admin::{Flow, Flows, Status};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::collections::HashMap;
use std::time::Instant;

/// Flows that are asked for.
const FLOWS: usize = 200;

/// What the box is asked.
#[derive(Clone, PartialEq, Debug)]
pub struct Question {
    /// Which flows.
    pub wanted: Wanted,
    /// What comes first.
    pub by: By,
    /// The least of it.
    pub ascending: bool,
}

impl Question {
    /// The path that asks.
    #[must_use]
    pub fn path(&self) -> String {
        self.wanted.path(self.by, self.ascending, FLOWS)
    }
}

/// What the box has answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// How it stands.
    pub status: Status,
    /// Its flows.
    pub flows: Flows,
    /// What was asked.
    pub question: Question,
    /// When it came.
    pub at: Instant,
}

/// All that is shown.
#[derive(Debug)]
pub struct App {
    /// What is asked next.
    pub question: Question,
    /// The last answer.
    pub last: Option<Answer>,
    /// Why there is no newer one.
    pub trouble: Option<String>,
    /// Packets a second, by flow.
    pub rates: Rates,
    /// The flow that was chosen; `None`: the first one.
    pub chosen: Option<String>,
    histories: HashMap<String, History>,
}

/// What each key sorts by.
pub const KEYS: [(char, &str, By); 7] = [
    ('r', "rtt", By::Rtt),
    ('s', "server", By::ServerDelay),
    ('l', "loss", By::Loss),
    ('p', "pkts/s", By::Rate),
    ('a', "late", By::Late),
    ('i', "idle", By::Idle),
    ('n', "received", By::Received),
];

impl App {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(question: Question) -> Self {
        let histories = HashMap::new();
        Self { question, last: None, trouble: None, rates: Rates::default(), chosen: None, histories }
    }

    /// The flows, in their order.
    #[must_use]
    pub fn flows(&self) -> &[Flow] {
        self.last.as_ref().map_or(&[], |answer| &answer.flows.flows)
    }

    /// An answer has come, or why none has.
    pub fn heard(&mut self, answer: Result<Answer, String>) {
        let mut answer = match answer {
            Ok(answer) if answer.question == self.question => answer,
            Ok(_) => return, // to what was asked before
            Err(trouble) => {
                self.trouble = Some(trouble);
                return;
            }
        };
        self.trouble = None;
        self.rates.next(&answer.flows.flows, answer.at);
        if answer.question.by == By::Rate {
            self.rates.sort(&mut answer.flows.flows, answer.question.ascending);
            answer.flows.flows.truncate(FLOWS);
        }
        let mut before = std::mem::take(&mut self.histories);
        for flow in &answer.flows.flows {
            let mut history = before.remove(&flow.name()).unwrap_or_default();
            history.add(flow);
            self.histories.insert(flow.name(), history);
        }
        // The chosen one may come back.
        if let Some((name, history)) = self.chosen.as_ref().and_then(|chosen| before.remove_entry(chosen)) {
            self.histories.insert(name, history);
        }
        self.last = Some(answer);
    }

    /// Where the chosen flow stands.
    #[must_use]
    pub fn at(&self) -> usize {
        let named = |chosen: &String| self.flows().iter().position(|flow| flow.name() == *chosen);
        self.chosen.as_ref().and_then(named).unwrap_or(0)
    }

    /// What was seen of the flow that is chosen.
    #[must_use]
    pub fn history(&self) -> Option<(&Flow, &History)> {
        let flow = self.flows().get(self.at())?;
        Some((flow, self.histories.get(&flow.name())?))
    }

    /// A key was pressed. Says whether to quit.
    pub fn pressed(&mut self, key: KeyEvent) -> bool {
        let by = |steps: isize| self.at().saturating_add_signed(steps).min(self.flows().len().saturating_sub(1));
        let to = match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Up | KeyCode::Char('k') => by(-1),
            KeyCode::Down | KeyCode::Char('j') => by(1),
            KeyCode::PageUp => by(-10),
            KeyCode::PageDown => by(10),
            KeyCode::Home => 0,
            KeyCode::End => self.flows().len().saturating_sub(1),
            KeyCode::Char('o') => {
                self.question.ascending = !self.question.ascending;
                return false;
            }
            KeyCode::Char(c) => {
                if let Some((_, _, by)) = KEYS.iter().find(|(key, ..)| *key == c) {
                    self.question.by = *by;
                }
                return false;
            }
            _ => return false,
        };
        self.chosen = self.flows().get(to).map(Flow::name);
        false
    }
}
