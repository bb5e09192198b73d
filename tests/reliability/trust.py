"""A long search for strange files that a reader stumbles over, and what is known of the pinned packages' holes.

    python tests/reliability/trust.py [--examples 1000] [--out data/reliability/trust.json]

Every kind of file of tests/fuzzing.py is tried in a process of its own, so that a crash of the interpreter counts too.
pip-audit is asked if it is installed, on the PATH or as named by the variable PIP_AUDIT.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from findings import parser_of, write
from fuzzing import FUZZED
from hypothesis import HealthCheck, given, settings

ROOT = Path(__file__).parents[2]


def try_many(what: str, examples: int) -> dict:
    """Try one kind of strange file; how many were read, how many refused, and what went wrong, if something did."""
    strategy, check = FUZZED[what]
    counts, slowest = {True: 0, False: 0}, 0.0

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def try_one(given_to_read):
        nonlocal slowest
        begin = time.perf_counter()
        counts[check(given_to_read)] += 1
        slowest = max(slowest, time.perf_counter() - begin)

    found = ""
    try:
        try_one()
    except BaseException as error:
        found = f"{type(error).__name__}: {error}"[:300]
    return {
        "tried": sum(counts.values()),
        "read": counts[True],
        "refused": counts[False],
        "slowest": slowest,
        "bug": found,
    }


def in_own_process(what: str, examples: int) -> dict:
    """A row of the evidence."""
    context = multiprocessing.get_context("fork")  # what was imported need not be again
    results = context.SimpleQueue()
    process = context.Process(target=lambda: results.put(try_many(what, examples)))
    process.start()
    process.join()
    crash = {"read": 0, "refused": 0, "slowest": 0.0, "bug": f"the process ended with {process.exitcode}"}
    found = crash if results.empty() else results.get()
    return {
        "strange files": what,
        "tried": found["read"] + found["refused"],
        "read": found["read"],
        "refused with a clear error": found["refused"],
        "other errors": found["bug"] or 0,
        "slowest, s": round(found["slowest"], 2),
    }


def audit() -> dict:
    """What pip-audit knows of the pins, and of how many of them it knows anything."""
    row = {"strange files": "pins in constraints.txt, by pip-audit"}
    tool = os.environ.get("PIP_AUDIT", "pip-audit")
    words = [tool, "-r", str(ROOT / "constraints.txt"), "--no-deps", "--disable-pip", "-f", "json"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)
        packages = json.loads(done.stdout)["dependencies"]
    except FileNotFoundError:
        return row | {"note": "pip-audit is not installed"}
    except (ValueError, subprocess.TimeoutExpired):
        return row | {"note": "pip-audit reached no service of known vulnerabilities"}
    known = [package for package in packages if "skip_reason" not in package]
    holes = [f"{package['name']}: {hole['id']}" for package in known for hole in package["vulns"]]
    if not known:
        return row | {"tried": len(packages), "note": "pip-audit reached no service that knows any of these packages"}
    return row | {"tried": len(known), "note": ", ".join(holes) or "no known vulnerabilities"}


def main() -> None:
    """Write the evidence."""
    parser = parser_of(__file__, __doc__)
    parser.add_argument("--examples", type=int, default=1000)
    options = parser.parse_args()
    rows = []
    for what in FUZZED:
        rows.append(in_own_process(what, options.examples))
        print(rows[-1], file=sys.stderr, flush=True)
    rows.append(audit())
    print(rows[-1], file=sys.stderr)
    what = (
        "Strange and damaged files, made by hypothesis, given to the readers: each must be read, or refused with the "
        "documented error, which names the file or the field"
    )
    write(options.out, what, rows)


if __name__ == "__main__":
    main()
