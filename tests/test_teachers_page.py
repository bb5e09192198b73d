"""The teacher's page fits the notebooks: minutes, links, commands."""

import re
from pathlib import Path

import nbformat
import pytest

from mgpp.lab.cli import main

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "notebooks" / "workshop" / "README.md"
TEXT = PAGE.read_text(encoding="utf-8")
SOURCES = sorted((PAGE.parent / "source").glob("*.ipynb"))


def section(heading):
    return re.search(rf"^## {heading}.*?(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)[0]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_timetable_covers_the_session_without_gaps(number):
    text = section(f"Session {number}:")
    slots = [(int(a), int(b)) for a, b in re.findall(r"^\| (\d+)–(\d+) \|", text, re.MULTILINE)]
    assert slots[0][0] == 0
    assert [end for _, end in slots[:-1]] == [begin for begin, _ in slots[1:]]
    source = nbformat.read(SOURCES[number - 1], as_version=4)
    minutes = int(re.search(r"\*\*(\d+) minutes:\*\*", source.cells[0].source)[1])
    assert slots[-1][1] == minutes == int(re.search(r"\((\d+) minutes\)", text)[1])
    assert f"| {number} | {minutes} |" in TEXT


def test_every_exercise_has_its_minutes():
    for number, path in enumerate(SOURCES, start=1):
        source = nbformat.read(path, as_version=4)
        count = sum("exercise" in cell.metadata.get("tags", []) for cell in source.cells)
        named = set(re.findall(r"\d", " ".join(re.findall(r"exercises? [\d and]+", section(f"Session {number}:")))))
        assert named == {str(exercise) for exercise in range(1, count + 1)}


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#\s]+)", TEXT):
        assert link.startswith("https://") or (PAGE.parent / link).exists(), link


def test_commands_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`make ([a-z]+)`", TEXT):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for command in re.findall(r"\bmgpp ([a-z]+)", TEXT):
        assert command in main.commands, command


def test_a_dozen_questions_are_answered_in_order():
    numbers = [int(n) for n in re.findall(r"^(\d+)\. \*\*.+?\?.*?\*\* \S", section("Questions that"), re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 12
