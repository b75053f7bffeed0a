use super::*;
use crate::measure::Figure;
use crate::ports::isa::Isa;

fn row(report: &mut Report, labels: &[(&'static str, &str)], median: f64) {
    let labels: Vec<_> = labels.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
    report.push(&labels, Figure { median, q1: median, q3: median }, None);
}

fn empty(name: &'static str) -> Report {
    Report::new(name, "t", "u", "a")
}

fn verdicts(claims: &[Claim], report: Report) -> Vec<(String, Verdict, Option<f64>, String)> {
    let report = Ok(report);
    let judged = claims.iter().map(|c| c.judge(&report));
    judged.map(|j| (j.name, j.verdict, j.figure, j.reason.unwrap_or_default())).collect()
}

#[test]
fn a_bound_is_reached_from_its_own_side() {
    for (bound, figure, verdict) in [
        (Bound::AtLeast(2.0), 2.0, Verdict::Holds),
        (Bound::AtLeast(2.0), 1.99, Verdict::FallsShort),
        (Bound::AtMost(1.4), 1.4, Verdict::Holds),
        (Bound::AtMost(1.4), 1.41, Verdict::FallsShort),
        (Bound::AtLeast(2.0), f64::INFINITY, Verdict::NotMeasured),
        (Bound::AtMost(2.0), f64::NAN, Verdict::NotMeasured),
    ] {
        let claim = Claim::new("c", bound, move |_| Ok(figure));
        assert_eq!(claim.judge(&Ok(empty("x"))).verdict, verdict, "{bound:?}, {figure}");
    }
}

#[test]
fn without_a_figure_or_a_report_the_reason_is_told() {
    let claim = Claim::new("c", Bound::AtLeast(1.0), |_| Err("no such peer".to_owned()));
    let judged = claim.judge(&Ok(empty("x")));
    assert_eq!((judged.verdict, judged.figure), (Verdict::NotMeasured, None));
    assert_eq!(judged.line(3), "c         -  at least  1.00  not measured (no such peer)");
    let judged = Claim::new("c", Bound::AtMost(1.0), |_| Ok(0.5)).judge(&Err(anyhow::anyhow!("bench x failed")));
    assert_eq!((judged.verdict, judged.reason.as_deref()), (Verdict::NotMeasured, Some("bench x failed")));
    let judged = Claim::new("c", Bound::AtMost(1.0), |_| Ok(0.5)).judge(&Ok(empty("x")));
    assert_eq!(judged.line(3), "c      0.50  at most   1.00  holds");
}

#[test]
fn look_ups_against_the_peer() {
    let mut report = empty("flow");
    for (operation, ours, peer) in [("hit", 50.0, 40.0), ("hit, record read", 50.0, 100.0)] {
        for (table, ns) in [("ours", ours), ("rte_hash", peer)] {
            let labels = [("flows", "1000000"), ("operation", operation), ("threads", "1"), ("table", table)];
            row(&mut report, &labels, ns);
        }
    }
    let found = verdicts(&flow::claims(), report);
    assert_eq!(
        found.iter().map(|f| (f.1, f.2)).collect::<Vec<_>>(),
        [(Verdict::FallsShort, Some(0.8)), (Verdict::Holds, Some(2.0))]
    );
    let mut report = empty("flow");
    report.notes.push("1000000 flows were left out".into());
    assert!(verdicts(&flow::claims(), report).iter().all(|f| f.1 == Verdict::NotMeasured && f.3.contains("left out")));
}

fn aead_report(paths: &[(&str, f64)]) -> Report {
    let mut report = empty("aead");
    for aead in ["aes-128-gcm", "aes-256-gcm"] {
        for keys in ["1", "65536", "1000000"] {
            for operation in ["seal", "open"] {
                for &(by, ns) in paths {
                    let ns = if aead == "aes-256-gcm" { ns * 1.5 } else { ns };
                    row(&mut report, &[("aead", aead), ("keys", keys), ("operation", operation), ("by", by)], ns);
                }
            }
        }
    }
    report
}

#[test]
fn sealing_against_the_crate_and_the_libraries() {
    let others = [("ipsec-mb, direct", 60.0), ("OpenSSL, rekeyed", 500.0), ("ring", 100.0), ("aws-lc-rs", 90.0)];
    let paths = [&[("vaes-512", 10.0), ("aes-ni", 20.0), ("aes-gcm", 200.0)][..], &others].concat();
    let found = verdicts(&aead::claims(), aead_report(&paths));
    let verdict =
        |part: &str| found.iter().find(|f| f.0.contains(part)).map(|f| (f.1, f.2.map(|v| (v * 10.0).round())));
    assert_eq!(verdict("seal, 65536 keys, times aes-gcm"), Some((Verdict::Holds, Some(200.0))));
    assert_eq!(verdict("open, 1 keys"), Some((Verdict::FallsShort, Some(200.0))));
    assert_eq!(verdict("open, 65536 keys, times the best other"), Some((Verdict::Holds, Some(60.0))));
    assert_eq!(verdict("AES-NI alone"), Some((Verdict::Holds, Some(100.0))));
    assert_eq!(verdict("AES-256-GCM over"), Some((Verdict::FallsShort, Some(15.0))));
}

#[test]
fn the_widest_path_of_this_cpu_counts_and_what_a_build_lacks_is_no_verdict() {
    let found = verdicts(&aead::claims(), aead_report(&[("vaes-256", 10.0), ("aes-ni", 20.0), ("aes-gcm", 100.0)]));
    let of = |part: &str| found.iter().find(|f| f.0.contains(part)).expect("a claim");
    let (_, verdict, figure, _) = of("seal, 65536 keys, times aes-gcm");
    assert_eq!((*verdict, figure.map(|f| (f * 10.0).round())), (Verdict::FallsShort, Some(100.0)));
    assert_eq!(of("seal, 1000000 keys, times aes-gcm").1, Verdict::Holds);
    let (_, verdict, _, text) = of("seal, 65536 keys, times the best other");
    assert!(*verdict == Verdict::NotMeasured && text.contains("ipsec-mb"), "{text}");
    assert_eq!(of("AES-NI alone").1, Verdict::FallsShort);
}

/// Columns of `bench pipeline`, as they are where nothing else is said.
fn of_path(changes: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let usual = [
        ("frame", "80"),
        ("workers", "1"),
        ("program", "ours"),
        ("action", "add"),
        ("form", "sealed"),
        ("flows", "65536"),
        ("isa", "vaes256"),
        ("odd", "-"),
        ("strays", "-"),
        ("boxes", "1"),
    ];
    let value = |(name, usual): (&'static str, &str)| {
        let changed = changes.iter().find(|(n, _)| *n == name);
        (name, changed.map_or(usual, |(_, v)| v).to_owned())
    };
    usual.map(value).to_vec()
}

const PEER: [(&str, &str); 3] = [("form", "-"), ("isa", "-"), ("boxes", "-")];

fn path_report(rates: &[(&[(&'static str, &str)], f64)]) -> Report {
    let mut report = empty("pipeline");
    let mac = [&PEER[..], &[("program", "testpmd"), ("action", "mac")]].concat();
    let io = [&PEER[..], &[("program", "testpmd"), ("action", "io")]].concat();
    for (changes, rate) in [(&mac[..], 30.0), (&io[..], 32.0)].iter().chain(rates) {
        report.push(&of_path(changes), Figure { median: *rate, q1: *rate, q3: *rate }, None);
    }
    report
}

#[test]
fn the_whole_path_against_its_peers_and_itself() {
    let mut report = path_report(&[
        (&[], 15.0),
        (&[("isa", "aesni")], 9.0),
        (&[("flows", "1000")], 14.0),
        (&[("flows", "1000000")], 8.0),
        (&[("form", "clear")], 16.0),
        (&[("action", "remove")], 11.0),
        (&[("action", "pass-off"), ("form", "-")], 24.0),
        (&[("odd", "1 in 100")], 14.0),
        (&[("workers", "2")], 28.5),
        (&[("workers", "2"), ("strays", "1 %")], 24.0),
        (&[("strays", "0 %")], 13.0),
        (&[("boxes", "2000")], 14.0),
        (&[("boxes", "4000")], 13.0),
        (&[("boxes", "4000"), ("action", "remove")], 10.0),
    ]);
    let esp = of_path(&[&PEER[..], &[("program", "ipsec-secgw"), ("action", "esp")]].concat());
    report.push_absent(&esp, "DPDK's ipsec-secgw: not measured: no sources".into());
    report.push_absent(&of_path(&[("isa", "avx512")]), "ours: not measured: this CPU does not have avx512".into());
    let found = verdicts(&path::claims(), report);
    use Verdict::{FallsShort as Short, Holds, NotMeasured as Not};
    let all: Vec<_> = found.iter().map(|f| f.1).collect();
    assert_eq!(
        all,
        [Holds, Short, Not, Short, Holds, Holds, Not, Not, Holds, Holds, Holds, Holds, Not, Holds, Short, Not, Holds],
        "{found:?}"
    );
    let reason = |part: &str| &found.iter().find(|f| f.0.contains(part)).expect("a claim").3;
    assert!(reason("ipsec-secgw").contains("no sources") && reason("VAES-256").contains("does not have avx512"));
    assert!(reason("clear remove").contains("form clear") && reason("remove, 2000 boxes").contains("boxes 2000"));
}

/// Where several instruction sets were measured, what is said of the path is of the best.
#[test]
fn the_best_instruction_set_counts_whatever_the_order() {
    let report =
        path_report(&[(&[("isa", "aesni")], 8.0), (&[("isa", "avx512")], 15.0), (&[("isa", "vaes256")], 12.0)]);
    let found = verdicts(&path::claims(), report);
    let figure =
        |part: &str| found.iter().find(|f| f.0.contains(part)).map(|f| (f.1, f.2.map(|v| (v * 100.0).round())));
    assert_eq!(figure("sealed add, of testpmd mac"), Some((Verdict::Holds, Some(50.0))));
    assert_eq!(figure("VAES-256"), Some((Verdict::Holds, Some(80.0))));
    assert_eq!(figure("AES-NI, of"), Some((Verdict::Holds, Some(53.0))));
}

/// What is claimed of the path is measured without further arguments.
#[test]
fn no_claim_about_the_path_asks_for_what_is_not_measured() {
    let args = crate::results::defaults::<crate::pipeline::PipelineArgs>().expect("defaults");
    let mut report = empty("pipeline");
    for labels in crate::pipeline::lines(&args) {
        report.push(&labels, Figure { median: 1.0, q1: 1.0, q3: 1.0 }, None);
    }
    let all = Isa::ALL.iter().all(|isa| isa.is_available());
    for (name, verdict, figure, reason) in verdicts(&path::claims(), report) {
        let lacking = !all && name.contains("AVX-512");
        assert!(lacking || verdict != Verdict::NotMeasured && figure == Some(1.0), "{name}: {reason}");
    }
}

#[test]
fn reports_are_taken_from_a_directory() {
    let dir = rig::Directory::scratch().expect("a directory");
    let args = |only: &str| ClaimsArgs { json: true, only: vec![only.into()], from: Some(dir.path().to_owned()) };
    assert!(run(&args("flow")).is_ok_and(|passed| passed), "nothing measured, so nothing falls short");
    let mut report = empty("flow");
    for (table, ns) in [("ours", 50.0), ("rte_hash", 40.0)] {
        let labels = [("flows", "1000000"), ("operation", "hit"), ("threads", "1"), ("table", table)];
        row(&mut report, &labels, ns);
    }
    std::fs::write(dir.path().join("flow.json"), serde_json::to_string(&report).expect("JSON")).expect("written");
    assert!(run(&args("flow")).is_ok_and(|passed| !passed), "slower than the peer");
    assert!(run(&args("nothing")).is_err_and(|e| e.to_string().contains("pipeline")));
}

#[test]
fn keeping_times_by_flow_against_leaving_them_out() {
    let mut report = empty("diagnostics");
    for (diagnostics, rates) in [("off", [10.0, 20.0]), ("on", [9.6, 18.0])] {
        for (action, rate) in ["remove", "add and remove"].into_iter().zip(rates) {
            let labels = [("action", action), ("flows", "1000"), ("answers", "1 in 4"), ("diagnostics", diagnostics)];
            row(&mut report, &labels, rate);
        }
    }
    let verdicts: Vec<_> = verdicts(&diagnostics::claims(), report).into_iter().map(|f| f.1).collect();
    use Verdict::{FallsShort, Holds, NotMeasured};
    assert_eq!(verdicts, [Holds, NotMeasured, FallsShort, NotMeasured]);
}
