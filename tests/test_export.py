import inspect
import json
import math
import re
import shutil
from typing import ClassVar

import pytest
import torch
import transformers
import yaml
from click.testing import CliRunner
from conftest import make_tiny_bert
from huggingface_hub import HfApi, ModelCard
from hypothesis import given
from hypothesis import strategies as st
from pruned_runs import pruned_run
from safetensors.torch import load_file, save_file
from small_models import small_bart, small_deberta, small_gpt2, small_tokenizer
from transformers import AutoConfig, AutoTokenizer, BertForSequenceClassification

import mgpp
from mgpp import ExportError, load_run
from mgpp.lab.cli import main
from mgpp.lab.export.card import code, fenced


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


def final(run_folder):
    return run_folder / "checkpoints" / "final"


def edit(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def same_bits(one, other):
    return one.keys() == other.keys() and all(
        a.dtype == b.dtype and torch.equal(a.view(torch.uint8), b.view(torch.uint8))
        for a, b in ((one[name], other[name]) for name in one)
    )


def targets_of(run_folder):
    return [row["name"] for row in load_run(run_folder).info["targets"]["table"]]


# plain


def test_a_plain_folder_loads_with_transformers_alone_and_holds_exactly_the_zeros(run_folder, tmp_path):
    folder = mgpp.export(run_folder, tmp_path / "plain")
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (folder / name).read_bytes() == (final(run_folder) / name).read_bytes()
    weights = BertForSequenceClassification.from_pretrained(folder).state_dict()
    zeros = sum(int((weights[name] == 0).sum()) for name in targets_of(run_folder))
    assert zeros == load_run(run_folder).final["zeros"]


def test_negative_zeros_of_targets_become_true_zeros(own_run, tmp_path):
    file = final(own_run) / "model.safetensors"
    tensors = {name: each.clone() for name, each in load_file(file).items()}
    name = targets_of(own_run)[0]
    tensors[name] = tensors[name].masked_fill(tensors[name] == 0, -0.0)
    assert torch.signbit(tensors[name]).sum() > (tensors[name] < 0).sum()
    save_file(tensors, file, metadata={"format": "pt"})
    exported = load_file(mgpp.export(own_run, tmp_path / "plain") / "model.safetensors")[name]
    assert torch.equal(torch.signbit(exported), exported < 0)


def test_weights_are_rounded_to_bfloat16_on_request(run_folder, tmp_path):
    folder = mgpp.export(run_folder, tmp_path / "half", dtype="bfloat16")
    assert BertForSequenceClassification.from_pretrained(folder).dtype == torch.bfloat16
    trained = load_file(final(run_folder) / "model.safetensors")
    rounded = {name: weight.bfloat16() for name, weight in trained.items()}
    assert same_bits(load_file(folder / "model.safetensors"), rounded)


def test_a_checkpoint_in_several_files_is_exported_whole(run_folder, own_run, tmp_path):
    model = BertForSequenceClassification.from_pretrained(final(own_run))
    (final(own_run) / "model.safetensors").unlink()
    model.save_pretrained(final(own_run), max_shard_size="20KB")
    assert len(list(final(own_run).glob("*.safetensors"))) > 2
    plain = mgpp.export(own_run, tmp_path / "plain")
    assert same_bits(load_file(plain / "model.safetensors"), load_file(final(run_folder) / "model.safetensors"))


# packed


def test_packed_comes_back_bit_for_bit(run_folder, packed_folder, tmp_path):
    plain = mgpp.export(run_folder, tmp_path / "plain")
    again = mgpp.unpack(packed_folder, tmp_path / "again")
    assert contents(again) == contents(plain)


def test_a_packed_model_loads_without_unpacking_and_not_by_accident(run_folder, packed_folder):
    config = AutoConfig.from_pretrained(packed_folder)
    weights = mgpp.load_packed(packed_folder)
    model = BertForSequenceClassification.from_pretrained(None, config=config, state_dict=weights)
    trained = BertForSequenceClassification.from_pretrained(final(run_folder))
    assert same_bits(model.state_dict(), trained.state_dict())
    with pytest.raises(OSError, match=r"model\.safetensors"):
        BertForSequenceClassification.from_pretrained(packed_folder)


def test_the_record_says_what_packing_saves(packed_folder):
    record = json.loads((packed_folder / "mgpp.json").read_text())
    tensors = load_file(packed_folder / "model.packed.safetensors")
    dense = sum(4 * math.prod(row["shape"]) for row in record["targets"])
    assert record["bytes"]["model_packed"] == sum(tensor.nbytes for tensor in tensors.values())
    assert record["bytes"]["targets_dense"] == dense > 4 * record["bytes"]["targets_packed"]


@pytest.mark.parametrize("make", [small_deberta, small_bart, small_gpt2])
def test_other_architectures_with_tied_weights_come_back(make, tmp_path):
    source = make(tmp_path / "source")
    architecture = json.loads((source / "config.json").read_text())["architectures"][0]
    model = getattr(transformers, architecture).from_pretrained(source)
    run = pruned_run(tmp_path / "run", model, tokenizer=AutoTokenizer.from_pretrained(source))
    packed = mgpp.export(run, tmp_path / "packed", format="packed")
    plain = mgpp.unpack(packed, tmp_path / "plain")
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (plain / name).read_bytes() == (final(run) / name).read_bytes()
    assert same_bits(type(model).from_pretrained(plain).state_dict(), model.state_dict())


def test_damaged_and_missing_files_are_named(packed_folder, tmp_path):
    folder = shutil.copytree(packed_folder, tmp_path / "packed")
    file = folder / "model.packed.safetensors"
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    file.write_bytes(damaged)
    with pytest.raises(ExportError, match=file.name):
        mgpp.load_packed(folder)
    file.unlink()
    with pytest.raises(ExportError, match=file.name):
        mgpp.load_packed(folder)


@pytest.mark.parametrize("change", [{"format": 2}, {"files": None}, {"layout": "plain"}])
def test_records_of_something_else_are_refused(packed_folder, tmp_path, change):
    folder = shutil.copytree(packed_folder, tmp_path / "packed")
    edit(folder / "mgpp.json", **change)
    with pytest.raises(ExportError, match=str(folder)):
        mgpp.unpack(folder, tmp_path / "plain")
    assert not (tmp_path / "plain").exists()


# what is refused


def refused(run, out, match):
    """Nothing is exported, and nothing half made is left."""
    before = set(out.parent.iterdir())
    with pytest.raises(ExportError, match=match):
        mgpp.export(run, out)
    assert set(out.parent.iterdir()) == before


def test_runs_that_can_not_be_exported(own_run, tmp_path):
    info, file = json.loads((own_run / "run.json").read_text()), own_run / "run.json"
    edit(file, status="failed")
    refused(own_run, tmp_path / "out", "mgpp train --resume")
    edit(file, status="finished", final=info["final"] | {"zeros": info["final"]["zeros"] + 1})
    refused(own_run, tmp_path / "out", "zeros")
    info["targets"]["table"][0]["name"] = "another"
    edit(file, targets=info["targets"])
    refused(own_run, tmp_path / "out", "'another'")
    shutil.rmtree(own_run / "checkpoints")
    refused(own_run, tmp_path / "out", "save_model")


@pytest.mark.parametrize("damage", ["cut", "missing weight", "surplus weight", "pickle", "class"])
def test_checkpoints_that_are_damaged_or_of_another_model_are_refused(own_run, tmp_path, damage):
    file = final(own_run) / "model.safetensors"
    tensors = {name: each.clone() for name, each in load_file(file).items()}  # load_file maps the file, which changes
    match damage:
        case "cut":
            file.write_bytes(file.read_bytes()[:-100])
        case "missing weight":
            save_file({"classifier.bias": tensors["classifier.bias"]}, file, {"format": "pt"})
        case "surplus weight":
            save_file(tensors | {"gate": torch.ones(1)}, file, {"format": "pt"})
        case "pickle":
            torch.save(tensors, file.with_name("pytorch_model.bin"))
            file.unlink()
        case "class":
            edit(final(own_run) / "config.json", architectures=["pipeline"])
    refused(own_run, tmp_path / "out", str(final(own_run)))


def test_code_is_neither_read_nor_passed_on(own_run, tmp_path):
    (final(own_run) / "training_args.bin").write_bytes(b"anything")
    (final(own_run) / "modeling_evil.py").write_text("raise SystemExit")
    code_map = {"AutoModel": "modeling_evil.Evil", "AutoTokenizer": ["modeling_evil.Evil", None]}
    edit(final(own_run) / "config.json", auto_map=code_map, _attn_implementation="evil/kernels")
    edit(final(own_run) / "tokenizer_config.json", auto_map=code_map)
    files = contents(mgpp.export(own_run, tmp_path / "out"))
    names = "README.md", "config.json", "mgpp.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"
    assert sorted(files) == sorted(names)
    assert not any(b"evil" in content for content in files.values())


def test_a_folder_in_use_is_not_overwritten(run_folder, packed_folder, tmp_path):
    mine, export = tmp_path / "mine", shutil.copytree(packed_folder, tmp_path / "export")
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    with pytest.raises(ExportError, match="mine"):
        mgpp.export(run_folder, mine, replace=True)
    with pytest.raises(ExportError, match="--replace"):
        mgpp.export(run_folder, export)
    mgpp.export(run_folder, export, replace=True)
    assert not (export / "model.packed.safetensors").exists()
    assert sorted(tmp_path.iterdir()) == [export, mine]


@pytest.mark.parametrize("option", [{"format": "zip"}, {"dtype": "int8"}, {"push_to_hub": "a/b/c"}])
def test_options_are_checked_first(run_folder, tmp_path, option):
    with pytest.raises(ValueError, match=next(iter(option.values()))):
        mgpp.export(run_folder, tmp_path / "out", **option)
    assert not (tmp_path / "out").exists()


# the card


def test_the_card_says_what_matters(run_folder, packed_folder):
    text = (packed_folder / "README.md").read_text()
    data, run = ModelCard(text).data, load_run(run_folder)
    assert (data.base_model, data.license) == ("sentence-transformers/all-MiniLM-L6-v2", "apache-2.0")
    assert f"{run.final['zeros']:,} of {run.info['targets']['count']:,} weights" in text
    assert "| `accuracy` | 0.75 | 0.01 |" in text
    assert text.count("| `bert.encoder.layer.") == len(targets_of(run_folder))
    assert yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0]) == run.recipe
    assert "BertForSequenceClassification.from_pretrained" in text


def test_the_card_tells_no_folder_of_this_machine(own_run, tmp_path):
    place = "/home/lovelace/models/mine"
    recipe = {**load_run(own_run).recipe, "model": place, "data": place, "transfer": {"mask": place}}
    edit(own_run / "run.json", recipe=recipe)
    text = (mgpp.export(own_run, tmp_path / "out") / "README.md").read_text()
    assert "lovelace" not in text
    assert text.count("mine") >= 5


HOSTILE = "```\n# owned", "---\nlicense: mit\n---", "a | b\n| <b>", "``````` {{ code }}", "\u202ereversed\0`<img>`"


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_a_run_stays_in_code(own_run, tmp_path, text):
    info = load_run(own_run).info
    anything = {"commit": text, "model": text, "data": [text], text: text}
    edit(
        own_run / "run.json",
        **dict.fromkeys(("versions", "sha256", "git"), anything),
        examples={text: 7},
        recipe=info["recipe"] | dict.fromkeys(("name", "task", "model", "method", text), text),
        final=info["final"] | {text: 0.5, f"{text}_se": 0.1},
        targets={"table": [row | {"kind": text} for row in info["targets"]["table"]]},
        metric={"name": text},
        seed=text,
    )
    (_, matter, body) = (mgpp.export(own_run, tmp_path / "out") / "README.md").read_text().split("---\n", 2)
    assert set(yaml.safe_load(matter)) == {"library_name", "tags"}
    blocks = re.sub(r"^(`{3,})\w*\n.*?^\1$", "", body, flags=re.DOTALL | re.MULTILINE)
    outside = re.sub(r"`[^`\n]*`", "", blocks)
    assert not re.search(r"[<`{\u202e\0]|owned|license|reversed", outside)
    assert {line.count("|") for line in outside.splitlines() if line.startswith("|")} == {3, 4, 5, 7}
    assert len(re.findall("^#", outside, re.MULTILINE)) == 7


@given(st.text(), st.text(alphabet="`a \n", max_size=30))
def test_spans_and_blocks_of_code_have_one_end(text, block):
    span = code(text)
    assert span == "–" or (span[0] == span[-1] == "`" and "`" not in span[1:-1] and span.isprintable())
    assert "|" not in span
    first, *body, last = fenced(block, "yaml").split("\n")
    assert first == f"{last}yaml"
    assert not any(line.lstrip().startswith(last) for line in body)


# the hub and the command line


class FakeApi:
    calls: ClassVar[list] = []

    def create_repo(self, repo_id, **options):
        inspect.signature(HfApi.create_repo).bind(self, repo_id, **options)
        if repo_id == "refused":
            raise OSError("401 Client Error")
        return type("Address", (), {"repo_id": f"me/{repo_id}"})()

    def upload_folder(self, **options):
        inspect.signature(HfApi.upload_folder).bind(self, **options)
        self.calls.append((options["repo_id"], options["folder_path"]))


def call(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def test_uploads_pass_the_folder_on_and_leave_it(run_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("mgpp.lab.export.export.HfApi", FakeApi)
    done = call("export", run_folder, "--to", tmp_path / "out", "--push-to-hub", "pruned")
    assert (done.exit_code, FakeApi.calls) == (0, [("me/pruned", tmp_path / "out")])
    done = call("export", run_folder, "--to", tmp_path / "other", "--push-to-hub", "refused")
    assert (done.exit_code, "401 Client Error" in done.output) == (1, True)
    assert (tmp_path / "other" / "model.safetensors").exists()


def test_export_and_unpack_on_the_command_line(run_folder, tmp_path):
    packed, plain = tmp_path / "packed", tmp_path / "plain"
    done = call("export", run_folder, "--to", packed, "--format", "packed")
    assert done.exit_code == 0, done.output
    assert f"{load_run(run_folder).final['zeros']:,}" in done.output
    assert call("unpack", packed, "--to", plain).exit_code == 0
    assert call("export", run_folder, "--to", plain).exit_code == 1
    assert call("export", run_folder, "--to", plain, "--replace", "--dtype", "bfloat16").exit_code == 0
    assert call("unpack", plain, "--to", tmp_path / "third").exit_code == 1
