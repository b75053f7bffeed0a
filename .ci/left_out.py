#!/usr/bin/env python3
# A table: the steps of the nonce promise, each with an edit that leaves it out and the test that then fails.
"""Leaves out each step of the nonce promise (docs/architecture.md) in a copy of the tree, and sees that its test fails.

Usage: .ci/left_out.py [WORD...]: the steps whose names have one of these words, all by default. In target/left-out; a step
takes half a minute or so. docs/testing.md says what was seen. Exit 1 when a step can be left out and its test passes, or is not there.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PLACE = ROOT / "target" / "left-out"
TREE = PLACE / "tree"
UNIT = "cargo test -p pipeline --no-default-features --lib --config profile.dev.debug=false --config profile.dev.package.pipeline.opt-level=0 --"
SENDER = "cargo test -p protocol --lib --"
LOOM = "cargo test --profile loom -p pipeline --no-default-features --lib --"

AUDIT = "audit::the_audit"
RECORD = "pipeline/src/flow/record.rs"
TABLE = "pipeline/src/flow/table.rs"
INDEX = "pipeline/src/flow/index.rs"
LANES = "pipeline/src/lanes/portable.rs"
WIDE = "pipeline/src/lanes/wide/outbound.rs"
CHOOSING = "pipeline/src/outbound/choosing.rs"

# name, the step that is left out, file, (what stands there, what stands there without it[, in which other file])…, command, test
STEPS = [
    ("number", "who takes a number writes the next one", RECORD,
     [("            self.meter.set_next(numbers.index, numbers.psntp);\n        } else {", "        } else {")], UNIT, AUDIT),
    ("number-lanes", "the lanes write the next number", "pipeline/src/lanes/mod.rs",
     [("store(word.wrapping_add(ONE_MORE)", "store(word")], UNIT, AUDIT),
    ("kri-end", "behind place 32766 the next Kri begins", "protocol/src/sender.rs",
     [("if self.index >= PLACES {", "if self.index > PLACES {")], SENDER, "sender::"),
    ("kri-end-lanes", "no burst in the lanes crosses a Kri", "pipeline/src/lanes/record.rs",
     [("VALUES - packets as u16", "VALUES + packets as u16")], UNIT, "a_kri_ends"),
    ("unkeyed", "a key goes with its numbers: what begins a Kri or generation takes it from the lanes", RECORD,
     [("            self.front.unkey();\n            self.set", "            self.set")], UNIT, "record::tests"),
    ("key-name", "a key is used under its own Kri only", RECORD,
     [("|| (end >> 32) as u32 != kri {", "{")], UNIT, AUDIT),
    ("key-generation", "the lanes use no key of another generation than the numbers", RECORD,
     [("let of_it = form != Form::Encrypted || id.generation() == numbers.generation;",
       "let of_it = form != Form::Encrypted || id.generation() != 0;")], UNIT, "record::tests"),
    ("exhausted", "behind the last Kri there is no number", "protocol/src/sender.rs",
     [("self.kri.checked_add(1).ok_or(NoNumber::Exhausted)?", "self.kri.wrapping_add(1)")], SENDER, "sender::"),
    ("older-generation", "a worker with an older ring does not seal", "protocol/src/sender.rs",
     [("if generation < self.generation {", "if false {")], SENDER, "sender::"),
    ("clear", "options in clear take numbers of the same row", RECORD,
     [("None => numbers.take_in_clear(),", "None => Numbers::start(0, 9).take_in_clear(),")], UNIT, "in_clear"),
    ("order", "a flow that returns has the order of PRSEQ that it had", "pipeline/src/state/shared.rs",
     [("PrseqKey::derive(&self.master, fingerprint,",
       "PrseqKey::derive(&self.master, fingerprint ^ u128::from(flow.owner()),")], UNIT, AUDIT),
    ("owner-lanes", "the lanes number only what this worker owns", LANES,
     [("== held_by(view.me, s.form);", "& !0xFFFF == held_by(0, s.form);"),
      ("let mine = eq(and(owner, but_f), word(held_by(view.me, s.form)));",
       "let mine = eq(and(owner, word(!(u32::from(flags::F) << 16 | 0xFFFF))), word(held_by(0, s.form)));", WIDE)], UNIT, AUDIT),
    ("owner-known", "the short path beside the lanes numbers only what this worker owns", CHOOSING,
     [("&& flow.back.is(&quick.words) && flow.owner() == burst.me)", "&& flow.back.is(&quick.words))")], UNIT, AUDIT),
    ("owner-slow", "the slow way numbers only what this worker owns", CHOOSING,
     [("        Not::unless_owned(flow, burst.me)?;\n    }", "        let _ = flow;\n    }"),
      ("    Not::unless_owned(flow, burst.me)?; // another", "    // another")], UNIT, AUDIT),
    ("owner-new", "and what it wanted to insert and another has inserted before is not its own", CHOOSING,
     [("    Not::unless_owned(flow, burst.me)?; // another", "    // another")], UNIT, "between"),
    ("owner-first", "a packet that passes for a reason of its own is handed over first", CHOOSING,
     [("        Not::unless_owned(flow, burst.me)?;\n    }", "        let _ = flow;\n    }")], UNIT, "hand_over"),
    ("give-release", "the owner is stored with release", RECORD,
     [("held & !OWNER | u64::from(to), Ordering::Release", "held & !OWNER | u64::from(to), Ordering::Relaxed")],
     LOOM, "loom_a_flow_is_given_away"),
    ("owner-acquire", "the owner is loaded with acquire", RECORD,
     [("self.held.load(Ordering::Acquire) as u16", "self.held.load(Ordering::Relaxed) as u16")],
     LOOM, "loom_a_flow_is_given_away"),
    ("give-name", "who is given a flow takes no other worker's word for it", RECORD,
     [("        self.vouched.store(0, Ordering::Relaxed);\n        let held", "        let held")], UNIT, "record::tests"),
    ("give-own", "only an owner gives a flow away, and only once", "pipeline/src/outbound/owning.rs",
     [("if usize::from(flow.owner()) == self.index && is_due(flow.taken_over(), to) {", "{")], UNIT, "hand_over"),
    ("give-late", "a burst is sent before its flows are given away", "pipeline/src/worker.rs",
     [("    let counters = &*worker.counters;\n    dispatch(counters, &counters.outbound, &mut HandOver::alone()",
       "    worker.give_away(from);\n    let counters = &*worker.counters;\n    dispatch(counters, &counters.outbound, &mut HandOver::alone()"),
      ("    }\n    worker.give_away(from);\n}", "    }\n}")], UNIT, "hand_over"),
    ("noted", "a flow whose packets were handed over leaves the lanes, so that its owner's own are noted", RECORD,
     [("held | if note == 0 { 0 } else { NOTED }", "held")], UNIT, "record::tests"),
    ("not-handed-on", "what was handed over is not handed on", "pipeline/src/outbound/mod.rs",
     [("Err(Not::Of(owner)) if self.taken_from.is_none() =>", "Err(Not::Of(owner)) if owner != self.me =>")],
     UNIT, "hand_over"),
    ("leaving", "a flow that leaves is not found", INDEX,
     [("const LEAVING: u64 = 4 << 61;", "const LEAVING: u64 = 2 << 61;")], UNIT, "table::tests"),
    ("leaving-new", "nor inserted anew", INDEX,
     [("LEAVING => return Found::Leaving,", "LEAVING => {}"), ("LEAVING => return Some(Rival::Leaving),", "LEAVING => return None,")],
     UNIT, "table::tests"),
    ("grace", "its numbers are read behind a grace period", TABLE,
     [("|(grace, _)| self.quiescence.has_passed(grace)", "|_| true")], LOOM, "loom_a_flow_"),
    ("burst-announced", "a worker announces its bursts", "pipeline/src/outbound/mod.rs",
     [("        epoch.enter();\n        let snapshot = look", "        let snapshot = look")], UNIT, "between"),
    ("tombstone", "what a flow had is kept", TABLE,
     [("if matters && !table.tombstones", "if false && matters && !table.tombstones")], UNIT, AUDIT),
    ("tombstone-first", "before the flow may be inserted again", TABLE,
     [("        let matters = sender", "        table.index.remove(hash, record);\n        let matters = sender")],
     LOOM, "loom_a_flow_comes_back"),
    ("tombstone-none", "a flow without a tombstone stays", TABLE,
     [("            self.kept_for_lack_of_tombstones += 1;\n            return;", "            self.kept_for_lack_of_tombstones += 1;")],
     UNIT, "table::tests"),
    ("return", "who inserts a flow that was here goes on behind it", TABLE,
     [("init(flow, fingerprint, self.tombstones.find(fingerprint))", "init(flow, fingerprint, None)")], UNIT, AUDIT),
    ("cleared", "a record is overwritten before another flow gets it", TABLE,
     [("        table.index.remove(hash, record);\n        flow.clear();", "        table.index.remove(hash, record);")],
     UNIT, "table::tests"),
    ("begun-first", "a flow's numbers and owner are written before others find it", INDEX,
     [("            init();\n            let live", "            let live"),
      ("                if self.is_third(free, hash) {\n                    self.thirds.fetch_add",
       "                init();\n                if self.is_third(free, hash) {\n                    self.thirds.fetch_add")],
     LOOM, "loom_a_flow_comes_back"),
    ("rivals", "of two who insert a flow one withdraws", INDEX,
     [("if let Some(other) = self.rivals(records, hash, key, free) {",
       "if let Some(other) = self.rivals(records, hash, key, free).filter(|_| false) {")], LOOM, "index::"),
    ("claim-first", "each claims before it reads, a full fence between", INDEX,
     [("            fence(Ordering::SeqCst);\n            if let Some(other)", "            if let Some(other)")],
     LOOM, "index::"),
    ("ring-once", "what is left in a ring is dealt with by whoever leaves second", "pipeline/src/state/hand_over.rs",
     [("self.left.swap(true, Ordering::AcqRel)", "{ let left = self.left.load(Ordering::Acquire); "
       "self.left.store(true, Ordering::Release); left }")], LOOM, "hand_over::"),
]


def copy():
    """Brings the copy up to date. What did not change keeps its time, so that cargo compiles little."""
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in files.stdout.splitlines():
        source, target = ROOT / name, TREE / name
        if not source.is_file() or (target.is_file() and target.read_bytes() == source.read_bytes()):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def run(command, test):
    """Whether tests ran and failed, and what was said."""
    flags = {"RUSTFLAGS": "--cfg loom -Awarnings"} if command == LOOM else {"RUSTFLAGS": "-Awarnings"}
    target = PLACE / ("loom" if command == LOOM else "build")
    environment = {**os.environ, **flags, "CARGO_TARGET_DIR": str(target)}
    child = subprocess.Popen([*command.split(), test], cwd=TREE, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True, start_new_session=True)
    try:
        said, _ = child.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        # The tests are cargo's children: they end with its group.
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        return True, True, "test it (hangs) ... FAILED"
    ran = sum(map(int, re.findall(r"running (\d+) test", said)))
    return ran > 0, child.returncode != 0, said


def leave_out(file, edits):
    for old, new, *other in edits:
        path = TREE / (other[0] if other else file)
        text = path.read_text()
        if text.count(old) != 1:
            return f"{path.name} has this {text.count(old)} times: {old.strip()}"
        path.write_text(text.replace(old, new))
    return None


def main():
    words = sys.argv[1:]
    copy()
    bad = 0
    for name, step, file, edits, command, test in STEPS:
        if words and not any(word in name for word in words):
            continue
        wrong = leave_out(file, edits)
        if wrong is None:
            ran, failed, said = run(command, test)
            failures = sorted(set(re.findall(r"^test (\S+).*\.\.\. FAILED$", said, re.M)))
            if not ran:
                wrong = "did not compile, or no such test\n" + said[-1500:]
            elif not failed:
                wrong = f"left out, and {test} passes"
        copy()
        bad += wrong is not None
        print(f"{name}: {step}: " + (f"WRONG: {wrong}" if wrong else "seen by " + ", ".join(failures[:4]) if failures else "seen"), flush=True)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
