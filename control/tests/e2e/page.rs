//! The page of a box under traffic, in a browser: with JavaScript and without, wide and narrow, light and dark. In the middle of the
//! traffic a server slows down, and the page shows it at that time.
//!
//! `PDMV2_PAGE_SECONDS=300 PDMV2_PAGE_DIR=DIR` lets the traffic last longer, and keeps the pictures: those of `docs/page.md` are made
//! so.

use crate::boxes::{ROOMY, SOON, end_running, key_file, start, turn, wait_for};
use crate::browser::{Browser, Look};
use crate::hosts::http;
use rig::forwarders::{BoxConfig, INSIDE};
use rig::trouble::talk::{Client, Server};
use rig::{Rig, Side};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

const PORT: u16 = 9469;
const URL: &str = "http://127.0.0.1:9469/";
const EACH_WAY: Duration = Duration::from_millis(3);
/// The port of each server, and what it takes at first. Those of policy `web` become slow.
const SERVERS: [(u16, Duration); 5] = [
    (8001, Duration::from_millis(2)),
    (8002, Duration::from_millis(2)),
    (8003, Duration::from_millis(3)),
    (5432, Duration::from_millis(8)),
    (5433, Duration::from_millis(9)),
];
const WEB: std::ops::Range<u16> = 8000..9000;
const SLOW: Duration = Duration::from_millis(40);
const POLICIES: &str = "[[policy]]\nname = \"ping\"\nprotocol = \"icmpv6\"\nmode = \"off\"\n\
                        [[policy]]\nname = \"web\"\nprotocol = \"udp\"\nports = [\"8000-8999\"]\nmode = \"encrypted\"\n\
                        [[policy]]\nname = \"database\"\nmode = \"encrypted\"\n";
const WIDE: (u32, u32) = (1280, 1900);
const NARROW: (u32, u32) = (360, 2600);

/// Clients that ask until they are told to stop.
struct Clients {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl Clients {
    fn start(rig: &Rig) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |(port, _): &(u16, Duration)| {
            let (mut client, stop) = (Client::new(rig, *port).expect("a client"), Arc::clone(&stop));
            std::thread::spawn(move || {
                // Without a host to send from, the test is over.
                while !stop.load(Relaxed) && client.ask_for(Duration::from_millis(100), false).is_ok() {}
                client.end().answered
            })
        };
        Self { threads: SERVERS.iter().map(start).collect(), stop }
    }

    /// How many answers they got.
    fn end(self) -> u64 {
        self.stop.store(true, Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("a client")).sum()
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock").as_millis() as u64
}

fn json(rig: &Rig, path: &str) -> Value {
    let (status, body) = http(rig, Side::A, PORT, path).expect("an answer");
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).expect("JSON")
}

#[test]
fn e2e_the_page_shows_a_server_that_slows_down() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new(ROOMY).expect("rig");
    let Some(browser) = Browser::find(&rig) else {
        eprintln!(
            "left out: there is no Chromium here; 'make page' installs chromium-headless-shell and runs this test"
        );
        return;
    };
    let long: u64 = std::env::var("PDMV2_PAGE_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(16);
    let mut wire = rig.slow_wire().expect("a wire");
    wire.delay(EACH_WAY).expect("a delay");
    // A tap in another namespace than its box has no link, to its driver.
    let _inside = rig.slow_inside().expect("a wire inside");
    let keys = key_file(&rig);
    let boxes = Side::BOTH.map(|side| {
        let inside = (side == Side::A).then_some(INSIDE);
        let policies = POLICIES.to_owned();
        let (telemetry, admin) = (Some(PORT), true);
        start(&rig, side, &BoxConfig { keys: keys.clone(), inside, telemetry, admin, policies, ..BoxConfig::default() })
    });
    rig.connect(SOON).expect("hosts that reach each other");
    let servers = SERVERS.map(|(port, takes)| Server::start(&rig, port, takes).expect("a server"));
    let clients = Clients::start(&rig);
    std::thread::sleep(Duration::from_secs(long / 2));
    let slow_since = now_ms();
    for (server, _) in servers.iter().zip(SERVERS).filter(|(_, (port, _))| WEB.contains(port)) {
        server.takes(SLOW);
    }
    wire.lose_answers(300).expect("a wire that loses");
    std::thread::sleep(Duration::from_secs(long / 2));

    at_that_time(&rig, slow_since);
    complete_without_script(&rig, &browser);
    alive_with_script(&browser);
    as_narrow_as_a_telephone(&rig, &browser);
    pictures(&browser);

    let answered = clients.end();
    drop(servers);
    wire.lose(0).expect("a wire");
    rig.quiesce().expect("silence");
    let [a, _] = end_running(boxes, [0; 2]);
    assert!(answered > 100 && a.policies("accepted") > 100, "{answered}: {a:?}");
}

/// In the history the server's delay is what it was, until it changes; the network's stays.
fn at_that_time(rig: &Rig, slow_since: u64) {
    wait_for("both before and after", || {
        let history = json(rig, "/v1/history?policy=web");
        history["moments"].as_array().is_some_and(|all| all.len() > 6)
    });
    let history = json(rig, "/v1/history?policy=web");
    let moments = history["moments"].as_array().expect("moments");
    // The interval in which it changed may be either.
    let median = |after: bool, of: &str| {
        let side = moments.iter().filter(|m| {
            let time = m["time_ms"].as_u64().expect("a time");
            if after { time > slow_since + 3000 } else { time < slow_since }
        });
        let mut medians: Vec<_> = side
            .filter(|m| m[of]["count"].as_u64() > Some(5))
            .map(|m| m[of]["p50_ns"].as_u64().expect("a median"))
            .collect();
        medians.sort_unstable();
        assert!(medians.len() >= 2, "{of}, after: {after}: {history}");
        medians[medians.len() / 2]
    };
    let [before, after] = [false, true].map(|after| median(after, "server_delay"));
    assert!(after > 35_000_000 && before < after / 2, "{before} {after}: {history}");
    assert!(after > median(true, "round_trip"), "{history}");
    let last = moments.last().expect("one")["time_ms"].as_u64().expect("a time");
    let lost =
        |all: &Value| all["moments"].as_array().into_iter().flatten().filter_map(|m| m["lost"].as_u64()).sum::<u64>();
    assert!(lost(&json(rig, "/v1/history")) > 0, "answers are lost");
    let news = json(rig, &format!("/v1/history?policy=web&since={last}"));
    assert!(news["moments"].as_array().is_some_and(|news| news.len() < 5), "only what is new: {news}");
}

/// Everything is in the page itself: in a frame that may run no script it says all there is.
fn complete_without_script(rig: &Rig, browser: &Browser<'_>) {
    const FRAME: &str = "<body><iframe sandbox=\"allow-same-origin\" src=\"/page\" width=\"1200\" height=\"1800\"></iframe><script>\
                         onload = () => { const within = document.querySelector('iframe').contentDocument; \
                         document.title = within.body.innerText; document.body.dataset.lines = within.querySelectorAll('path.net, path.srv').length; }\
                         </script>";
    let (status, page) = http(rig, Side::A, PORT, "/?policy=web&sort=server_delay").expect("the page");
    assert_eq!(status, 200, "{page}");
    let url = serve(rig, vec![("/", FRAME.to_owned()), ("/page", page)]);
    let seen = browser.load(&url, Look { size: WIDE, ..Look::default() });
    let sandboxed = |line: &String| line.contains("sandboxed");
    assert!(
        !seen.console.is_empty() && seen.console.iter().all(sandboxed),
        "a script was kept out: {:?}",
        seen.console
    );
    let (_, said) = seen.document.split_once("<title>").expect("a title");
    let said = said.split("</title>").next().expect("an end");
    let parts = ["The network takes", "the servers", "under policy web", "loaded anew every 10 seconds"];
    for part in parts {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(seen.document.contains("data-lines=\"4\""), "medians and what 99% stay below are drawn: {}", seen.document);
    let flows = json(rig, "/v1/flows?policy=web&sort=server_delay&limit=10");
    let flows = flows["flows"].as_array().expect("flows");
    assert_eq!(flows.len(), 3, "{flows:?}");
    for flow in flows {
        let port = &flow["inside_port"];
        assert!(said.contains(&format!("]:{port}")), "{flow}: {said}");
    }
    let generation = &json(rig, "/v1/status")["keys"]["generation"];
    assert!(said.contains(&format!("generation {generation}")), "{said}");
}

/// With JavaScript it changes by itself, asks nobody else, and complains of nothing.
fn alive_with_script(browser: &Browser<'_>) {
    let seen = browser.load(URL, Look { size: WIDE, ..Look::default() });
    assert_eq!(seen.console, Vec::<String>::new(), "{}", seen.document);
    assert!(seen.document.contains("<p id=\"live\" class=\"\">live</p>"), "{}", seen.document);
    assert!(seen.asked.iter().all(|url| url.starts_with(URL)), "{:?}", seen.asked);
    let later = |url: &&String| url.contains("/v1/history?since=") && !url.ends_with("since=0");
    assert!(seen.asked.iter().any(|url| url.contains("live=1")), "{:?}", seen.asked);
    assert!(seen.asked.iter().find(later).is_some(), "only what is new is asked for: {:?}", seen.asked);
}

/// No part is wider than a telephone, and a box that is gone is told as that.
fn as_narrow_as_a_telephone(rig: &Rig, browser: &Browser<'_>) {
    let (status, page) = http(rig, Side::A, PORT, "/").expect("the page");
    assert_eq!(status, 200, "{page}");
    let measure =
        "<script>document.title = `wide ${document.documentElement.scrollWidth} of ${innerWidth}`</script></body>";
    let url = serve(rig, vec![("/", page.replace("</body>", measure))]);
    let look = Look { size: NARROW, ..Look::default() };
    let seen = browser.load(&url, look);
    let title = seen.document.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next()).expect("a title");
    let (wide, of) = title.strip_prefix("wide ").and_then(|t| t.split_once(" of ")).expect(title);
    let [wide, of] = [wide, of].map(|number| number.parse::<u32>().expect("a number"));
    assert!(wide <= of && of <= 500, "{title}: the page is scrolled sideways");
    assert!(seen.document.contains("class=\"lost\">no answer since "), "{}", seen.document);
    assert!(seen.document.contains("class=\"stale\"") && seen.document.contains("The box does not answer."));
}

/// A server in box A's place that gives each of these once, and is gone then; its address.
fn serve(rig: &Rig, mut pages: Vec<(&'static str, String)>) -> String {
    let listener = rig.place(Side::A).enter(|| TcpListener::bind("127.0.0.1:0")).expect("namespace").expect("socket");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        // A browser may open more connections than it uses.
        for mut stream in listener.incoming().flatten().take(16) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(2))); // then it is waited for
            let mut head = [0; 4096];
            let len = stream.read(&mut head).unwrap_or_default();
            let asked = |path: &str| head[..len].starts_with(format!("GET {path} ").as_bytes());
            let Some(at) = pages.iter().position(|(path, _)| asked(path)) else { continue };
            let (_, page) = pages.remove(at);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close";
            let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{page}", page.len()); // the browser has gone
            if pages.is_empty() {
                return;
            }
        }
    });
    url
}

/// What the documents show.
fn pictures(browser: &Browser<'_>) {
    let Some(dir) = std::env::var_os("PDMV2_PAGE_DIR").map(PathBuf::from) else { return };
    std::fs::create_dir_all(&dir).expect("a directory");
    for (size, name) in [(WIDE, "wide"), (NARROW, "narrow")] {
        for (dark, colours) in [(false, "light"), (true, "dark")] {
            let look = Look { size, dark };
            browser.draw(URL, look, &dir.join(format!("page-{name}-{colours}.png")));
        }
    }
    let look = Look { size: WIDE, ..Look::default() };
    browser.draw(&format!("{URL}?policy=web"), look, &dir.join("page-policy.png"));
}
