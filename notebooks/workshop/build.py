"""Make the workshop's student copies and executed solutions from source/: python notebooks/workshop/build.py

A source notebook is a complete, tagged solution. In a code cell tagged `exercise`, a line that ends in `# hole: <hint>`
is a hole: the student's copy holds three dots instead of its right-hand side. A text cell tagged `solution` appears in
the solutions only. Building twice gives the same bytes.
"""

import ast
import copy
import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

HERE = Path(__file__).resolve().parent
HOLE = re.compile(r"^(?P<left>\s*(?:return|[^=#]+? [+*/-]?=)) (?P<right>.+?)  # hole: (?P<hint>.+)$")
RAISE = 'raise NotImplementedError("Fill the holes, then delete this line.")'
# encrypting the channel to the kernel also spares its warning about the lack of it
QUIET = Config({"KernelManager": {"transport_encryption": "required"}})


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return cell.metadata.get("tags", [])


def holes(source: str) -> list[re.Match[str]]:
    """The holes of an exercise, with the groups left, right and hint.

    Raises:
        ValueError: if a line is marked as a hole but has no right-hand side of its own.
    """
    marked = [line for line in source.splitlines() if "# hole" in line]
    found = [HOLE.match(line) for line in marked]
    for line, hole in zip(marked, found, strict=True):
        if hole is None:
            raise ValueError(
                f"{line.strip()!r} is no hole; write `name = value  # hole: hint` or `return value  # ...`"
            )
    return [hole for hole in found if hole]


def stub(source: str) -> str:
    """An exercise as students get it: holes instead of answers, and an error until they are filled."""
    if not holes(source):
        raise ValueError(f"an exercise without a hole: {source.splitlines()[0]!r}; mark one with `# hole: hint`")
    lines = [HOLE.sub(r"\g<left> ...  # hole: \g<hint>", line) for line in source.splitlines()]
    function = ast.parse(source).body[-1]
    if not isinstance(function, ast.FunctionDef):
        raise ValueError(f"an exercise ends with its function; this one with {lines[-1]!r}")
    first = function.body[1 if ast.get_docstring(function) else 0]
    lines.insert(first.lineno - 1, " " * first.col_offset + RAISE)
    return "\n".join(lines)


def student_copy(source: NotebookNode) -> NotebookNode:
    """Stubs instead of exercises, no solution texts, no outputs."""
    notebook = copy.deepcopy(source)
    notebook.cells = [cell for cell in notebook.cells if "solution" not in tags(cell)]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
            if "exercise" in tags(cell):
                cell.source = stub(cell.source)
    return notebook


def solved_copy(source: NotebookNode, folder: Path) -> NotebookNode:
    """The source, executed in `folder`, without what differs from one execution to the next.

    Raises:
        ValueError: if a cell writes warnings or errors.
    """
    notebook = copy.deepcopy(source)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(
        notebook, timeout=300, record_timing=False, coalesce_streams=True, resources=resources, config=QUIET
    ).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                raise ValueError(f"{cell.id} warns, which students should not see:\n{output.text}")
    return notebook


def text_of(notebook: NotebookNode) -> str:
    """A valid notebook as text, without what the kernel added to its metadata."""
    notebook = copy.deepcopy(notebook)
    notebook.metadata = {"kernelspec": notebook.metadata.kernelspec, "language_info": {"name": "python"}}
    nbformat.validate(notebook)
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def build(sources: Path = HERE / "source", out: Path = HERE) -> None:
    """Write student/ and solutions/ below `out`; all paths in the notebooks are relative to a folder at this depth."""
    for path in sorted(sources.glob("*.ipynb")):
        source = nbformat.read(path, as_version=4)
        copies = {"student": student_copy(source), "solutions": solved_copy(source, path.parent)}
        for folder, notebook in copies.items():
            (out / folder).mkdir(parents=True, exist_ok=True)
            (out / folder / path.name).write_text(text_of(notebook), encoding="utf-8")
        print(f"{path.stem}: student's copy and solution")


if __name__ == "__main__":
    build()
