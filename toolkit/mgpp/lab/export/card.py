"""Write the model card: what was pruned, how, on what data, how well it does, how to load it."""

import math
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import yaml
from huggingface_hub import ModelCard, ModelCardData

from mgpp.lab.tasks import TASKS
from mgpp.runs import Run

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
LICENSES = {  # of the models that our recipes start from, by their names on the hub
    MINILM: "apache-2.0",
    "google-bert/bert-base-uncased": "apache-2.0",
    "microsoft/deberta-v3-base": "mit",
    "facebook/bart-base": "apache-2.0",
    "facebook/bart-large": "apache-2.0",
    "openai-community/gpt2": "mit",
}


def write_card(folder: Path, run: Run, facts: Mapping[str, Any], model_class: str) -> None:
    """Write README.md, the model card of an export.

    What comes from the run stands in code spans and code blocks, which its text can't end.

    Args:
        folder: of the export.
        run: that was exported.
        facts: `targets`, `zeros` and `bytes`, as in the record.
        model_class: the class of transformers that loads the model.
    """
    recipe = without_folders(run.recipe)
    card = ModelCard.from_template(
        _front_matter(run),
        template_str=files(__package__).joinpath("card.md").read_text(encoding="utf-8"),
        code=code,
        prod=math.prod,
        run=run,
        recipe=recipe,
        recipe_block=fenced(yaml.safe_dump(recipe, sort_keys=False), "yaml"),  # in ASCII: no letter hides another
        total=sum(math.prod(row["shape"]) for row in facts["targets"]),
        model_class=model_class,
        **facts,
    )
    card.save(folder / "README.md")


def _front_matter(run: Run) -> ModelCardData:
    """Return what the hub reads: only values that are known by name."""
    model, task = str(run.recipe.get("model")), str(run.recipe.get("task"))
    model = MINILM if model == "minilm" else model
    data = TASKS[task].hub_name if task in TASKS else None
    return ModelCardData(
        library_name="transformers",
        license=LICENSES.get(model),
        base_model=model if model in LICENSES else None,
        datasets=[data] if data and run.recipe.get("data") is None else None,
        metrics=[run.metric] if re.fullmatch(r"[a-z][a-z0-9_]{1,30}", str(run.metric)) else None,
        tags=["mgpp", "pruned", "sparse", "unstructured-sparsity"],
    )


def without_folders(value: Any) -> Any:
    """Return nested data with folders of this machine cut to their last name.

    Example:
        >>> without_folders({"model": "/home/ada/models/mine", "data": "hub/name"})
        {'model': 'mine', 'data': 'hub/name'}
    """
    if isinstance(value, Mapping):
        return {key: without_folders(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_folders(each) for each in value]
    if isinstance(value, str) and (PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()):
        return PureWindowsPath(value).name  # takes both kinds of slashes
    return value


def code(value: Any) -> str:
    r"""Return any value as a code span that can't end early, nor end a table's cell.

    Example:
        >>> print(code("a`<b>|\nc"))
        `a?<b>??c`
        >>> print(code(None))
        –
    """
    text = "".join(letter if letter.isprintable() and letter not in "`|" else "?" for letter in str(value)[:200])
    return "–" if value is None or not text.strip() else f"`{text.strip()}`"


def fenced(text: str, language: str) -> str:
    """Return text as a code block, whose fence is longer than any row of backticks in it.

    Example:
        >>> print(fenced("a: 1", "yaml"))
        ```yaml
        a: 1
        ```
    """
    longest = max((len(row) for row in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
