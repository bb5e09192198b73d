"""Evidence as tables: nothing is lost, and no cell breaks the table."""

import json
from pathlib import Path

import pytest

from tools.evidence import evidence_markdown

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "data" / "reliability").glob("*.json"))


def rows(text):
    """The cells of a table, line by line."""
    return [
        [cell.strip() for cell in line[1:-1].replace("\\|", "¦").split("|")]
        for line in text.splitlines()
        if line[:1] == "|"
    ]


def test_columns_are_those_of_all_rows_in_their_order():
    table = rows(
        evidence_markdown({"what": "x", "machine": "m", "rows": [{"a": 1, "b": None}, {"c": 0.5, "a": False}]})
    )
    assert table == [["a", "b", "c"], ["---"] * 3, ["1", "", ""], ["no", "", "0.5"]]


def test_no_cell_breaks_the_table():
    strange = {"said": "one | two\nthree", "list": [1, "x|y"]}
    table = rows(evidence_markdown({"what": "x.", "machine": "m", "rows": [strange]}))
    assert table[-1] == ["one ¦ two three", "1, x¦y"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_is_committed_can_be_rendered_and_names_its_script(file):
    result = json.loads(file.read_text(encoding="utf-8"))
    widths = {len(row) for row in rows(evidence_markdown(result))}
    assert len(widths) == 1
    assert len(rows(evidence_markdown(result))) == 2 + len(result["rows"])
    assert (ROOT / "tests" / "reliability" / f"{file.stem}.py").is_file()
