"""What a stranger's files may hold, as hypothesis strategies, and what each reader may do with it: read, or refuse.

`FUZZED` maps a name to a strategy and a check. A check returns whether what it was given was read (True) or refused
with the error that is documented (False); anything else is a bug. tests/test_fuzz.py tries some hundred of each,
tests/reliability/trust.py tens of thousands.
"""

import hashlib
import json
import shutil
import tempfile
import warnings
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pandas as pd
import torch
import yaml
from conftest import make_tiny_bert
from hypothesis import strategies as st
from pruned_runs import pruned_run

import mgpp
from mgpp.lab.export.packed import PARTS, ExportError, pack_tensors, unpack_tensors
from mgpp.lab.recipes.recipe import RecipeError, known_keys, load_recipe, parse_override, recipe_from, recipe_names
from mgpp.runs import METRICS_COLUMNS, RunError, RunWriter, load_run, load_runs, summary


def says(error, *words):
    """A refusal is a sentence for people, and names what it is about."""
    text = str(error)
    assert len(text) < 3000, "too long to read"
    assert any(str(word) in text for word in words), f"does not name any of {words}: {text}"
    return False


# what may stand where


INTS = st.integers() | st.sampled_from([-1, 0, 1, 2**31, 2**63, 10**400])
SCALARS = st.none() | st.booleans() | INTS | st.floats() | st.text(max_size=20) | st.sampled_from(["1e-5", "nan", "[1"])
KEYS = st.text(max_size=8) | st.sampled_from(["name", "step", "final", "sparsity", "method", "strength", "lam"])
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8
)
DEEP = st.integers(1, 3000).map(lambda depth: "[" * depth + "]" * depth)


@st.composite
def changed(draw, base, values=JSON, most=3):
    """Nested data with a few values replaced, added or removed."""
    data = json.loads(json.dumps(base))
    for _ in range(draw(st.integers(1, most))):
        place = data
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            if isinstance(place, dict) and draw(st.integers(0, 4)) == 0:
                del place[key]
            else:
                place[key] = draw(values)
            break
        if isinstance(data, dict) and draw(st.integers(0, 6)) == 0:
            data[draw(KEYS)] = draw(values)
    return data


@st.composite
def damaged(draw, content: bytes):
    """Bytes with some flipped, cut out, doubled or put in."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        length = draw(st.integers(0, 16))
        match draw(st.sampled_from(["flip", "cut", "end", "insert", "double", "zero"])):
            case "flip" if content:
                content[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del content[at : at + length]
            case "end":
                del content[at:]
            case "insert":
                content[at:at] = draw(st.binary(max_size=16))
            case "double":
                content[at:at] = content[at : at + length]
            case "zero":
                content[at : at + length] = bytes(len(content[at : at + length]))
    return bytes(content)


# the run reader


@cache
def base_run() -> Path:
    """A small finished run, with all its files and a pruned model."""
    folder = Path(tempfile.mkdtemp(prefix="fuzzed-"))
    torch.manual_seed(0)
    pruned_run(folder / "run", make_tiny_bert(vocab_size=30, hidden_size=16, intermediate_size=16, num_hidden_layers=1))
    with RunWriter(folder / "log", json.loads((folder / "run" / "run.json").read_text())) as writer:
        for step in (0, 10):
            writer.metrics({"step": step, "phase": "pruning", "loss": 0.5, "sparsity": 0.1, "eval_accuracy": 0.7})
            row = {"step": step, "layer": 0, "kind": "query", "name": "q", "n": 4, "sparsity": 0.5}
            writer.part("layers", step, pd.DataFrame([row, row]))
            bins = {
                "step": step,
                "layer": 0,
                "kind": "query",
                "left": [-1.0, 0.0],
                "right": [0.0, 1.0],
                "count": [1, 3],
            }
            writer.part("weights", step, pd.DataFrame(bins))
            row = {"step": step, "name": "q", "index": 3, "value": 0.5, "kept": True}
            writer.part("trajectories", step, pd.DataFrame([row]))
    return folder


def base_file(pattern: str) -> bytes:
    return next((base_run() / "log").glob(pattern)).read_bytes()


@contextmanager
def copy_of_log():
    with tempfile.TemporaryDirectory() as folder:
        yield Path(shutil.copytree(base_run() / "log", Path(folder) / "log"))


def read_all(folder: Path) -> bool:
    """Everything that a run tells; False if it was refused in a sentence that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the last row was cut off
            run = load_run(folder)
            run.metrics[[name for name in METRICS_COLUMNS if name != "phase"]].astype(float)
            for frame in (run.metrics, run.layers, run.weights, run.trajectories):
                frame.to_csv()
                counted = frame.columns.intersection(["step", "sparsity", "value", "left", "count"])
                frame[counted].astype(float).mean()
            for run in load_runs(folder.parent):
                _ = (run.name, run.status, run.method, run.sparsity, run.seed, run.metric, run.final, run.checkpoint)
                f"{run.sparsity} {run.seed}"
            summary(load_runs(folder.parent)).to_string()
    except RunError as error:
        return says(error, folder)
    return True


def reads_file(pattern: str):
    def check(content: bytes) -> bool:
        with copy_of_log() as folder:
            next(folder.glob(pattern)).write_bytes(content)
            return read_all(folder)

    return check


# recipes

ALL_KEYS = [
    *known_keys(),
    "trainer.max_grad_norm",
    "trainer.report_to",
    "trainer.x",
]


def reads_recipe_text(text: str | bytes) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "strange.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        return accepts(lambda: load_recipe(file))


def reads_recipe_data(data) -> bool:
    try:
        text = yaml.safe_dump(data)
    except (ValueError, yaml.YAMLError):
        return False
    return reads_recipe_text(text)


def reads_overrides(words) -> bool:
    return accepts(lambda: load_recipe("reviews", **dict(parse_override(word) for word in words)))


def accepts(make) -> bool:
    """Whether a recipe is accepted, and then can be used and written; False if it was refused in a sentence."""
    try:
        recipe = make()
        recipe.schedule(100)
    except RecipeError as error:
        return says(error, "=", "strange.yaml", "--set", ":", "not a known key")
    json.dumps(recipe.as_dict(), allow_nan=False)
    assert "/" not in recipe.run_name
    assert recipe_from(recipe.as_dict()) == recipe
    return True


RECIPES = [name for name in recipe_names() if name.startswith(("reviews", "glue-rte", "squad"))]
RECIPE_DATA = st.sampled_from(RECIPES).flatmap(lambda name: changed(load_recipe(name).as_dict()))
RECIPE_TEXT = st.sampled_from(RECIPES).flatmap(
    lambda name: damaged((Path(mgpp.__file__).parent / "lab" / "recipes" / f"{name}.yaml").read_bytes())
)
SIGNS = [
    "[",
    "]",
    "{",
    "}",
    ",",
    "- ",
    ": ",
    ":\n  ",
    "\n",
    "|",
    ">",
    "'",
    '"',
    "#",
    "?",
    "\\",
    "=",
    "\t",
    "\0",
    "\x85",
]
TAGS = ["<<", "!!set ", "!!binary ", "!!python/object/apply:os.system ", "!e ", "%YAML 9.9\n", "---\n"]
VALUES = ["1e400", "9" * 4400, "2001-13-45", "1:1:1", ".nan", "-.inf", "~", "null", "yes", "\ufeff"]
NAMES = ["a", "name", "seed", "trainer", "prior", "sparsity", "targets", "include"]
YAML_WORDS = st.sampled_from([*SIGNS, *TAGS, *VALUES, *NAMES])
YAML_TEXT = st.lists(YAML_WORDS | st.text(max_size=3), max_size=25).map("".join)
OVERRIDE = st.tuples(
    st.sampled_from(ALL_KEYS) | st.text(max_size=9),
    st.sampled_from(["=", "=", "=", ""]),
    YAML_TEXT | st.text(max_size=9),
)
OVERRIDES = st.lists(OVERRIDE.map("".join), max_size=3)
# packed models


@cache
def base_tensors() -> dict:
    torch.manual_seed(0)
    weight = torch.randn(6, 40).masked_fill(torch.rand(6, 40) < 0.8, 0)
    return pack_tensors({"a.weight": weight, "a.bias": torch.ones(3)}, ["a.weight"])


@cache
def base_packed() -> Path:
    return mgpp.export(base_run() / "run", base_run() / "packed", format="packed")


@st.composite
def changed_tensors(draw):
    tensors = dict(base_tensors())
    for _ in range(draw(st.integers(1, 3))):
        name = f"a.{draw(st.sampled_from([*PARTS, 'weight', 'bias']))}"
        sizes = draw(st.lists(st.integers(0, 8), max_size=3))
        dtype = draw(
            st.sampled_from([torch.uint8, torch.int64, torch.float32, torch.bfloat16, torch.bool, torch.int32])
        )
        if draw(st.booleans()):
            tensors.pop(name, None)
        elif draw(st.booleans()) and name in tensors and tensors[name].numel():
            tensors[name] = tensors[name].clone()
            tensors[name].view(-1)[draw(st.integers(0, tensors[name].numel() - 1))] = draw(st.integers(-9, 9)) % 250
        else:
            tensors[name] = torch.full(sizes, draw(st.integers(0, 100)), dtype=dtype)
    return tensors


def reads_tensors(tensors) -> bool:
    try:
        unpacked = unpack_tensors(tensors)
    except ExportError as error:
        return says(error, "a.")
    if "a.weight" in unpacked:
        assert unpacked["a.weight"].numel() < 10_000
    return True


def reads_packed_file(content: bytes) -> bool:
    """A damaged file of weights whose hash is right."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(shutil.copytree(base_packed(), Path(parent) / "packed"))
        (folder / "model.packed.safetensors").write_bytes(content)
        record = json.loads((folder / "mgpp.json").read_text())
        record["files"]["model.packed.safetensors"]["sha256"] = hashlib.sha256(content).hexdigest()
        (folder / "mgpp.json").write_text(json.dumps(record))
        return loads_packed(folder)


def reads_record(record) -> bool:
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(shutil.copytree(base_packed(), Path(parent) / "packed"))
        try:
            (folder / "mgpp.json").write_text(json.dumps(record))
        except ValueError:
            return False
        return loads_packed(folder)


def loads_packed(folder: Path) -> bool:
    try:
        mgpp.load_packed(folder)
        mgpp.unpack(folder, folder.parent / "plain")
    except ExportError as error:
        return says(error, folder, "weight")
    return True


def exports(content: bytes) -> bool:
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(shutil.copytree(base_run() / "run", Path(parent) / "run"))
        (folder / "run.json").write_bytes(content)
        try:
            mgpp.export(folder, Path(parent) / "out")
        except (RunError, ExportError) as error:
            return says(error, folder, "weight") or (Path(parent) / "out").exists()
        return True


def lazily(make):
    """A strategy that is made when it is first needed, not when this module is read."""
    return st.deferred(make)


FUZZED = {
    "run.json": (lazily(lambda: damaged(base_file("run.json"))), reads_file("run.json")),
    "metrics.jsonl": (lazily(lambda: damaged(base_file("metrics.jsonl"))), reads_file("metrics.jsonl")),
    "part files": (lazily(lambda: damaged(base_file("layers.parquet/*"))), reads_file("layers.parquet/*.parquet")),
    "recipes, values": (lazily(lambda: RECIPE_DATA), reads_recipe_data),
    "recipes, any YAML": (JSON, reads_recipe_data),
    "recipes, bytes": (RECIPE_TEXT, reads_recipe_text),
    "recipes, text": (YAML_TEXT, reads_recipe_text),
    "--set": (OVERRIDES, reads_overrides),
    "packed models, tensors": (changed_tensors(), reads_tensors),
    "packed models, bytes": (
        lazily(lambda: damaged((base_packed() / "model.packed.safetensors").read_bytes())),
        reads_packed_file,
    ),
    "packed models, record": (
        lazily(lambda: changed(json.loads((base_packed() / "mgpp.json").read_text()))),
        reads_record,
    ),
    "export of a run": (lazily(lambda: damaged(base_file("run.json"))), exports),
}
