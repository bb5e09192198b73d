import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from mgpp.lab.models.packages import REVIEWS
from mgpp.lab.training import provenance
from mgpp.runs import Run, RunError, RunWarning


def test_everything_is_plain_and_there():
    found = provenance.provenance()
    json.dumps(found)
    assert found["versions"]["python"]
    assert found["device"]["name"]
    assert found["device"]["threads"] >= 1


def test_outside_a_checkout_there_is_no_commit(monkeypatch):
    def fail(*words, **options):
        raise subprocess.CalledProcessError(128, words)

    monkeypatch.setattr(subprocess, "run", fail)
    assert provenance.git_commit() is None


def test_native_bf16_answers():
    assert provenance.native_bf16() in (True, False)


def stopped_with(**hashes):
    return Run(Path("a-run"), {"status": "stopped", "sha256": hashes})


def test_packaged_data_that_changed_are_refused():
    with pytest.raises(RunError, match=r"a-run: the data changed .*, expected '3b7e'; bring the data of then back"):
        provenance.sources_of(REVIEWS.sha256, None, None, stopped_with(data="3b7e"))
    with pytest.raises(RunError, match="sha256 found of no file, expected '3b7e'"):
        provenance.sources_of(REVIEWS.sha256, None, None, stopped_with(model="3b7e"))


def test_data_of_the_hub_whose_hash_changed_are_warned_of_and_the_first_hash_is_kept():
    with pytest.warns(RunWarning, match=r"the data changed since the run began: sha256 found 5c1d, expected '3b7e'"):
        found = provenance.sources_of("5c1d", None, None, stopped_with(model=None, data="3b7e"))
    assert found == {"model": None, "data": "3b7e"}


def test_hashes_that_a_run_did_not_note_are_not_compared():
    assert provenance.sources_of("5c1d", "9a", None, stopped_with(data=None)) == {"model": "9a", "data": "5c1d"}
    assert provenance.sources_of("5c1d", "9a", None, Run(Path("old"), {})) == {"model": "9a", "data": "5c1d"}


def test_a_model_in_parts_changes_its_hash_with_any_of_them(tmp_path):
    for number in (1, 2):
        (tmp_path / f"model-0000{number}-of-00002.safetensors").write_bytes(b"weights")
    first = provenance.weights_hash(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(b"others")
    assert provenance.weights_hash(tmp_path) != first
    (tmp_path / "model.safetensors").write_bytes(b"all of it")
    assert provenance.weights_hash(tmp_path) == hashlib.sha256(b"all of it").hexdigest()
