"""What the scripts here have in common: the file that each writes, and what stands in it."""

import argparse
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mgpp.lab.training.provenance import git_commit

ROOT = Path(__file__).parents[2]


def parser_of(script: str, doc: str | None) -> argparse.ArgumentParser:
    """A command line that knows where the findings of a script go."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    default = ROOT / "data" / "reliability" / f"{Path(script).stem}.json"
    parser.add_argument("--out", type=Path, default=default, help="default: %(default)s")
    return parser


def write(out: Path, what: str, rows: Sequence[dict[str, Any]]) -> None:
    """Write a table with the sentence above it, the machine, and the commit that was tried."""
    facts = {"what": what, "machine": machine(), "git": git_commit(), "rows": list(rows)}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def machine() -> str:
    """Processor and versions."""
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{platform.machine()}, {os.cpu_count()} cores, {versions}"
