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
    assert provenance.native_bf16() in (True, False)


def test_outside_a_checkout_there_is_no_commit(monkeypatch):
    def fail(*words, **options):
        raise subprocess.CalledProcessError(128, words)

    monkeypatch.setattr(subprocess, "run", fail)
    assert provenance.git_commit() is None


def stopped_with(**hashes):
    return Run(Path("a-run"), {"status": "stopped", "sha256": hashes})


@pytest.mark.parametrize(("found", "begun"), [({"data": REVIEWS.sha256}, {"data": "3b7e"}), ({}, {"model": "3b7e"})])
def test_a_model_or_packaged_data_that_changed_are_refused(found, begun):
    now = {"model": None, "data": REVIEWS.sha256} | found
    with pytest.raises(RunError, match=f"the {next(iter(begun))} changed .*3b7e"):
        provenance.check_sources(now, None, stopped_with(**begun))


def test_data_of_the_hub_whose_hash_changed_are_warned_of_and_the_first_hash_is_kept():
    with pytest.warns(RunWarning, match="5c1d.*3b7e"):
        found = provenance.check_sources({"model": None, "data": "5c1d"}, None, stopped_with(model=None, data="3b7e"))
    assert found == {"model": None, "data": "3b7e"}


def test_hashes_that_a_run_did_not_note_are_not_compared():
    now = {"model": "9a", "data": "5c1d"}
    for stopped in (stopped_with(data=None), Run(Path("old"), {}), None):
        assert provenance.check_sources(now, None, stopped) == now


def test_a_model_in_parts_changes_its_hash_with_any_of_them(tmp_path):
    for number in (1, 2):
        (tmp_path / f"model-0000{number}-of-00002.safetensors").write_bytes(b"weights")
    first = provenance.weights_hash(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(b"others")
    assert provenance.weights_hash(tmp_path) != first
    (tmp_path / "model.safetensors").write_bytes(b"all of it")
    assert provenance.weights_hash(tmp_path) == hashlib.sha256(b"all of it").hexdigest()
