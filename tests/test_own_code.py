"""Tasks and methods of one's own, in a file that is imported here and in every worker."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mgpp.lab import own_code
from mgpp.lab.cli import main
from mgpp.lab.own_code import check_importable, import_file, own_files
from mgpp.lab.recipes.recipe import RecipeError, recipe_from
from mgpp.lab.sweeps.sweep import sweep
from mgpp.lab.sweeps.worker import work
from mgpp.lab.tasks import TASKS, register
from mgpp.lab.tasks.text_classification import TextClassification
from mgpp.lab.training.train import resume
from mgpp.methods import METHODS
from mgpp.runs import load_run, mark_failed

CODE = '''
from dataclasses import dataclass
from beside import LABELS
from mgpp import L2, METHODS, Method
from mgpp.lab.tasks import register
from mgpp.lab.tasks.text_classification import TextClassification

@register("tickets")
class Tickets(TextClassification):
    """What does a mail want?"""
    labels = LABELS

@dataclass(frozen=True)
class Strong(Method):
    """A strong L2."""
    label, color = "strong", "red"
    section = "strong"
    strength: float = 0.5
    def penalty(self, schedule):
        return L2(self.strength)

METHODS["strong"] = Strong
'''


def forget():
    """Leave everything as in a process that has not imported the file."""
    TASKS.pop("tickets", None)
    METHODS.pop("strong", None)
    sys.modules.pop("my_task", None)
    sys.modules.pop("beside", None)
    own_code._imported.clear()


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    file = tmp_path / "my_task.py"
    file.write_text(CODE)
    (tmp_path / "beside.py").write_text('LABELS = ("bug", "praise")')
    yield file
    forget()


@pytest.fixture
def settings(tmp_path, tiny_model_folder):
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "validation"):
        (data / f"{split}.csv").write_text("text,label\n" + "it fails,bug\nI love it,praise\n" * 8)
    changed = {"task": "tickets", "method": "strong", "data": str(data), "model": str(tiny_model_folder)}
    changed |= {"max_steps": 4, "threads": 1, "precision": "fp32", "batch_size": 4, "save_every": 2}
    return changed | {"sparsity.warmup": 1, "sparsity.frozen": 1, "log.every": 2, "log.histograms_every": 2}


def mgpp(*words):
    return CliRunner().invoke(main, [*map(str, words)], catch_exceptions=False)


def sets(settings):
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


@pytest.mark.parametrize("before", [True, False])
def test_every_command_knows_what_the_file_registers(file, settings, before):
    option = ["--import", file]
    for words in (["methods", "strong"], ["recipe", "reviews-quick", *sets(settings)]):
        done = mgpp(*option, *words) if before else mgpp(*words, *option)
        assert done.exit_code == 0, done.output
        assert "strength" in done.output
        forget()
    done = mgpp("train", "reviews-quick", *option, *sets(settings), "--dry-run")
    assert "16 to train on (counted)" in done.output
    forget()
    assert mgpp("methods", "strong").exit_code != 0


def test_a_run_trains_and_resumes_with_the_file_only(file, settings, tmp_path, monkeypatch):
    monkeypatch.chdir(file.parent)
    out = tmp_path / "run"
    assert mgpp("train", "reviews-quick", "--import", file, *sets(settings), "--out", out, "--quiet").exit_code == 0
    assert load_run(out).info["imports"] == [file.name]
    mark_failed(out, "stopped")
    forget()
    with pytest.raises(RecipeError, match=r"--import .*my_task\.py"):
        resume(out)
    assert mgpp("train", "--resume", out, "--import", file, "--quiet").exit_code == 0
    assert load_run(out).status == "finished"


class Handed:
    """A launcher that works as another process does: it knows only what it is handed."""

    threads, pause = 1, 0.0

    def begin(self, tasks):
        forget()
        return [Done(work(recipe, str(folder))) for recipe, folder in tasks]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


class Done:
    def __init__(self, outcome):
        self.outcome = outcome

    def done(self):
        return True

    def result(self):
        return self.outcome


def test_workers_of_a_sweep_import_it_too(file, settings, tmp_path, monkeypatch):
    import_file(file)
    recipe = recipe_from({}, **settings)
    own_code._imported.clear()  # as if Python had imported it, without --import
    frame = sweep(recipe, grid={"strong.strength": [0.1, 0.2]}, out=tmp_path / "sweep", launcher=Handed(), retries=0)
    assert frame["status"].tolist() == ["finished"] * 2
    assert frame["strong.strength"].tolist() == [0.1, 0.2]


def test_a_class_of_the_program_itself_can_not_go_to_workers(settings, file, monkeypatch):
    import_file(file)
    own_code._imported.clear()
    recipe = recipe_from({}, **settings)
    assert own_files(recipe) == [str(file)]
    check_importable(recipe)
    monkeypatch.setattr(METHODS["strong"], "__module__", "__main__")
    with pytest.raises(RecipeError, match="Strong"):
        check_importable(recipe)


def test_a_file_is_run_once_and_a_package_is_imported_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    package = tmp_path / "mgpp_own_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "part.py").write_text("seven = 7")
    (package / "whole.py").write_text("from .part import seven")
    assert import_file(package / "whole.py").seven == 7
    assert import_file(package / "whole.py") is sys.modules["mgpp_own_package.whole"]
    (tmp_path / "json.py").write_text("seven = 7")
    assert import_file(tmp_path / "json.py").__name__ != "json"
    with pytest.raises(RecipeError, match="no-file"):
        import_file(tmp_path / "no-file.py")
    forget()


def test_names_of_the_toolkit_stay_its_own():
    class Mine(TextClassification):
        pass

    with pytest.raises(ValueError, match="reviews"):
        register("reviews")(Mine)


def test_committed_runs_name_no_place_of_a_machine():
    for path in (Path(__file__).parents[1] / "data").rglob("run.json"):
        assert not any(Path(file).is_absolute() for file in json.loads(path.read_text()).get("imports", [])), path
