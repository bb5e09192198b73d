"""What the README says can be done can be done."""

import re
from pathlib import Path

import datasets
import pytest

from mgpp import load_run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", README, flags=re.S)
FOLDERS = ("data", "figures", "notebooks/workshop", ".binder")
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / folder / "README.md" for folder in FOLDERS)]


def test_the_library_in_fifteen_lines_finds_the_inputs_that_matter(capsys):
    exec(CODE[0], {})
    assert capsys.readouterr().out == "18 zeros; kept: [0, 1]\n"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_script_with_the_published_settings_runs(tiny_model_folder, tmp_path, monkeypatch):
    rows = {
        "premise": ["a film", "no film"] * 8,
        "hypothesis": ["it is", "it is not"] * 8,
        "label": [0, 1] * 8,
        "idx": [0] * 16,
    }
    small = datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows)})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", lambda *names: small)
    local = CODE[1]
    for published, small_scale in {
        '"google-bert/bert-base-uncased"': repr(str(tiny_model_folder)),
        "num_labels=3": "num_labels=2",
        ", 32\n": ", 4\n",
        '    "mnli",\n': '    "mnli",\n    use_cpu=True,\n    disable_tqdm=True,\n    report_to="none",\n',
    }.items():
        assert published in local
        local = local.replace(published, small_scale)
    exec(local, {})
    run = load_run(tmp_path / "mnli" / "run")
    assert run.metrics["sparsity"].iloc[-1] == pytest.approx(0.9, abs=1e-3)
    assert run.metrics["lam"].iloc[-1] == 1e-4


def test_every_make_target_exists():
    makefile = (ROOT / "Makefile").read_text()
    for document in DOCUMENTS:
        for target in re.findall(r"\bmake ([a-z-]+)\b`", document.read_text(encoding="utf-8")):
            assert re.search(rf"^{target}:", makefile, flags=re.M), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document):
    for link in re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            assert (document.parent / link).exists(), link


def test_every_figure_is_shown_and_described():
    captions = (ROOT / "figures" / "README.md").read_text(encoding="utf-8")
    for png in (ROOT / "figures").glob("*.png"):
        assert png.name in captions
        assert png.name in README or png.stem.endswith("_column")


def test_the_hashes_of_the_data_are_the_ones_checked():
    from mgpp.training.packages import MINILM, REVIEWS

    text = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    assert MINILM.sha256 in text
    assert REVIEWS.sha256 in text
