use super::super::tests::{admin, admin_of, get};
use super::*;
use axum::body::Body;
use axum::http::Request;
use common::admin::{Flows, Histograms, History, Moment, Policies, Recent, Spread, Status};
use common::units::{many, per_cent, time, whole};
use serde::de::DeserializeOwned;
use std::time::Duration;
use tower::ServiceExt as _;

const MS: u64 = 1_000_000;

pub fn no_history() -> History {
    let recent = Recent::default();
    History { policy: None, interval_seconds: 2.0, kept_seconds: 900.0, recent, moments: Vec::new() }
}

/// Status, headers, and what the page says.
async fn load(router: Router, path: &str) -> (StatusCode, axum::http::HeaderMap, String) {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let answer = router.oneshot(request).await.expect("an answer");
    let (status, headers) = (answer.status(), answer.headers().clone());
    let octets = axum::body::to_bytes(answer.into_body(), 4 << 20).await.expect("whole");
    (status, headers, String::from_utf8(octets.to_vec()).expect("text"))
}

/// The part of this id, up to the next one that changes.
fn part<'p>(page: &'p str, id: &str) -> &'p str {
    let (_, rest) = page.split_once(&format!("id=\"{id}\" data-live")).expect(id);
    rest.split(" data-live").next().expect("a part")
}

async fn of<T: DeserializeOwned>(admin: &Admin, path: &str) -> T {
    let (status, answer) = get(admin, path).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    serde_json::from_value(answer).expect(path)
}

/// A box under traffic: requests of one policy, whose servers get slower.
async fn busy(admin: &Admin) {
    let rules = admin.world.shared.snapshots.rules();
    let counters = rules.policies().map(|(_, standing)| std::sync::Arc::clone(&standing.counters)).next();
    let (policy, worker) = (&counters.expect("a policy")[0], &admin.world.workers[0]);
    admin.rates.take(&admin.world.workers);
    admin.history.take(&admin.world.counted()).await;
    for (server, packets, lost) in [(2 * MS, 500, 0), (40 * MS, 1500, 5)] {
        for _ in 0..packets {
            worker.round_trip.record(3 * MS);
            worker.server_delay.record(server);
            policy.round_trip.record(3 * MS);
            policy.server_delay.record(server);
        }
        policy.added.add(packets + u64::from(lost));
        policy.accepted.add(packets);
        policy.skip(lost);
        worker.inbound.received.add(1234);
        tokio::time::sleep(Duration::from_millis(5)).await;
        admin.history.take(&admin.world.counted()).await;
    }
    admin.rates.take(&admin.world.workers);
}

#[tokio::test]
async fn the_page_shows_what_the_admin_interface_answers() {
    let admin = admin(30);
    busy(&admin).await;
    assert!(admin.world.shared.end_policy("mail", Some(1)));
    let (code, _, page) = load(router(admin.clone()), "/?sort=idle").await;
    assert_eq!(code, StatusCode::OK);
    let status: Status = of(&admin, "/v1/status").await;
    for direction in &status.directions {
        let shown = part(&page, "directions");
        let rates = direction.per_second.expect("rates");
        for figure in [whole(direction.received), whole(direction.dropped), many(rates.received)] {
            assert!(shown.contains(&format!(">{figure}</td>")), "{figure}: {shown}");
        }
    }
    let reason = &status.reasons[0];
    let shown = &part(&page, "reasons").replace("<code>", "").replace("</code>", "");
    assert!(shown.contains(&reason.reason) && shown.contains(&whole(reason.packets)), "{shown}");
    assert!(shown.contains(&html! { (reason.remedy.replace('`', "")) }.into_string()), "{shown}");
    let policies: Policies = of(&admin, "/v1/policies").await;
    let (web, shown) = (&policies.policies[0].measured, part(&page, "policies"));
    let figures = [web.added, web.accepted, web.lost].map(whole).into_iter();
    let times =
        [web.round_trip.p50_ns, web.round_trip.p99_ns, web.server_delay.p50_ns, web.server_delay.p99_ns].map(time);
    for figure in figures.chain(times) {
        assert!(shown.contains(&format!(">{figure}</td>")), "{figure}: {shown}");
    }
    assert!(shown.contains("<strong>ended</strong>") && shown.contains(">58 min 20 s</td>"), "{shown}");
    let shown = part(&page, "pairs");
    assert!(shown.contains(">odd</th>") && shown.contains(">none</th>"), "{shown}");
    let flows: Flows = of(&admin, "/v1/flows?sort=idle&limit=10").await;
    let shown = part(&page, "flows");
    assert_eq!(shown.matches("class=\"flow\"").count(), 10);
    for flow in &flows.flows {
        assert!(
            shown.contains(&flow.inside) && shown.contains(&format!("]:{}", flow.inside_port)),
            "{flow:?}: {shown}"
        );
    }
    assert!(shown.contains("10 of 30 flows"), "{shown}");
    let history: History = of(&admin, "/v1/history").await;
    assert_eq!(history.moments.len(), 2);
    let said = part(&page, "answer");
    let [network, server] = [&history.recent.round_trip, &history.recent.server_delay].map(|times| time(times.p50_ns));
    for figure in [network, server, per_cent(history.recent.loss())] {
        assert!(said.contains(&format!(">{figure}</b>")), "{figure}: {said}");
    }
    assert!(
        said.contains("at the servers: ")
            && part(&page, "moments").contains(&time(history.moments[1].server_delay.p50_ns))
    );
    let histograms: Histograms = of(&admin, "/v1/histograms").await;
    assert!(part(&page, "spread").contains(&time(histograms.histograms[1].quantiles.p99_ns)), "{page}");
    assert!(part(&page, "asof").contains(&status.version) && page.contains("<h1>west</h1>"));
}

#[tokio::test]
async fn a_policy_is_shown_alone_and_one_that_there_is_not_is_told() {
    let admin = admin(3);
    busy(&admin).await;
    let (_, _, page) = load(router(admin.clone()), "/?policy=mail&live=1").await;
    assert!(part(&page, "answer").contains("Nothing was measured under policy mail"), "{page}");
    assert!(part(&page, "flows").contains("There are no flows under this policy") && !page.contains("<script"));
    assert!(page.contains("<option value=\"mail\" selected>") && page.len() < 40_000, "{}", page.len());
    let (_, _, page) = load(router(admin.clone()), "/?policy=web").await;
    assert!(part(&page, "answer").contains("under policy web; 2,000 packets came back"), "{page}");
    for (query, said) in [
        ("policy=<b>", "there is no policy &#39;&lt;b&gt;&#39;"),
        ("sort=size", "choose one"),
        ("q=1", "there is no parameter"),
    ] {
        let (code, headers, page) =
            load(router(admin.clone()), &format!("/?{}", query.replace('<', "%3C").replace('>', "%3E"))).await;
        let page = page.replace("&quot;", "&#34;").replace('\'', "&#39;");
        assert!(code == StatusCode::BAD_REQUEST && page.contains(said), "{query}: {page}");
        assert!(headers.contains_key(CONTENT_SECURITY_POLICY) && page.contains("Known: "), "{page}");
    }
}

/// Whoever names a box or a policy, and whoever sends packets, writes text into the page and nothing else.
#[tokio::test]
async fn names_are_text_whatever_they_are() {
    const EVIL: &str = "</title><script>alert('1')</script>\"><img src=x onerror=\"a&b\">";
    let admin = admin_of(5, EVIL, EVIL);
    busy(&admin).await;
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("policy", EVIL).finish();
    for path in ["/".to_owned(), format!("/?{query}"), format!("/?policy=no-{}", &query[7..])] {
        let (_, _, page) = load(router(admin.clone()), &path).await;
        assert!(page.contains("&lt;script&gt;alert("), "{path}: {page}");
        assert!(
            !page.contains("<script>alert") && !page.contains("<img") && page.matches("</title>").count() < 30,
            "{page}"
        );
        assert!(page.matches("<script").count() <= 1 && !page.contains("onerror=\""), "{page}");
    }
}

#[tokio::test]
async fn nothing_comes_from_elsewhere_and_only_our_own_script_runs() {
    let admin = admin(1);
    let (_, headers, page) = load(router(admin), "/").await;
    let header = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let policy = header(CONTENT_SECURITY_POLICY);
    for (tag, directive) in [("script", "script-src"), ("style", "style-src")] {
        let (_, rest) = page.split_once(&format!("<{tag}>")).expect(tag);
        let within = rest.split(&format!("</{tag}>")).next().expect("an end");
        let hash = STANDARD.encode(Sha256::digest(within.as_bytes()));
        assert!(policy.contains(&format!("{directive} 'sha256-{hash}'")), "{tag}: {policy}");
    }
    for rule in
        ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'", "connect-src 'self'"]
    {
        assert!(policy.contains(rule), "{rule}: {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    assert_eq!((header(CACHE_CONTROL), header(X_CONTENT_TYPE_OPTIONS)), ("no-store", "nosniff"));
    assert_eq!(header(CONTENT_TYPE), HTML);
    for attribute in ["src=\"", "href=\"", "action=\""] {
        for target in page.split(attribute).skip(1) {
            assert!(target.starts_with("/") && !target.starts_with("//") || target.starts_with("data:,"), "{target}");
        }
    }
    assert!(!page.contains(" style=\"") && !page.contains(" onclick"), "the policy lets neither in");
    assert!(page.contains("<noscript><meta http-equiv=\"refresh\" content=\"10\"></noscript>"), "{page}");
}

#[tokio::test]
async fn without_the_setting_it_says_what_to_set() {
    let (code, headers, page) = load(closed(), "/").await;
    assert!(code == StatusCode::OK && headers.contains_key(CONTENT_SECURITY_POLICY));
    assert!(page.contains("[telemetry]\nadmin = true") && page.contains("href=\"/metrics\""), "{page}");
    assert!(!page.contains("<script"), "{page}");
}

fn slowed() -> History {
    let spread = |p50: u64| Spread { count: 100, p50_ns: p50, p99_ns: p50 * 2 };
    let moment = |i: u64| Moment {
        time_ms: 1_000_000_000 + i * 2000,
        seconds: 2.0,
        round_trip: spread(3 * MS),
        server_delay: spread(if i < 60 { 2 * MS } else { 40 * MS }),
        accepted: 100,
        ..Moment::default()
    };
    // From 40 to 50 the box had nothing to measure.
    let known = |i: &u64| !(40..50).contains(i);
    History { moments: (0..120).filter(known).map(moment).collect(), ..no_history() }
}

#[tokio::test]
async fn a_server_that_slows_down_is_seen_when_it_does() {
    let admin = admin(1);
    busy(&admin).await;
    let mut figures = Figures::of(&admin, &query::page(None).expect("the page")).expect("figures");
    figures.history = slowed();
    let (network, servers) = (3 * MS, 40 * MS);
    let times = |p50_ns| common::admin::Quantiles { count: 2500, p50_ns, ..Default::default() };
    let (round_trip, server_delay) = (times(network), times(servers));
    figures.history.recent = Recent { seconds: 50.0, round_trip, server_delay, accepted: 2500, ..Recent::default() };
    assert_eq!(figures::usual(&figures.history), Some([3 * MS, 2 * MS]), "what was before the last minute");
    let said = words::verdict(network, servers, figures::usual(&figures.history));
    assert_eq!(said, "The servers have become slower (40.0 ms, 2.00 ms before).");
    figures.slower = vec![("a&b".into(), words::slower_than([3 * MS, 40 * MS], [3 * MS, 2 * MS]).expect("slower"))];
    let said = words::answer(&figures).into_string();
    let link = "Policy <a href=\"/?policy=a%26b&amp;sort=server_delay\">a&amp;b</a>: the servers have become slower";
    assert!(said.contains(link), "{said}");
    let chart = charts::over_time(&figures).into_string();
    let path = chart.split("class=\"srv\" d=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a line");
    assert_eq!(path.matches('M').count(), 2, "nothing is drawn where nothing was measured: {path}");
    let points: Vec<(f64, f64)> = path
        .split(['M', 'L'])
        .skip(1)
        .filter_map(|point| point.trim_end_matches("h.1").split_once(','))
        .map(|(x, y)| (x.parse().expect("a number"), y.parse().expect("a number")))
        .collect();
    // The axis is 300 s long and ends with the last moment, at 238 s.
    let step = points.windows(2).find(|pair| pair[0].1 - pair[1].1 > 50.0).expect("a step up");
    let second = step[1].0 * 0.3 - 62.0;
    assert!((second - 120.0).abs() < 1.0, "it is at {second} s");
    assert!(chart.contains("servers 40.0 ms") && chart.contains("network 3.00 ms"), "{chart}");
}

#[test]
fn who_takes_the_time_is_said_in_a_sentence() {
    let said = |network, server, usual| words::verdict(network, server, usual);
    assert!(said(9 * MS, MS, None).contains("in the network: 90%"));
    assert!(said(MS, 9 * MS, Some([MS, 9 * MS])).contains("at the servers: 90%"));
    assert!(said(5 * MS, 5 * MS, None).contains("about the same"));
    assert!(said(50 * MS, 5 * MS, Some([5 * MS, 5 * MS])).starts_with("The network has become slower"));
    assert!(said(50 * MS, 50 * MS, Some([5 * MS, 5 * MS])).starts_with("Both have become slower"));
    assert!(said(900, 90, Some([100, 90])).contains("in the network"), "a microsecond more is nothing");
    assert!(said(0, 0, None).starts_with("Neither"));
    assert_eq!(words::clock(3_723_000 + 86_400_000), "01:02:03");
}

#[tokio::test]
async fn what_needs_attention_is_named_with_what_to_do() {
    let admin = admin(1);
    busy(&admin).await;
    let mut status: Status = of(&admin, "/v1/status").await;
    status.flows.capacity = 100;
    status.ports.iter_mut().for_each(|port| port.link_up = true);
    status.reasons[0].per_second = Some(0.0);
    let told = |status: &Status| words::troubles(status, &Recent::default(), true);
    assert_eq!(told(&status).len(), 1, "only that there are no keys: {:?}", told(&status));
    status.keys.generation = Some(1);
    assert!(told(&status).is_empty());
    status.reasons[0].per_second = Some(12.0);
    status.ports[1].link_up = false;
    status.flows.in_table = 95;
    let said = told(&status).join("\n");
    for part in ["outside port has no link", "drops 12 packets a second", "tx_descriptors", "nearly full"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let lossy = Recent { lost: 5, accepted: 95, ..Recent::default() };
    assert!(words::troubles(&status, &lossy, true).iter().any(|said| said.starts_with("5.00% of")));
}
