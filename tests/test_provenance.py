import json
import subprocess

from mgpp.training import provenance


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
