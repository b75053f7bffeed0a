//! What the page says in words: whether it is the network or the servers, and what needs attention.

use super::figures::{Figures, usual};
use common::admin::{Recent, Sort, Status};
use common::units::{many, per_cent, span, time, whole};
use maud::{Markup, html};

/// What flows are sorted by.
pub fn sort(sort: Sort) -> &'static str {
    match sort {
        Sort::Rtt => "round trip",
        Sort::ServerDelay => "server delay",
        Sort::Loss => "loss",
        Sort::Late => "late packets",
        Sort::Idle => "idle time",
        Sort::Received => "packets",
    }
}

/// The time of day, UTC.
pub fn clock(ms: u64) -> String {
    let s = ms / 1000;
    format!("{:02}:{:02}:{:02}", s / 3600 % 24, s / 60 % 60, s % 60)
}

/// Which box this is, and of when.
pub fn standing(figures: &Figures) -> Markup {
    let Status { version, uptime_seconds, .. } = &figures.status;
    html! { "PDMv2 middlebox " (version) ", up " (span(*uptime_seconds)) "; as of " (clock(figures.now_ms)) " UTC" }
}

/// The question of the page, and its answer.
pub fn answer(figures: &Figures) -> Markup {
    let recent = &figures.history.recent;
    let of = figures.policy.as_deref().map_or(String::new(), |name| format!(" under policy {name}"));
    let over = span(recent.seconds);
    if recent.seconds == 0.0 {
        return html! { p.answer { "Nothing is known yet: the first figures come within some seconds." } };
    }
    let [network, server] = [&recent.round_trip, &recent.server_delay];
    if network.count == 0 && server.count == 0 {
        return html! {
            p.answer { "Nothing was measured" (of) " in the last " (over) "." }
            p.dim {
                (whole(recent.accepted)) " packets came back with an option that verified. Delays need traffic both ways, a box at the other "
                "end, and " code { "[diagnostics] flows" } " for those of a policy."
            }
        };
    }
    html! {
        p.answer {
            "The network takes " b.net { (time(network.p50_ns)) } " at the median, the servers " b.srv { (time(server.p50_ns)) }
            "; " b.lost { (per_cent(recent.loss())) } " lost."
        }
        p.verdict { (verdict(network.p50_ns, server.p50_ns, usual(&figures.history))) }
        @for (policy, slower) in &figures.slower {
            p.verdict { "Policy " a href=(address(policy, figures.sort)) { (policy) } ": " (slower) "." }
        }
        p.dim { "Over the last " (over) (of) "; " (whole(recent.accepted)) " packets came back." }
    }
}

/// What has become slower, of round trip and server delay: as the alerts have it, a doubling, and what can be felt.
pub fn slower_than(now: [u64; 2], before: [u64; 2]) -> Option<String> {
    let risen = |i: usize| now[i] > before[i].saturating_mul(2) && now[i] - before[i] > 1_000_000;
    let [network, server] = [0, 1].map(|i| format!("{}, {} before", time(now[i]), time(before[i])));
    match (risen(0), risen(1)) {
        (true, false) => Some(format!("the network has become slower ({network})")),
        (false, true) => Some(format!("the servers have become slower ({server})")),
        (true, true) => Some(format!(
            "both have become slower (the network {network}; the servers {server}): look at what they share"
        )),
        (false, false) => None,
    }
}

/// What has changed, or who has the greater share.
pub fn verdict(network: u64, server: u64, usual: Option<[u64; 2]>) -> String {
    if let Some(slower) = usual.and_then(|usual| slower_than([network, server], usual)) {
        return format!("{}.", capital(&slower));
    }
    let both = network.saturating_add(server);
    if both == 0 {
        return "Neither takes any time that can be measured.".to_owned();
    }
    let share = |of: u64| of as f64 / both as f64;
    match (share(network), share(server)) {
        (n, _) if n >= 0.6 => format!("Most of the time passes in the network: {:.0}% of it.", n * 100.0),
        (_, s) if s >= 0.6 => format!("Most of the time passes at the servers: {:.0}% of it.", s * 100.0),
        _ => "Network and servers take about the same.".to_owned(),
    }
}

/// With a great letter in front.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// Where the page of a policy is.
fn address(policy: &str, by: Sort) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    format!("/?{}", query.append_pair("policy", policy).append_pair("sort", by.name()).finish())
}

/// What somebody should look at, the worst first.
pub fn attention(figures: &Figures) -> Markup {
    let all = troubles(
        &figures.status,
        &figures.history.recent,
        figures.policies.policies.iter().any(|p| p.mode == "encrypted"),
    );
    if all.is_empty() {
        return html! { p.fine { "Nothing needs attention." } };
    }
    html! {
        ul.attention {
            @for trouble in &all { li { (trouble) } }
        }
    }
}

/// See [`attention`]. `seals`: whether a policy wants options sealed.
pub fn troubles(status: &Status, recent: &Recent, seals: bool) -> Vec<String> {
    let mut all = Vec::new();
    for port in &status.ports {
        let name = &port.port;
        if port.device_gone {
            all.push(format!(
                "The device of the {name} port is gone, so nothing passes: bring it back as it was (plug it in, bind it to \
                 vfio-pci, make its interface), and the box takes it up by itself."
            ));
        } else if port.link_taken_down {
            all.push(format!("The {name} port's link is kept down, since the other port has none."));
        } else if !port.link_up {
            all.push(format!("The {name} port has no link."));
        }
    }
    if seals && status.keys.generation.is_none() {
        all.push("It seals nothing, since it has no keys: packets go out without the option.".to_owned());
    }
    if let Some(registration) = &status.keys.registration {
        if registration.out_of_touch {
            all.push("No registrar has it, for so long that others may use keys that it has not got.".to_owned());
        } else if !registration.registered {
            all.push("No registrar has it at the moment.".to_owned());
        }
    }
    for reason in status.reasons.iter().filter(|reason| reason.outcome == "dropped") {
        if let Some(rate) = reason.per_second.filter(|rate| *rate > 0.0) {
            let (name, rate) = (&reason.reason, many(rate));
            all.push(format!("It drops {rate} packets a second, {} ({name}). {}", reason.direction, reason.remedy));
        }
    }
    if status.flows.in_table.saturating_mul(10) >= status.flows.capacity.saturating_mul(9) && status.flows.capacity > 0
    {
        all.push(
            "The flow table is nearly full: new flows will pass unmeasured. Raise [flow_table] capacity.".to_owned(),
        );
    }
    if recent.loss() > 0.01 {
        all.push(format!("{} of the other side's packets do not come.", per_cent(recent.loss())));
    }
    all
}

/// What it seals under, its flow table, and so on.
pub fn keys(figures: &Figures) -> Markup {
    let Status { keys, flows, link_follow, resumptions, .. } = &figures.status;
    let sealing = keys.generation.map_or("it seals nothing".to_owned(), |g| format!("generation {g}"));
    let registration = keys.registration.as_ref().map(|registration| {
        let stands = match (registration.registered, registration.out_of_touch) {
            (true, _) => "registered",
            (false, false) => "not registered",
            (false, true) => "not registered, and out of touch",
        };
        let expire =
            registration.keys_expire_seconds.map(|s| format!("; the keys last another {} without it", span(s)));
        format!("{stands}{}", expire.unwrap_or_default())
    });
    html! {
        dl {
            div { dt { "Keys" } dd { (sealing) } }
            div { dt { "Registration" } dd { (registration.as_deref().unwrap_or("none: the keys are a file's, or there are none")) } }
            div {
                dt { "Flow table" }
                dd {
                    (whole(flows.in_table)) " of " (whole(flows.capacity)) " places; " (whole(flows.expired)) " expired, "
                    (whole(flows.resynced)) " resynced; " (common::units::octets(flows.memory_octets))
                }
            }
            div { dt { "Following of links" } dd { (link_follow) } }
            div { dt { "Resumptions noticed" } dd { (whole(*resumptions)) } }
        }
    }
}
