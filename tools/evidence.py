"""What the scripts of tests/reliability found, as Markdown: a sentence, the machine, a table."""

from collections.abc import Mapping
from typing import Any


def evidence_markdown(result: Mapping[str, Any]) -> str:
    """A part of docs/reliability.md.

    Args:
        result: what a script wrote: `what`, one sentence; `machine`, in words or with its `name`; `git`, the commit
            that was tried, if it is known; `rows`, whose keys are the columns.

    Example:
        >>> rows = [{"kills": 200, "same bits": True}, {"kills": 1000, "same bits": True, "share": 0.12345}]
        >>> made = {"machine": "a laptop", "git": {"commit": "c0ffee11"}}
        >>> print(evidence_markdown({"what": "Killed and resumed.", "rows": rows} | made))
        Killed and resumed. Made on: a laptop, commit c0ffee1.
        <BLANKLINE>
        | kills | same bits | share |
        |---|---|---|
        | 200 | yes |  |
        | 1,000 | yes | 0.1235 |
    """
    columns = list(dict.fromkeys(key for row in result["rows"] for key in row))
    what, machine = str(result["what"]).rstrip("."), result["machine"]
    name = machine["name"] if isinstance(machine, Mapping) else machine
    commit = f", commit {git['commit'][:7]}" if (git := result.get("git")) else ""
    lines = [f"{what}. Made on: {name}{commit}.", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [f"| {' | '.join(_cell(row.get(column)) for column in columns)} |" for row in result["rows"]]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.4g}"
        case list():
            return ", ".join(map(_cell, value))
    return " ".join(str(value).replace("|", "\\|").split())
