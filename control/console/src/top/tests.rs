use super::*;
use crate::flows::tests::example as flow;
use crate::status::tests::example;
use common::admin::Flows;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent};

fn question() -> Question {
    Question { wanted: Wanted::default(), by: By::Received, ascending: false }
}

/// An answer of so many flows, whose times grow with each turn.
fn answer(turn: u16, flows: u16) -> Answer {
    let one = |n| {
        let mut flow = flow(n);
        for times in [&mut flow.round_trip, &mut flow.server_delay] {
            times.samples += u64::from(turn);
            times.last_ns += times.last_ns * u64::from(turn % 8) / 4;
        }
        flow
    };
    let flows = Flows { in_table: 9, matching: u64::from(flows), flows: (1..=flows).map(one).collect() };
    Answer { status: example().status, flows, question: question(), at: Instant::now() }
}

fn shown(app: &App, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| draw::page(frame, app)).expect("drawn");
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| line(y).trim_end().to_owned()).collect()
}

fn press(app: &mut App, code: KeyCode) -> bool {
    app.pressed(KeyEvent::from(code))
}

#[test]
fn a_page_of_80_by_24_has_all_of_it() {
    let mut app = App::new(question());
    (0..40).for_each(|turn| app.heard(Ok(answer(turn, 20))));
    press(&mut app, KeyCode::Down);
    let page = shown(&app, 80, 24);
    let text = page.join("\n");
    let expected =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/top/80x24.txt")).unwrap_or_default();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/top/80x24.txt"), format!("{text}\n"))
            .expect("written");
    } else {
        assert_eq!(format!("{text}\n"), expected, "\n{text}");
    }
    assert!(page.iter().all(|line| line.chars().count() <= 80));
    for part in ["west?[31m  up 1 h 1 min", "outside LINK DOWN", "network 20.0 ms", "server 2.00 ms", "q quit", "█"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn every_size_can_be_drawn_and_a_wide_one_has_whole_names() {
    let mut app = App::new(question());
    for heard in [false, true] {
        if heard {
            app.heard(Ok(answer(1, 3)));
        }
        for (width, height) in [(1, 1), (2, 5), (20, 3), (40, 16), (79, 15), (300, 100)] {
            shown(&app, width, height);
        }
    }
    assert!(shown(&app, 140, 30).join("\n").contains("[2001:db8:a::1]:1002 > [2001:db8:b::1]:443 tcp "));
}

#[test]
fn keys_choose_and_sort_and_quit() {
    let mut app = App::new(question());
    assert!(!press(&mut app, KeyCode::Down), "nothing to choose yet");
    app.heard(Ok(answer(1, 3)));
    press(&mut app, KeyCode::Down);
    let chosen = app.chosen.clone();
    assert_eq!((app.at(), chosen.as_deref()), (1, Some("[2001:db8:a::1]:1002 > [2001:db8:b::1]:443 tcp")));
    // It stays chosen wherever it stands.
    let mut turned = answer(2, 3);
    turned.flows.flows.reverse();
    turned.flows.flows.swap(0, 1);
    app.heard(Ok(turned));
    assert_eq!((app.at(), &app.chosen), (0, &chosen));
    press(&mut app, KeyCode::End);
    press(&mut app, KeyCode::PageDown);
    assert_eq!(app.at(), 2);
    press(&mut app, KeyCode::Char('l'));
    press(&mut app, KeyCode::Char('o'));
    assert_eq!((app.question.by, app.question.ascending), (By::Loss, true));
    app.heard(Ok(answer(3, 1)));
    assert_eq!(app.flows().len(), 3, "an answer to what was asked before is none");
    app.heard(Err("the box has ended".into()));
    assert!(shown(&app, 80, 24).last().is_some_and(|line| line == "the box has ended"));
    assert!(press(&mut app, KeyCode::Char('q')) && press(&mut app, KeyCode::Esc));
    let control_c = KeyEvent::new(KeyCode::Char('c'), ratatui::crossterm::event::KeyModifiers::CONTROL);
    assert!(app.pressed(control_c) && !press(&mut app, KeyCode::Char('c')));
}
