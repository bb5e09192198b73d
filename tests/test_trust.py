"""What a stranger made is read, or refused, but never executed, and never leads out of its folder."""

import ast
import json
import pickle
import shutil
import warnings
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from fuzzing import base_run, read_all
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainingArguments

import mgpp
from mgpp.lab.cli import main
from mgpp.lab.export.packed import ExportError
from mgpp.lab.models.loading import safely
from mgpp.lab.recipes.recipe import RecipeError, parse_override
from mgpp.lab.sweeps.grid import cells_of
from mgpp.lab.training.states import CheckpointError
from mgpp.lab.training.train import resume, train
from mgpp.methods.transfer import read_masks
from mgpp.runs import RunError, RunWriter, load_run, mark_failed

TOOLKIT = Path(mgpp.__file__).parent
REFUSALS = (RunError, ExportError, RecipeError, CheckpointError, SafetensorError, ValueError, OSError, KeyError)


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return (Path.touch, (Path(self.marker),))


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "i-was-executed"


@pytest.fixture
def evil(marker):
    """Bytes that execute code in who unpickles them; tried first."""
    content = pickle.dumps(Evil(marker))
    pickle.loads(content)
    assert marker.exists()
    marker.unlink()
    return content


@pytest.fixture
def run_folder(tmp_path):
    """A finished run with frames and a pruned model, to spoil."""
    folder = Path(shutil.copytree(base_run() / "run", tmp_path / "runs" / "run"))
    for name in ("metrics.jsonl", "layers.parquet", "weights.parquet", "trajectories.parquet"):
        source, target = base_run() / "log" / name, folder / name
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    return folder


def use_everything(folder: Path) -> int:
    """Call every reader on a run; how many of them could use it."""
    final, out = folder / "checkpoints" / "final", folder.parents[1]
    readers = [
        lambda: read_all(folder),
        lambda: mgpp.export(folder, out / "plain"),
        lambda: mgpp.unpack(mgpp.export(folder, out / "packed", format="packed"), out / "unpacked"),
        lambda: mgpp.load_packed(out / "packed"),
        lambda: read_masks(final),
        lambda: AutoModelForSequenceClassification.from_pretrained(final, **safely(str(final))),
        lambda: AutoTokenizer.from_pretrained(final, trust_remote_code=False),
        lambda: resume(folder, progress=False),
        lambda: mgpp.plot_metric([load_run(folder)], "loss"),
        lambda: mgpp.plot_thresholds([load_run(folder)]),
    ]
    used = 0
    for reader in readers:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                reader()
                used += 1
            except (*REFUSALS, AttributeError, TypeError):  # of transformers and of plots; nothing was executed
                pass
    for words in (
        ["runs", str(folder.parent)],
        ["figures", "--runs", str(folder.parent), "--out", str(out / "figures")],
    ):
        used += CliRunner().invoke(main, words).exit_code == 0
    return used


PICKLED_BY_OTHERS = [
    "optimizer.pt",
    "scheduler.pt",
    "scaler.pt",
    "rng_state.pth",
    "rng_state_0.pth",
    "training_args.bin",
    "pytorch_model.bin",
]


def test_pickles_beside_what_is_read_are_not_touched(run_folder, evil, marker):
    for place in ("", "checkpoints", "checkpoints/final", "checkpoints/checkpoint-10"):
        (run_folder / place).mkdir(exist_ok=True)
        for name in PICKLED_BY_OTHERS:
            (run_folder / place / name).write_bytes(evil)
    assert use_everything(run_folder) >= 6
    assert not marker.exists()


@pytest.mark.parametrize(
    "name",
    [
        *("run.json", "metrics.jsonl", "layers.parquet/*", "weights.parquet/*", "trajectories.parquet/*"),
        *("checkpoints/final/config.json", "checkpoints/final/model.safetensors"),
    ],
)
def test_pickles_in_place_of_what_is_read_are_refused(run_folder, evil, marker, name):
    for file in list(run_folder.glob(name)):
        file.write_bytes(evil)
    use_everything(run_folder)
    assert not marker.exists()


def test_a_parquet_file_can_not_bring_a_type_of_its_own(run_folder, evil, marker):
    names = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": evil}
    table = pa.table([pa.array([0, 1])], schema=pa.schema([pa.field("step", pa.int64(), metadata=names)]))
    pq.write_table(table, next((run_folder / "layers.parquet").iterdir()))
    use_everything(run_folder)
    assert not marker.exists()


@pytest.mark.usefixtures("few_reviews")
def test_a_checkpoint_with_pickles_is_resumed_without_them(tiny_recipe, tmp_path, evil, marker):
    recipe = type(tiny_recipe)(**{**vars(tiny_recipe), "max_steps": 12, "save_every": 5})
    run = train(recipe, tmp_path / "run", progress=False)
    whole = (run.checkpoint / "model.safetensors").read_bytes()
    mark_failed(run.folder, "stopped")
    checkpoints = sorted(run.folder.glob("checkpoints/checkpoint-*"))
    assert checkpoints
    for folder in checkpoints:
        for name in PICKLED_BY_OTHERS:
            (folder / name).write_bytes(evil)
    assert (resume(run.folder, progress=False).checkpoint / "model.safetensors").read_bytes() == whole
    mark_failed(run.folder, "stopped")
    for folder in run.folder.glob("checkpoints/checkpoint-*"):
        for file in folder.iterdir():
            file.write_bytes(evil)
    with pytest.warns(UserWarning, match="checkpoint"):
        assert resume(run.folder, progress=False).status == "finished"
    assert not marker.exists()


def test_a_models_own_code_is_not_run(tiny_recipe, tmp_path, evil, marker):
    folder = Path(shutil.copytree(tiny_recipe.model, tmp_path / "model"))
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(evil)
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass Evil: pass\n")
    for name in ("config.json", "tokenizer_config.json"):
        settings = json.loads((folder / name).read_text())
        classes = dict.fromkeys(("AutoConfig", "AutoModelForSequenceClassification"), "evil.Evil")
        settings |= {"auto_map": classes | {"AutoTokenizer": ["evil.Evil", None]}, "transformers_weights": None}
        (folder / name).write_text(json.dumps(settings))
    with pytest.raises((OSError, ValueError, RuntimeError)):
        train(mgpp.load_recipe("reviews-quick", model=str(folder)), tmp_path / "run", progress=False)
    with pytest.raises(ValueError, match="transfer.mask"):
        read_masks(folder)
    assert not marker.exists()


def test_the_toolkit_calls_nothing_that_executes_what_it_reads():
    forbidden = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    for file in sorted(TOOLKIT.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            assert not forbidden & {name.split(".")[0] for name in names}, f"{file}: {names}"
            if not isinstance(node, ast.Call):
                continue
            call = ast.unparse(node.func)
            assert call not in {"eval", "exec", "torch.load", "np.load", "pd.read_pickle", "yaml.unsafe_load"}, file
            for keyword in node.keywords:
                says_yes = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
                assert not (keyword.arg in ("trust_remote_code", "allow_pickle", "shell") and says_yes), file
            if call.endswith("from_pretrained"):
                text = ast.unparse(node)
                assert "trust_remote_code=False" in text or "safely(" in text, f"{file}: {text}"


# paths


def test_replacing_a_run_deletes_no_more_than_the_run(run_folder, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    shutil.rmtree(run_folder / "checkpoints")
    (run_folder / "checkpoints").symlink_to(tmp_path / "thesis")
    with RunWriter(run_folder, {"method": "new"}, replace=True):
        pass
    assert load_run(run_folder).info["method"] == "new"
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"


@pytest.mark.parametrize(
    "name", ["../up", "/etc/cron.d/x", "a/b", "..", ".hidden", "a\\b", "", "a\nb", "x" * 101, "a\0b"]
)
def test_a_recipe_can_not_choose_a_folder_elsewhere(name):
    with pytest.raises(RecipeError, match="name="):
        mgpp.load_recipe("reviews", name=name)


def test_a_sweep_stays_in_its_folder():
    cells = cells_of("reviews", {"model": ["../../up", "/etc", "..", "a\nb"]}, [0])
    assert all(Path(cell.name).name == cell.name and not cell.name.startswith(".") for cell in cells)


# recipes


@pytest.mark.parametrize(
    "text", ["seed: !!python/object/apply:os.system [touch x]", "!!python/name:os.system", "seed: !evil 3"]
)
def test_yaml_executes_nothing(tmp_path, text):
    (tmp_path / "strange.yaml").write_text(text)
    with pytest.raises(RecipeError, match="strange.yaml"):
        mgpp.load_recipe(tmp_path / "strange.yaml")
    with pytest.raises(RecipeError, match="--set"):
        parse_override(f"seed={text}")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("push_to_hub", True),
        ("hub_token", "hf_secret"),
        ("report_to", "wandb"),
        ("report_to", ["none", "all"]),
        ("output_dir", "/tmp"),
        ("resume_from_checkpoint", "/tmp/x"),
        ("accelerator_config", "/etc/passwd"),
        ("fsdp_config", "/etc/passwd"),
        ("deepspeed", "/etc/passwd"),
    ],
)
def test_a_recipe_uploads_nothing_and_reads_no_other_settings(setting, value):
    with pytest.raises(RecipeError, match=f"trainer.{setting}") as error:
        mgpp.load_recipe("reviews", **{f"trainer.{setting}": value})
    assert "hf_secret" not in str(error.value)


def test_every_argument_of_the_trainer_that_uploads_is_refused():
    reaching = [f.name for f in fields(TrainingArguments) if any(word in f.name for word in ("hub", "trackio"))]
    assert len(reaching) >= 8
    for name in reaching:
        with pytest.raises(RecipeError, match=f"trainer.{name} "):
            mgpp.load_recipe("reviews", **{f"trainer.{name}": "x"})


def test_unpickling_is_what_torch_would_do_here(evil, marker, tmp_path):
    """The danger is real: a torch.load that trusts the file executes it."""
    torch.save(Evil(marker), tmp_path / "optimizer.pt")
    torch.load(tmp_path / "optimizer.pt", weights_only=False)
    assert marker.exists()
