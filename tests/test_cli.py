import subprocess
import sys

import pytest
from click.testing import CliRunner
from fake_training import as_words, short_training

from mgpp.lab.cli import main
from mgpp.lab.cli.sweep import _integers
from mgpp.methods import METHODS
from mgpp.plots import figures
from mgpp.runs import RunWriter, load_run, mark_failed

pytestmark = pytest.mark.usefixtures("few_reviews")


def call(*words):
    return CliRunner().invoke(main, words)


def test_train_runs_and_figures_together(tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = [f"--set=model={tiny_recipe.model}", "--set=max_steps=12", "--set=threads=1", "--set=precision=fp32"]
    for method in ("mgpp", "l2"):
        done = call("train", "reviews-quick", *settings, f"--set=method={method}", "--quiet")
        assert done.exit_code == 0, done.output
        assert "accuracy" in done.output
    table = call("runs", "data/local").output
    assert "reviews-quick-mgpp-0.9-seed0 finished" in table
    assert call("runs", "data/local/reviews-quick-l2-0.9-seed0").output.count("finished") == 1
    save = figures.save_figure  # takes longer than the drawing, and the files of all are looked at elsewhere
    monkeypatch.setattr(
        figures, "save_figure", lambda figure, stem, *to: save(figure, stem, *to) if stem == "figure_2" else []
    )
    done = call("figures", "--runs", "data/local")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "figures" / "figure_2.png").stat().st_size > 10_000


def test_explore_writes_a_page_or_opens_one(tiny_runs_folder, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("click.launch", opened.append)
    monkeypatch.chdir(tmp_path)
    done = call("explore", "--runs", str(tiny_runs_folder), "--html", "mine/page.html")
    assert (done.exit_code, done.output.strip(), opened) == (0, "mine/page.html", [])
    assert "L2, sparsity 0.9, seed 0" in (tmp_path / "mine" / "page.html").read_text(encoding="utf-8")
    done = call("explore", "--runs", str(tiny_runs_folder))
    assert opened == ["data/local/explorer.html"]
    assert (tmp_path / opened[0]).exists()


def test_explore_takes_the_runs_that_match(tiny_runs_folder, tmp_path):
    page = tmp_path / "page.html"
    done = call("explore", "--runs", str(tiny_runs_folder), "--only", "*-l2-*", "--html", str(page))
    assert done.exit_code == 0, done.output
    assert "L2, sparsity 0.9, seed 0" in page.read_text(encoding="utf-8")
    assert "MGPP, sparsity" not in page.read_text(encoding="utf-8")
    done = call("explore", "--runs", str(tiny_runs_folder), "--only", "l2")
    assert done.exit_code == 2
    assert f"'l2' matches no run in {tiny_runs_folder}" in done.output


def test_check_says_what_is_missing(monkeypatch):
    monkeypatch.setattr("mgpp.lab.environment.MEMORY_NEEDED", 0)  # what is free depends on what else runs here
    monkeypatch.setattr("mgpp.lab.environment.DISK_NEEDED", 0)
    done = call("check")
    assert done.exit_code == 0, done.output
    assert "Everything is in place" in done.output
    monkeypatch.setattr("mgpp.lab.environment.MEMORY_NEEDED", 1e18)
    done = call("check")
    assert done.exit_code == 1
    assert "free memory" in done.output.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "exit_code", "named"),
    [
        (["train", "reviews", "--set", "prior.lamm=1"], 1, "prior.lam"),
        (["train", "reviews", "--set", "seed"], 1, "--set"),
        (["train", "reviws"], 1, "reviws"),
        (["train"], 2, "--resume"),
        (["train", "reviews", "--resume", "x"], 2, "--resume"),
        (["train", "--resume", "x", "--replace"], 2, "--resume"),
        (["runs", "nowhere"], 1, "nowhere"),
        (["figures", "--runs", "nowhere"], 1, "nowhere"),
        (["explore", "--runs", "nowhere"], 1, "nowhere"),
        (["methods", "mgp"], 2, "mgp"),
        (["compare", "reviews", "--trials", "nowhere"], 2, "--trials"),
        (["compare", "reviews", "--seeds", "a-2"], 2, "--seeds"),
        (["compare", "reviews", "--seeds", "3-1"], 2, "--seeds"),
        (["compare", "reviews", "--sparsities", "a"], 2, "--sparsities"),
        (["sweep", "reviews", "--jobs", "0"], 2, "--jobs"),
        (["sweep", "reviews", "--grid=prior.lam"], 1, "prior.lam"),
        (["sweep", "reviews", "--slurm=partition=gpu"], 1, "no options --slurm"),
        (["sweep", "reviews", "--launcher=ray", "--resources=num_gpus"], 1, "--resources"),
    ],
)
def test_errors_are_short_and_name_what_is_wrong(words, exit_code, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = call(*words)
    assert done.exit_code == exit_code
    assert named in done.output.splitlines()[-1]
    assert "Traceback" not in done.output
    assert list(tmp_path.iterdir()) == []


def test_errors_of_plain_python_types_from_the_toolkit_are_for_people_too(tmp_path):
    done = call("train", "reviews-quick", "--set", "targets.include=[nonsense]", "--out", str(tmp_path / "x"))
    assert done.exit_code == 1
    assert "matches no parameter" in done.output


def test_an_empty_folder_of_runs(tmp_path):
    assert "no runs in" in call("runs", str(tmp_path)).output


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom mgpp.lab.cli import main\n"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0\n"
        "heavy = {'torch', 'transformers', 'pandas', 'matplotlib', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_a_comparison_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = as_words(short_training(tmp_path, max_steps=6, save_every=None, save_model=False))
    words = ["compare", "reviews-quick", *settings, "--methods=mgpp,gmp", "--seeds=0", "--out=runs"]
    (tmp_path / "page.md").write_text("<!-- results -->old<!-- /results -->")
    done = call(*words, "--readme=page.md", "--figures=pictures")
    assert done.exit_code == 0, done.output
    assert "| 0.9 | GMP (no penalty) |" in (tmp_path / "page.md").read_text(encoding="utf-8")
    assert (tmp_path / "runs" / "comparison.csv").is_file()
    assert (tmp_path / "pictures" / "figure_comparison.png").is_file()
    again = call(*words)
    assert "2 runs in runs: 2 are there, 0 to train" in again.output
    refused = call(*words, "--set=batch_size=8")
    assert refused.exit_code == 1
    assert "batch_size" in refused.output


def test_a_page_that_can_not_hold_the_table_is_refused_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.md").write_text("no markers")
    done = call("compare", "reviews-quick", "--out=runs", "--readme=page.md", "--markers=mine")
    assert done.exit_code == 1
    assert "<!-- mine -->" in done.output
    assert not (tmp_path / "runs").exists()


def test_a_comparison_of_several_recipes_names_the_metric_of_each(tmp_path, monkeypatch):
    metrics = {"a": "accuracy", "b": "perplexity"}
    for name, metric in metrics.items():
        recipe = {"name": name, "method": "dense", "seed": 0, "sparsity": {"final": 0.9}}
        info = {"recipe": recipe, "metric": {"name": metric, "higher_is_better": metric == "accuracy"}}
        with RunWriter(tmp_path / f"{name}-dense", info) as writer:
            writer.update(final={metric: 0.5})
    monkeypatch.setattr("mgpp.lab.sweeps.compare.compare", lambda *args, **kwargs: None)
    monkeypatch.setattr("mgpp.lab.sweeps.sweep.not_finished", lambda *args: [])
    done = call("compare", "reviews-quick", f"--out={tmp_path}", "--data=x")
    assert done.exit_code == 0, done.output
    assert "accuracy 50.0%" in done.output
    assert "perplexity 0.5" in done.output


@pytest.mark.parametrize(("words", "numbers"), [("0", [0]), ("0-2", [0, 1, 2]), ("0,2-4, 9", [0, 2, 3, 4, 9])])
def test_seeds_are_numbers_and_ranges(words, numbers):
    assert _integers(words) == numbers


def test_every_method_has_its_card():
    table = call("methods").output
    for name in METHODS:
        assert f"\n{name} " in f"\n{table}"
        card = call("methods", name).output
        assert "Cost" in card or "see `platon`" in card or name == "dense"
    assert "equations" in call("methods", "platon").output


def test_a_dry_run_trains_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = call("train", "glue-mnli-bert", "--dry-run", "--data", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert "84,934,656" in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_stopped_run_goes_on(tiny_recipe, tmp_path):
    settings = [f"--set=model={tiny_recipe.model}", "--set=max_steps=8", "--set=precision=fp32", "--set=save_every=4"]
    folder = tmp_path / "run"
    assert call("train", "reviews-quick", *settings, "--quiet", "--out", str(folder)).exit_code == 0
    refused = call("train", "--resume", str(folder))
    assert refused.exit_code == 1
    mark_failed(folder, "stopped")
    done = call("train", "--resume", str(folder), "--quiet")
    assert done.exit_code == 0, done.output
    assert load_run(folder).info["resumed_at"] == [8]
    assert load_run(folder).status == "finished"
