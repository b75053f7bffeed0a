"""What the checks found: a line each as it is known, a table at the end, and all of it as JSON."""

import json
import sys
import time
from pathlib import Path


class Report:
    """Collects results. A check is `ok`, `bad`, or left out with a reason."""

    def __init__(self):
        self.model, self.results, self.begin = "", [], time.monotonic()

    def _add(self, outcome: str, what: str, figure: str) -> None:
        self.results.append({"nic": self.model, "check": what, "outcome": outcome, "figure": figure})
        print(f"{outcome:8} {self.model:8} {what:34} {figure}", flush=True)

    def ok(self, what: str, figure: str) -> None:
        """What must hold holds."""
        self._add("ok", what, figure)

    def bad(self, what: str, figure: str) -> None:
        """It does not."""
        self._add("BAD", what, figure)

    def left_out(self, what: str, why: str) -> None:
        """It was not looked at."""
        self._add("left out", what, why)

    def must(self, what: str, holds: bool, figure: str) -> None:
        """One of both."""
        (self.ok if holds else self.bad)(what, figure)

    def say(self, text: str) -> None:
        """What goes on."""
        print(f"--- {time.monotonic() - self.begin:5.0f} s  {text}", file=sys.stderr, flush=True)

    @property
    def failed(self) -> int:
        """How many do not hold."""
        return sum(result["outcome"] == "BAD" for result in self.results)

    def write(self, file: Path, about: dict) -> None:
        """Everything, for machines."""
        file.write_text(json.dumps({**about, "results": self.results}, indent=1) + "\n")
