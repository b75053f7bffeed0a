//! How it looks. Nothing but the sixteen colours that every terminal has, and nothing that is told by colour alone.

use super::app::{App, KEYS};
use super::history::{BARS, Seen, below};
use crate::units::{many, per_cent, plain, span, time};
use common::admin::Flow;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table, TableState};

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const CHOSEN: Style = Style::new().add_modifier(Modifier::REVERSED);
const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
/// Lines of what is told of the chosen flow.
const DETAIL: u16 = 8;

/// The whole page.
pub fn page(frame: &mut Frame<'_>, app: &App) {
    let detail = if frame.area().height >= 16 { DETAIL } else { 0 };
    let parts = [Constraint::Length(2), Constraint::Min(2), Constraint::Length(detail), Constraint::Length(1)];
    let [head, flows, chosen, foot] = Layout::vertical(parts).areas(frame.area());
    frame.render_widget(heading(app), head);
    table(frame, app, flows);
    if detail > 0 {
        of_chosen(frame, app, chosen);
    }
    frame.render_widget(footing(app), foot);
}

fn heading(app: &App) -> Paragraph<'static> {
    let Some(answer) = &app.last else { return Paragraph::new("…") };
    let status = &answer.status;
    let key = status.keys.generation.map_or_else(|| "NO KEY".to_owned(), |g| format!("generation {g}"));
    let links =
        status.ports.iter().filter(|port| !port.link_up).map(|port| format!(", {} LINK DOWN", plain(&port.port)));
    let first =
        format!("{}  up {}  {key}{}", plain(&status.node), span(status.uptime_seconds), links.collect::<String>());
    let rates = status.directions.iter().map(|direction| {
        let rate = |of: fn(&common::admin::Rates) -> f64| {
            direction.per_second.as_ref().map_or_else(|| "-".to_owned(), |r| many(of(r)))
        };
        format!("{} {}/s, dropped {}/s  ", plain(&direction.direction), rate(|r| r.received), rate(|r| r.dropped))
    });
    let busiest = status.workers.iter().filter_map(|worker| worker.load).fold(0.0, f64::max);
    let second = format!("{}load {}  flows {}", rates.collect::<String>(), per_cent(busiest), answer.flows.in_table);
    Paragraph::new(vec![Line::styled(first, BOLD), Line::raw(second)])
}

fn table(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let by = app.question.by;
    let head = |name: &str, key: char| {
        let sorted = KEYS.iter().any(|(k, _, this)| *k == key && *this == by);
        let arrow = if app.question.ascending { '^' } else { 'v' };
        if sorted { format!("{name}{arrow}") } else { name.to_owned() }
    };
    let heads = [
        "flow".to_owned(),
        head("rtt", 'r'),
        head("server", 's'),
        head("loss", 'l'),
        head("late", 'a'),
        head("pkts/s", 'p'),
        head("idle", 'i'),
    ];
    let right = |text: String| Cell::from(Line::from(text).right_aligned());
    let cells = |texts: [String; 7]| {
        let mut texts = texts.into_iter();
        let first = Cell::from(texts.next().unwrap_or_default());
        Row::new(std::iter::once(first).chain(texts.map(right)).collect::<Vec<_>>())
    };
    let row = |flow: &Flow| {
        let rate = app.rates.of(flow).map_or_else(|| "-".to_owned(), many);
        let [rtt, server] = [&flow.round_trip, &flow.server_delay].map(|times| time(times.smoothed_ns));
        cells([
            short(flow, area.width),
            rtt,
            server,
            per_cent(flow.loss),
            flow.late.to_string(),
            rate,
            time(flow.idle_ns),
        ])
    };
    let widths = [8, 8, 7, 6, 8, 8].map(Constraint::Length);
    let widths: Vec<_> = std::iter::once(Constraint::Min(20)).chain(widths).collect();
    let table =
        Table::new(app.flows().iter().map(row), widths).header(cells(heads).style(BOLD)).row_highlight_style(CHOSEN);
    let mut state = TableState::default().with_selected((!app.flows().is_empty()).then(|| app.at()));
    frame.render_stateful_widget(table, area, &mut state);
}

/// What of a flow's name fits: on a narrow terminal its outside and the inside port.
fn short(flow: &Flow, width: u16) -> String {
    let name = plain(&flow.name());
    let room = usize::from(width).saturating_sub(51);
    if name.chars().count() <= room {
        return name;
    }
    let Flow { inside_port, outside, outside_port, protocol, .. } = flow;
    let narrow = plain(&format!("{inside_port}>{outside}.{outside_port} {protocol}"));
    let len = narrow.chars().count();
    // The end of an address tells more than its beginning.
    if len <= room { narrow } else { format!("…{}", narrow.chars().skip(len + 1 - room.max(1)).collect::<String>()) }
}

fn of_chosen(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let Some((flow, history)) = app.history() else {
        frame.render_widget(Block::bordered().title(" no flow matches "), area);
        return;
    };
    let policy = plain(flow.policy.as_deref().unwrap_or("no policy"));
    let block = Block::bordered().title(format!(" {} ({policy}) ", plain(&flow.name())));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [lines, bars] = Layout::horizontal([Constraint::Fill(1), Constraint::Length(BARS as u16 * 2 + 2)]).areas(inner);
    let [network, server] = Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(lines);
    line(frame, network, "network", flow.round_trip.smoothed_ns, &history.round_trip, Color::Cyan);
    line(frame, server, "server", flow.server_delay.smoothed_ns, &history.server_delay, Color::Yellow);
    let [network, server] = Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(bars);
    histogram(frame, network, &history.round_trip, Color::Cyan);
    histogram(frame, server, &history.server_delay, Color::Yellow);
}

fn line(frame: &mut Frame<'_>, area: Rect, name: &str, smoothed: u64, seen: &Seen, colour: Color) {
    let [label, chart] = Layout::vertical([Constraint::Length(1), Constraint::Min(1)]).areas(area);
    let width = usize::from(chart.width);
    let points: Vec<u64> = seen.line.iter().skip(seen.line.len().saturating_sub(width)).copied().collect();
    let most = points.iter().max().copied().unwrap_or(0);
    frame.render_widget(Line::raw(format!("{name} {}, up to {}", time(smoothed), time(most))), label);
    frame.render_widget(Sparkline::default().data(points).style(Style::new().fg(colour)), chart);
}

/// Two columns for each doubling.
fn histogram(frame: &mut Frame<'_>, area: Rect, seen: &Seen, colour: Color) {
    let [label, chart] = Layout::vertical([Constraint::Length(1), Constraint::Min(1)]).areas(area);
    let [first, middle, last] = [0, BARS / 2, BARS - 1].map(|bar| time(below(bar)));
    let half = BARS;
    frame.render_widget(Line::raw(format!(" <{first:<h$}<{middle:<h$}>{last}", h = half - 6)), label);
    let data: Vec<u64> = std::iter::once(0).chain(seen.bars.iter().flat_map(|&n| [n, n])).collect();
    frame.render_widget(Sparkline::default().data(data).style(Style::new().fg(colour)), chart);
}

fn footing(app: &App) -> Line<'static> {
    if let Some(trouble) = &app.trouble {
        return Line::styled(plain(trouble), BAD);
    }
    let keys = KEYS.iter().map(|(key, name, _)| format!("{key} {name} "));
    Line::styled(format!("{}o order q quit", keys.collect::<String>()), BOLD)
}
