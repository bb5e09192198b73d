import errno
import inspect
import itertools
import json
import math
import re
import resource
import shlex
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
import torch
import yaml
from click.testing import CliRunner
from conftest import make_tiny_bert
from huggingface_hub import HfApi, ModelCard
from hypothesis import given
from hypothesis import strategies as st
from pruned_runs import pruned_run
from safetensors.torch import load_file, save_file
from small_models import small_gpt2, small_tokenizer
from transformers import AutoConfig, AutoTokenizer, BertForSequenceClassification, GPT2LMHeadModel

import mgpp
from mgpp.lab.cli import main
from mgpp.lab.export import hub
from mgpp.lab.export.card import code, fenced
from mgpp.lab.export.export import train_again
from mgpp.lab.export.packed import ExportError
from mgpp.lab.recipes.recipe import parse_override
from mgpp.runs import load_run


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("runs")
    tokenizer = small_tokenizer(folder / "tokenizer")
    return pruned_run(folder / "a-run", make_tiny_bert(vocab_size=len(tokenizer)), tokenizer=tokenizer)


@pytest.fixture
def own_run(run_folder, tmp_path):
    """A copy of the run that a test may damage."""
    return shutil.copytree(run_folder, tmp_path / "own-run")


@pytest.fixture(scope="module")
def packed_folder(run_folder, tmp_path_factory):
    return mgpp.export(run_folder, tmp_path_factory.mktemp("exports") / "packed", format="packed")


def edit_info(folder, **changes):
    file = folder / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def same_bits(one, other):
    if one.keys() != other.keys():
        return False
    pairs = [(one[name], other[name]) for name in one]
    return all(
        a.dtype == b.dtype and a.shape == b.shape and a.numpy(force=True).tobytes() == b.numpy(force=True).tobytes()
        for a, b in ((a.view(torch.uint8) if a.ndim else a, b.view(torch.uint8) if b.ndim else b) for a, b in pairs)
    )


def targets_of(run_folder):
    return [row["name"] for row in load_run(run_folder).info["targets"]["table"]]


# plain


def test_a_plain_folder_loads_with_transformers_alone_and_holds_exactly_the_zeros(run_folder, tmp_path):
    folder = mgpp.export(run_folder, tmp_path / "plain")
    model = BertForSequenceClassification.from_pretrained(folder)
    trained = load_file(run_folder / "checkpoints" / "final" / "model.safetensors")
    assert all(torch.equal(weight, trained[name]) for name, weight in model.state_dict().items() if name in trained)
    weights = model.state_dict()
    zeros = sum(int((weights[name] == 0).sum()) for name in targets_of(run_folder))
    assert zeros == load_run(run_folder).final["zeros"]
    ids = AutoTokenizer.from_pretrained(folder)("a film")["input_ids"]
    assert ids == AutoTokenizer.from_pretrained(run_folder / "checkpoints" / "final")("a film")["input_ids"]


def test_negative_zeros_of_targets_become_true_zeros(own_run, tmp_path):
    file = own_run / "checkpoints" / "final" / "model.safetensors"
    tensors = load_file(file)
    name = targets_of(own_run)[0]
    tensors[name] = tensors[name].masked_fill(tensors[name] == 0, -0.0)
    assert torch.signbit(tensors[name]).sum() > (tensors[name] < 0).sum()
    save_file(tensors, file, metadata={"format": "pt"})
    exported = load_file(mgpp.export(own_run, tmp_path / "plain") / "model.safetensors")[name]
    assert torch.equal(torch.signbit(exported), exported < 0)


def test_bfloat16_is_what_was_asked_for(run_folder, tmp_path):
    folder = mgpp.export(run_folder, tmp_path / "half", dtype="bfloat16")
    model = BertForSequenceClassification.from_pretrained(folder)
    trained = load_file(run_folder / "checkpoints" / "final" / "model.safetensors")
    assert model.dtype == torch.bfloat16
    assert all(
        torch.equal(weight, trained[name].bfloat16())
        for name, weight in load_file(folder / "model.safetensors").items()
    )


def test_a_model_in_several_files_stays_in_several_files(own_run, tmp_path):
    final = own_run / "checkpoints" / "final"
    model = BertForSequenceClassification.from_pretrained(final)
    (final / "model.safetensors").unlink()
    model.save_pretrained(final, max_shard_size="20KB")
    assert len(list(final.glob("*.safetensors"))) > 2
    whole = model.state_dict()
    plain = mgpp.export(own_run, tmp_path / "plain")
    packed = mgpp.export(own_run, tmp_path / "packed", format="packed")
    again = mgpp.unpack(packed, tmp_path / "again")
    for folder in (plain, again):
        loaded = BertForSequenceClassification.from_pretrained(folder).state_dict()
        assert same_bits(loaded, whole)
    assert {file.name: file.read_bytes() for file in plain.glob("*.safetensors*")} == {
        file.name: file.read_bytes() for file in again.glob("*.safetensors*")
    }


# packed


def test_packed_comes_back_bit_for_bit(run_folder, packed_folder, tmp_path):
    plain = mgpp.export(run_folder, tmp_path / "plain")
    assert same_bits(mgpp.load_packed(packed_folder), load_file(plain / "model.safetensors"))
    again = mgpp.unpack(packed_folder, tmp_path / "again")
    for name in ("model.safetensors", "config.json", "tokenizer.json", "README.md"):
        assert (again / name).read_bytes() == (plain / name).read_bytes()
    assert json.loads((again / "mgpp.json").read_text()) | {"dtype": None} == json.loads(
        (plain / "mgpp.json").read_text()
    )


def test_a_path_may_go_up_again(run_folder, tmp_path):
    to = tmp_path / "a" / ".." / "b"
    assert mgpp.export(run_folder, to, format="packed") == tmp_path / "b"
    assert mgpp.unpack(tmp_path / "b", tmp_path / "c" / ".." / "d") == tmp_path / "d"


def test_only_a_model_of_a_known_class_can_be_loaded_in_memory(run_folder, tmp_path):
    assert "from_pretrained(None" in (mgpp.export(run_folder, tmp_path / "known") / "README.md").read_text()
    run = shutil.copytree(run_folder, tmp_path / "run")
    config = run / "checkpoints" / "final" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"architectures": None}))
    text = (mgpp.export(run, tmp_path / "unknown") / "README.md").read_text()
    assert "AutoModel.from_pretrained" in text
    assert "from_pretrained(None" not in text


def test_a_packed_model_loads_without_unpacking_and_not_by_accident(run_folder, packed_folder):
    config = AutoConfig.from_pretrained(packed_folder)
    weights = mgpp.load_packed(packed_folder)
    model = BertForSequenceClassification.from_pretrained(None, config=config, state_dict=weights)
    trained = BertForSequenceClassification.from_pretrained(run_folder / "checkpoints" / "final")
    assert same_bits(model.state_dict(), trained.state_dict())
    with pytest.raises(OSError, match="no file named model.safetensors"):
        BertForSequenceClassification.from_pretrained(packed_folder)


def test_packed_targets_take_less_than_a_quarter_at_90_percent(packed_folder):
    record = json.loads((packed_folder / "mgpp.json").read_text())
    tensors = load_file(packed_folder / "model.packed.safetensors")
    names = [row["name"].removesuffix("weight") for row in record["targets"]]
    stored = sum(t.nbytes for name, t in tensors.items() if name.startswith(tuple(names)) and not name.endswith("bias"))
    dense = sum(4 * math.prod(row["shape"]) for row in record["targets"])
    assert record["bytes"]["targets_packed"] == stored < dense / 4
    assert record["bytes"]["targets_dense"] == dense
    assert record["bytes"]["model_packed"] == sum(tensor.nbytes for tensor in tensors.values())


def test_tied_weights_stay_tied(tmp_path):
    source = small_gpt2(tmp_path / "gpt2")
    model = GPT2LMHeadModel.from_pretrained(source)
    run = pruned_run(tmp_path / "run", model)
    packed = mgpp.export(run, tmp_path / "packed", format="packed")
    for loaded in (
        GPT2LMHeadModel.from_pretrained(mgpp.unpack(packed, tmp_path / "plain")),
        GPT2LMHeadModel.from_pretrained(
            None, config=AutoConfig.from_pretrained(packed), state_dict=mgpp.load_packed(packed)
        ),
    ):
        assert same_bits(loaded.state_dict(), model.state_dict())
        assert loaded.lm_head.weight is loaded.transformer.wte.weight


def test_a_byte_that_flipped_anywhere_is_found(packed_folder, tmp_path):
    folder = shutil.copytree(packed_folder, tmp_path / "packed")
    file = folder / "model.packed.safetensors"
    whole = bytearray(file.read_bytes())
    for place in range(0, len(whole), len(whole) // 7):
        damaged = whole.copy()
        damaged[place] ^= 4
        file.write_bytes(damaged)
        with pytest.raises(ExportError, match=r"model.packed.safetensors is damaged"):
            mgpp.load_packed(folder)
    file.unlink()
    with pytest.raises(ExportError, match="no file beside it"):
        mgpp.load_packed(folder)


# what is refused


def test_runs_that_can_not_be_exported(own_run, tmp_path):
    edit_info(own_run, status="failed")
    with pytest.raises(ExportError, match=r"'failed', not finished; go on with it: mgpp train --resume"):
        mgpp.export(own_run, tmp_path / "out")
    edit_info(own_run, status="finished")
    shutil.rmtree(own_run / "checkpoints")
    with pytest.raises(ExportError, match="git keeps no weights; train again: mgpp train reviews"):
        mgpp.export(own_run, tmp_path / "out")
    edit_info(own_run, targets={})
    (own_run / "checkpoints" / "final").mkdir(parents=True)
    with pytest.raises(ExportError, match="no table of targets"):
        mgpp.export(own_run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_that_trains_again_makes_the_same_recipe(own_run):
    recipe = mgpp.load_recipe("reviews", method="l2", seed=3, save_model=False, **{"targets.exclude": ["query"]})
    edit_info(own_run, recipe=recipe.as_dict())
    command = train_again(load_run(own_run))
    words = shlex.split(command)
    assert words[:3] == ["mgpp", "train", "reviews"]
    overrides = dict(parse_override(word) for flag, word in itertools.pairwise(words) if flag == "--set")
    assert overrides.keys() == {"method", "seed", "targets.exclude"}
    again = mgpp.load_recipe("reviews", **overrides).as_dict()
    assert again == recipe.as_dict() | {"save_model": True}


@pytest.mark.parametrize("broken", ["zeros", "name", "shape"])
def test_a_model_that_is_not_the_runs_is_refused(own_run, tmp_path, broken):
    info = json.loads((own_run / "run.json").read_text())
    if broken == "zeros":
        edit_info(own_run, final=info["final"] | {"zeros": info["final"]["zeros"] + 1})
    else:
        info["targets"]["table"][0][broken] = {"name": "another", "shape": [1, 2]}[broken]
        edit_info(own_run, targets=info["targets"])
    with pytest.raises(ExportError, match={"zeros": "promises", "name": "'another'", "shape": r"\[1, 2\]"}[broken]):
        mgpp.export(own_run, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [own_run]  # nothing half made is left


NAN = float("nan")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("layer", NAN, "table[0].layer=nan must be a whole number from -1"),
        ("layer", "first", "table[0].layer='first' must be"),
        ("layer", -2, "table[0].layer=-2 must be"),
        ("kind", NAN, "table[0].kind=nan must be text"),
        ("name", ["q"], "table[0].name=['q'] must be text"),
        ("shape", NAN, "table[0].shape=nan must be a list of whole numbers from 1"),
        ("shape", [32, -32], "table[0].shape=[32, -32] must be"),
        ("shape", [32.0, 32], "table[0].shape=[32.0, 32] must be"),
        ("count", NAN, "table[0].count=nan must be a whole number from 1"),
        ("count", -1, "table[0].count=-1 must be"),
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_nonsense_in_the_table_of_targets_is_named(own_run, tmp_path, key, value, words, there):
    targets = json.loads((own_run / "run.json").read_text())["targets"]
    targets["table"][0] |= {key: value}
    if not there:
        targets["table"][0].pop(key)
        words = f"table[0].{key}=None must be"
    edit_info(own_run, targets=targets)
    with pytest.raises(ExportError, match=rf"run.json is damaged: targets.{re.escape(words)}.*; train again: mgpp"):
        mgpp.export(own_run, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [own_run]


@pytest.mark.parametrize("row", ["q", None, 3])
def test_a_table_of_targets_has_rows_each_of_its_own_matrix(own_run, tmp_path, row):
    table = json.loads((own_run / "run.json").read_text())["targets"]["table"]
    edit_info(own_run, targets={"table": [*table, row]})
    with pytest.raises(ExportError, match=rf"targets.table\[{len(table)}\]={row!r} must be keys and values"):
        mgpp.export(own_run, tmp_path / "out")
    edit_info(own_run, targets={"table": [*table, table[0]]})
    with pytest.raises(ExportError, match="has a name twice"):
        mgpp.export(own_run, tmp_path / "out")


@contextmanager
def full_disk(size=20_000):
    """No file may be larger, which the system says as it says that the disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("format", ["plain", "packed"])
def test_a_full_disk_is_said_and_leaves_nothing_and_what_was_there(own_run, run_folder, tmp_path, format):
    for size, file in ((20_000, f"model.{'packed.' * (format == 'packed')}safetensors"), (100, "")):
        words = rf"out was not written, .*{file}.*the disk is full \(File too large\); make room, or choose another"
        with full_disk(size), pytest.raises(ExportError, match=words):
            mgpp.export(own_run, tmp_path / "not" / "yet" / "out", format=format)
    assert list(tmp_path.iterdir()) == [own_run]
    out = mgpp.export(own_run, tmp_path / "out", format="packed")
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    with full_disk(), pytest.raises(ExportError, match="the disk is full"):
        mgpp.unpack(out, tmp_path / "plain")
    with full_disk(), pytest.raises(ExportError, match="the disk is full"):
        mgpp.export(own_run, out, format=format, replace=True)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
    assert sorted(tmp_path.iterdir()) == sorted([own_run, out])


def test_an_export_whose_place_is_taken_at_the_last_moment_comes_back(own_run, tmp_path, monkeypatch):
    out, rename = mgpp.export(own_run, tmp_path / "out"), Path.rename

    def fail_once(path, target):
        if path.name == target.name == "out":
            monkeypatch.undo()
            raise OSError(errno.ENOTEMPTY, "Directory not empty", str(target))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_once)
    with pytest.raises(ExportError, match=r"out was not written, .*out: Directory not empty; .* --to DIR"):
        mgpp.export(own_run, out, format="packed", replace=True)
    assert (out / "model.safetensors").is_file()
    assert sorted(tmp_path.iterdir()) == sorted([own_run, out])


def test_places_that_can_not_be_written(own_run, tmp_path):
    file = tmp_path / "afile"
    file.touch()
    for place in (file / "x", file / "x" / "y", file):
        done = CliRunner().invoke(main, ["export", str(own_run), "--to", str(place)])
        assert done.exit_code == 1
        assert done.stderr == f"Error: {place} can't be a folder: {file} is a file; choose another: --to DIR\n"
    done = CliRunner().invoke(main, ["export", str(own_run), "--to", "/proc/out"])  # nobody may write there
    assert done.exit_code == 1
    assert re.match(r"Error: /proc/out was not written, /proc\S*: .*; see that .* choose another", done.stderr)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_file_of_weights_that_was_cut_off_is_named(own_run, tmp_path, keep):
    file = own_run / "checkpoints" / "final" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    done = CliRunner().invoke(main, ["export", str(own_run), "--to", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert done.stderr.startswith(f"Error: {file} can't be read as safetensors: ")
    assert done.stderr.endswith("; bring the whole file back\n")
    assert list(tmp_path.iterdir()) == [own_run]


def test_a_folder_in_use_is_not_overwritten(run_folder, packed_folder, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(ExportError, match="neither empty nor an export"):
        mgpp.export(run_folder, tmp_path / "mine", replace=True)
    export = shutil.copytree(packed_folder, tmp_path / "export")
    with pytest.raises(ExportError, match="--replace"):
        mgpp.export(run_folder, export)
    mgpp.export(run_folder, export, replace=True)
    assert (export / "model.safetensors").exists()
    assert not (export / "model.packed.safetensors").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "mine"]


@pytest.mark.parametrize(("option", "value"), [("format", "zip"), ("dtype", "int8"), ("push_to_hub", "a/b/c")])
def test_options_are_checked_first(run_folder, tmp_path, option, value):
    with pytest.raises(ExportError, match=f"{option}='{value}'"):
        mgpp.export(run_folder, tmp_path / "out", **{option: value})


def test_pickles_are_neither_read_nor_passed_on(own_run, tmp_path):
    final = own_run / "checkpoints" / "final"
    (final / "training_args.bin").write_bytes(b"anything")
    (final / "modeling_evil.py").write_text("import os")
    config = json.loads((final / "config.json").read_text())
    (final / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "modeling_evil.Evil"}}))
    folder = mgpp.export(own_run, tmp_path / "out")
    assert {path.name for path in folder.iterdir()} == {
        *("README.md", "config.json", "mgpp.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    }
    assert "evil" not in (folder / "config.json").read_text()
    (final / "model.safetensors").rename(final / "pytorch_model.bin")
    with pytest.raises(ExportError, match="no model.safetensors; other files of weights are not read"):
        mgpp.export(own_run, tmp_path / "again")


# the card


def test_the_card_says_what_matters(run_folder, packed_folder):
    text = (packed_folder / "README.md").read_text()
    card, run = ModelCard(text), load_run(run_folder)
    assert card.data.library_name == "transformers"
    assert card.data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert card.data.license == "apache-2.0"
    assert "pruned" in card.data.tags
    assert f"{run.final['zeros']:,} of {run.info['targets']['count']:,} weights" in text
    assert "| `accuracy` | 0.75 | 0.01 |" in text
    assert "is not faster than the dense one" in text
    assert text.count("| `bert.encoder.layer.") == len(targets_of(run_folder))
    recipe = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    assert recipe == run.recipe
    assert "BertForSequenceClassification.from_pretrained" in text


@pytest.mark.parametrize("place", ["/home/lovelace/models/mine", "C:\\Users\\Lovelace\\mine"])
def test_the_card_tells_no_folder_of_this_machine(own_run, tmp_path, place):
    recipe = json.loads((own_run / "run.json").read_text())["recipe"]
    recipe |= {"model": place, "data": place, "transfer": {"mask": place}, "trainer": {"a": [place]}}
    edit_info(own_run, recipe=recipe)
    text = (mgpp.export(own_run, tmp_path / "out") / "README.md").read_text()
    assert "lovelace" not in text.lower()
    assert text.count("mine") >= 6


HOSTILE = [
    "```\n# owned",
    "---\nlicense: mit\n---",
    "<script>alert(1)</script>",
    "a | b | c\n| d |",
    "[click](http://evil.example) ![x](y)",
    "``````` <b>",
    "\u202ereversed\u0000",
    "`code` <img src=x onerror=alert(1)>",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_strangers_text_stays_text(own_run, tmp_path, text):
    info = json.loads((own_run / "run.json").read_text())
    edit_info(
        own_run,
        recipe=info["recipe"] | {"name": text, "task": text, "model": text, "method": text, text: text},
        final=info["final"] | {text: 0.5, f"{text}_se": 0.1},
        versions={text: text},
        sha256={"model": text, "data": [text]},
        git={"commit": text},
        examples={text: 7},
        metric={"name": text},
        seed=text,
    )
    harmless = mgpp.export(own_run, tmp_path / "out") / "README.md"
    lines = harmless.read_text().splitlines()
    end = lines.index("---", 1)
    assert set(yaml.safe_load("\n".join(lines[1:end]))) == {"library_name", "tags"}
    assert [line for line in lines if line.startswith("#")] == HEADINGS
    outside, inside = [], None
    for line in lines[end + 1 :]:
        if inside is None and line.startswith("```"):
            inside = line[: len(line) - len(line.lstrip("`"))]
        elif line == inside:
            inside = None
        elif inside is None:
            outside.append(without_code(line))
    assert inside is None
    rest = "\n".join(outside)
    for sign in ("<", "script", "evil", "owned", "\u202e", "\0"):
        assert sign not in rest
    tables = [line for line in outside if line.startswith("|")]
    assert all(line.count("|") in (3, 4, 5, 7) for line in tables)


HEADINGS = [
    "# `own-run`",
    "## How well it does",
    "## Speed and size",
    "## How to load it",
    "## Sparsity by matrix",
    "## Recipe",
    "## Where it comes from",
]


def without_code(line):
    return re.sub(r"`[^`]*`", "", line)


@given(st.text())
def test_a_code_span_has_one_end(text):
    span = code(text)
    assert span == "–" or (span[0] == span[-1] == "`" and "`" not in span[1:-1] and span.isprintable())
    assert "|" not in span


@given(st.text(alphabet="`a \n", max_size=30))
def test_a_block_has_one_end(text):
    first, *body, last = fenced(text, "yaml").split("\n")
    assert first == f"{last}yaml"
    assert not any(line.lstrip().startswith(last) for line in body)


# the hub


class FakeApi:
    calls: ClassVar[list] = []

    def create_repo(self, repo_id, **options):
        self.calls.append(("create_repo", repo_id, options))
        return type("Address", (), {"repo_id": f"me/{repo_id}"})()

    def upload_folder(self, **options):
        self.calls.append(("upload_folder", options))
        return "https://hub.example/me/pruned"


def test_push_to_hub_passes_the_folder_on(run_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.HfApi", FakeApi)
    monkeypatch.setattr(FakeApi, "calls", [])
    done = CliRunner().invoke(
        main, ["export", str(run_folder), "--to", str(tmp_path / "out"), "--push-to-hub", "pruned"]
    )
    assert done.exit_code == 0, done.output
    (_, name, options), (_, upload) = FakeApi.calls
    assert (name, options) == ("pruned", {"exist_ok": True})
    assert (upload["repo_id"], upload["folder_path"]) == ("me/pruned", tmp_path / "out")
    assert "uploaded to pruned" in done.output


def test_a_hub_that_refuses_leaves_the_folder_and_tells_no_token(run_folder, tmp_path, monkeypatch):
    def refuse(self, *words, **options):
        raise OSError("401 Client Error\nAuthorization: Bearer hf_secret")

    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(FakeApi, "create_repo", refuse)
    monkeypatch.setattr("huggingface_hub.HfApi", FakeApi)
    done = CliRunner().invoke(main, ["export", str(run_folder), "--to", str(tmp_path / "out"), "--push-to-hub", "a/b"])
    assert done.exit_code == 1
    assert "could not be uploaded to a/b: 401 Client Error; hf auth login" in done.output
    assert "hf_secret" not in done.output
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_the_real_library_is_asked_as_it_wants_to_be():
    inspect.signature(HfApi.create_repo).bind(HfApi, "a/b", exist_ok=True)
    inspect.signature(HfApi.upload_folder).bind(HfApi, repo_id="a", folder_path="b", commit_message="c")
    assert hub.check_name("me/my-model") is None


# the command line


def test_export_and_unpack_on_the_command_line(run_folder, tmp_path):
    packed, plain = str(tmp_path / "packed"), str(tmp_path / "plain")
    done = CliRunner().invoke(main, ["export", str(run_folder), "--to", packed, "--format", "packed"])
    assert done.exit_code == 0, done.output
    assert f"{packed}: packed, {load_run(run_folder).final['zeros']:,} zeros" in done.output
    assert CliRunner().invoke(main, ["unpack", packed, "--to", plain]).exit_code == 0
    done = CliRunner().invoke(main, ["export", str(run_folder), "--to", plain])
    assert (done.exit_code, "holds another export" in done.output) == (1, True)
    done = CliRunner().invoke(main, ["unpack", plain, "--to", str(tmp_path / "third")])
    assert (done.exit_code, "no packed weights" in done.output) == (1, True)


def test_links_out_of_an_export_are_not_followed(own_run, tmp_path):
    packed = mgpp.export(own_run, tmp_path / "packed", format="packed")
    (tmp_path / "secret").write_text("nobody's business")
    (packed / "vocab.txt").unlink(missing_ok=True)
    (packed / "vocab.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(ExportError, match=r"vocab\.txt is a link that leads out"):
        mgpp.unpack(packed, tmp_path / "plain")
    assert not (tmp_path / "plain").exists()


@pytest.mark.parametrize("strange", [{"zeros": "many"}, {"zeros": None}, {"layout": 3}, {"folder": "x"}])
def test_a_strange_record_is_refused_or_passed_over(own_run, tmp_path, strange):
    packed = mgpp.export(own_run, tmp_path / "packed", format="packed")
    record = json.loads((packed / "mgpp.json").read_text())
    (packed / "mgpp.json").write_text(json.dumps(record | strange))
    if "folder" in strange:
        assert mgpp.unpack(packed, tmp_path / "plain").is_dir()
    else:
        with pytest.raises(ExportError, match="layout must be a word, and zeros a whole number"):
            mgpp.unpack(packed, tmp_path / "plain")
