//! Instructions counted one by one: `bench instructions-run` is stepped through.

use bench::instructions::steps;
use std::process::Command;

fn run(case: &str, bursts: usize) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.env_clear().args(["instructions-run", case, "--isa", "portable", "--stepped"]);
    command.args(["--bursts", &bursts.to_string()]);
    command
}

/// Every burst of the same work is the same number of instructions, to what packets differ by; the marks alone are few.
#[test]
fn each_burst_counts() {
    let [none, one, five] = [0, 1, 5].map(|bursts| match steps::count(&mut run("parse-plain", bursts)) {
        Ok(steps) => steps,
        Err(error) if format!("{error:#}").contains("may not be traced") => 0,
        Err(error) => unreachable!("{bursts} bursts: {error:#}"),
    });
    if five == 0 {
        eprintln!("this process may not trace another: nothing was counted");
        return;
    }
    assert!((1..5000).contains(&none), "{none} instructions between marks with nothing between them");
    let (first, each) = ((one - none) as f64, (five - none) as f64 / 5.0);
    // 32 packets, none of which is parsed by fewer than ten instructions.
    assert!(first > 320.0 && (first / each - 1.0).abs() < 0.2, "{none}, {one} and {five} instructions");
}

#[test]
fn what_ends_between_or_before_the_marks_is_told_with_what_it_said() {
    for (case, bursts, why) in [("no-such-case", 1, "there is no case"), ("parse-plain", 100_000, "at most")] {
        let error = steps::count(&mut run(case, bursts)).expect_err(case);
        assert!(format!("{error:#}").contains(why), "{case}: {error:#}");
    }
    let error = steps::count(&mut Command::new("true")).expect_err("makes no marks");
    assert!(format!("{error:#}").contains("before a mark"), "{error:#}");
}
