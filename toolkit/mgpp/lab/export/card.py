"""The model card: what was pruned, how, on what data, how well it does, how to load it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import yaml

from mgpp.lab.export.checkpoint import read_json
from mgpp.runs import Run

# The hub's names and licences of what our recipes start from.
BASE_MODELS = {
    "minilm": ("sentence-transformers/all-MiniLM-L6-v2", "apache-2.0"),
    "google-bert/bert-base-uncased": ("google-bert/bert-base-uncased", "apache-2.0"),
    "microsoft/deberta-v3-base": ("microsoft/deberta-v3-base", "mit"),
    "facebook/bart-base": ("facebook/bart-base", "apache-2.0"),
    "facebook/bart-large": ("facebook/bart-large", "apache-2.0"),
    "openai-community/gpt2": ("openai-community/gpt2", "mit"),
}
DATA_SETS = {
    "squad": "rajpurkar/squad",
    "squad-v2": "rajpurkar/squad_v2",
    "xsum": "EdinburghNLP/xsum",
    "cnn-dailymail": "abisee/cnn_dailymail",
}
SPEED = (
    "The zeros are scattered over the matrices. A dense kernel multiplies them like other numbers, so that this model "
    "is not faster than the dense one; what is gained is room on disk where it is packed, and what can be learned from "
    "which weights remain."
)

UNKNOWN = "AutoModel"  # loads a model of any class, without its head
LOADING = """A plain export (`model.safetensors`) loads without the toolkit:

```python
from transformers import ARCHITECTURE, AutoTokenizer

model = ARCHITECTURE.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
```

A packed one (`model.packed.safetensors`) is unpacked first, `mgpp unpack FOLDER --to PLAIN-FOLDER`"""

IN_MEMORY = """, or in memory:

```python
import mgpp
from transformers import ARCHITECTURE, AutoConfig

config = AutoConfig.from_pretrained("FOLDER")
weights = mgpp.load_packed("FOLDER")
model = ARCHITECTURE.from_pretrained(None, config=config, state_dict=weights)
```"""


def write_card(folder: Path, run: Run, facts: Mapping[str, Any]) -> None:
    """Write README.md for an export.

    Args:
        folder: of the export, with its config.json.
        run: that was exported.
        facts: `targets`, `zeros` and `bytes`, as the export's record holds them.
    """
    (folder / "README.md").write_text(card(run, facts, _architecture(folder)), encoding="utf-8")


def _architecture(folder: Path) -> str:
    """The class of transformers that loads the model."""
    names = read_json(folder / "config.json").get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    return name if isinstance(name, str) and re.fullmatch(r"[A-Z][A-Za-z0-9]{3,60}", name) else UNKNOWN


def _loading(architecture: str) -> str:
    """How the model is loaded; a class that is not known can't be given weights."""
    text = f"{LOADING}." if architecture == UNKNOWN else LOADING + IN_MEMORY
    return text.replace("ARCHITECTURE", architecture)


def card(run: Run, facts: Mapping[str, Any], architecture: str) -> str:
    """The text of a model card. What comes from the run stands in code spans, code blocks or escaped YAML."""
    total = sum(_size(row["shape"]) for row in facts["targets"])
    parts = [
        f"---\n{_yaml(_front_matter(run))}---",
        f"# {code(run.name)}",
        f"{code(nowhere(run.recipe.get('model')))}, fine-tuned on the task {code(run.recipe.get('task'))} and pruned "
        f"with the method {code(run.method)} of the MGPP toolkit: {facts['zeros']:,} of {total:,} weights of the "
        f"{len(facts['targets'])} pruned matrices are exactly 0, {facts['zeros'] / max(total, 1):.2%}.",
        "## How well it does",
        _table(["metric", "value", "± standard error"], _metrics(run)),
        _examples(run),
        "## Speed and size",
        SPEED,
        _sizes(facts["bytes"]),
        "## How to load it",
        _loading(architecture),
        "## Sparsity by matrix",
        _table(["matrix", "layer", "kind", "shape", "zeros", "sparsity"], _layers(facts["targets"])),
        "## Recipe",
        fenced(_yaml(nowhere(run.recipe)), "yaml"),
        "## Where it comes from",
        _table(["what", "which"], _origin(run)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def nowhere(value: Any) -> Any:
    """A value, or nested ones, with folders of this machine by their last name alone: whoever reads the card has none.

    Example:
        >>> nowhere({"model": "/home/ada/models/mine", "data": "hub/name"})
        {'model': 'mine', 'data': 'hub/name'}
    """
    if isinstance(value, Mapping):
        return {key: nowhere(each) for key, each in value.items()}
    if isinstance(value, list):
        return [nowhere(each) for each in value]
    if isinstance(value, str) and (PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()):
        return PureWindowsPath(value).name  # takes both kinds of slashes
    return value


def code(value: Any) -> str:
    r"""Any value as a code span that can't end early: no backticks, new lines, or bars that would cut a table's cell.

    Example:
        >>> print(code("a`<b>|\nc"))
        `a?<b>??c`
        >>> print(code(None))
        –
    """
    text = "".join(letter if letter.isprintable() and letter not in "`|" else "?" for letter in str(value)[:200])
    return "–" if value is None or not text.strip() else f"`{text.strip()}`"


def fenced(text: str, language: str) -> str:
    """Text as a code block, whose fence is longer than any row of backticks in it.

    Example:
        >>> print(fenced("a: 1", "yaml"))
        ```yaml
        a: 1
        ```
    """
    longest = max((len(row) for row in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _yaml(data: Any) -> str:
    """YAML in ASCII, so that no letter changes the direction of the text or hides."""
    return yaml.safe_dump(data, sort_keys=False, default_flow_style=False, allow_unicode=False)


def _front_matter(run: Run) -> dict[str, Any]:
    """What the hub reads; only values that are known by name."""
    base, licence = BASE_MODELS.get(str(run.recipe.get("model")), (None, None))
    task = str(run.recipe.get("task"))
    data = "nyu-mll/glue" if re.fullmatch(r"glue-[a-z0-9]+", task) else DATA_SETS.get(task)
    matter = {
        "library_name": "transformers",
        "license": licence,
        "base_model": base,
        "datasets": [data] if data and run.recipe.get("data") is None else None,
        "metrics": [run.metric] if re.fullmatch(r"[a-z][a-z0-9_]{1,30}", str(run.metric)) else None,
        "tags": ["mgpp", "pruned", "sparse", "unstructured-sparsity"],
    }
    return {key: value for key, value in matter.items() if value is not None}


def _metrics(run: Run) -> Iterable[Sequence[str]]:
    for name, value in run.final.items():
        counts = name in ("n", "zeros", "sparsity") or name.endswith("_se")
        if not counts and isinstance(value, int | float):
            error = run.final.get(f"{name}_se")
            yield code(name), f"{value:.4g}", f"{error:.2g}" if isinstance(error, int | float) else "–"


def _examples(run: Run) -> str:
    counts = run.info.get("examples")
    if not isinstance(counts, dict):
        return ""
    return "Examples: " + ", ".join(f"{code(split)} {code(count)}" for split, count in counts.items()) + "."


def _sizes(size: Mapping[str, int]) -> str:
    rows = [
        (what, f"{size[f'{key}_dense']:,}", f"{size[f'{key}_packed']:,}", _share(size, key))
        for what, key in (("the pruned matrices", "targets"), ("the whole model", "model"))
    ]
    return _table(["bytes of", "dense", "packed", "packed / dense"], rows)


def _share(size: Mapping[str, int], key: str) -> str:
    return f"{size[f'{key}_packed'] / max(size[f'{key}_dense'], 1):.1%}"


def _layers(targets: Sequence[Mapping[str, Any]]) -> Iterable[Sequence[str]]:
    for row in targets:
        count = _size(row["shape"])
        shape = " × ".join(str(size) for size in row["shape"])
        sparsity = f"{row['zeros'] / max(count, 1):.2%}"
        yield code(row["name"]), code(row["layer"]), code(row["kind"]), shape, f"{row['zeros']:,}", sparsity


def _origin(run: Run) -> Iterable[Sequence[str]]:
    hashes, versions, git = (_mapping(run.info.get(key)) for key in ("sha256", "versions", "git"))
    yield "model, sha256 of its weights", code(hashes.get("model"))
    yield "data", code(nowhere(run.recipe.get("data") or run.recipe.get("task")))
    yield "data, sha256", code(hashes.get("data"))
    yield "seed", code(run.info.get("seed"))
    changed = ", with changes" if git.get("changed") else ""
    yield "commit of the toolkit", code(git.get("commit")) + changed
    yield from ((f"version of {code(name)}", code(version)) for name, version in versions.items())


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _size(shape: Sequence[int]) -> int:
    size = 1
    for each in shape:
        size *= each
    return size


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
