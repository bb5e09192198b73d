import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from mgpp import RunError, RunWriter, load_run, load_runs
from mgpp.runs import METRICS_COLUMNS, RunWarning, mark_failed, reader, summary
from mgpp.runs.frames import write_part


def rows(step):
    return pd.DataFrame({"step": [step, step], "name": ["a", "b"], "sparsity": [0.1, 0.2]})


def test_what_is_written_is_read(tmp_path):
    with RunWriter(tmp_path / "run", {"recipe": {"method": "l2", "seed": 3, "sparsity": {"final": 0.9}}}) as writer:
        for step in (0, 10):
            writer.metrics(
                {"step": step, "loss": np.float32(0.5), "pruning_threshold": float("nan"), "eval_accuracy": 1}
            )
            writer.part("layers", step, rows(step))
        writer.update(final={"accuracy": 0.8})
    run = load_run(tmp_path / "run")
    assert (run.status, run.method, run.seed, run.sparsity, run.final) == ("finished", "l2", 3, 0.9, {"accuracy": 0.8})
    assert list(run.metrics.columns) == [*METRICS_COLUMNS, "eval_accuracy"]
    assert run.metrics["step"].tolist() == [0, 10]
    assert run.metrics["pruning_threshold"].isna().all()
    pd.testing.assert_frame_equal(run.layers, pd.concat([rows(0), rows(10)], ignore_index=True))
    assert run.weights.empty
    assert [path.name for path in (tmp_path / "run" / "layers.parquet").iterdir()] == ["00000000-00000010.parquet"]


def test_a_run_can_be_read_while_it_is_written(tmp_path):
    with RunWriter(tmp_path / "run") as writer:
        writer.metrics({"step": 0})
        writer.part("weights", 0, rows(0))
        run = load_run(tmp_path / "run")
        assert (run.status, len(run.metrics), len(run.weights)) == ("running", 1, 2)


def test_a_failed_run_keeps_its_log_and_says_why(tmp_path):
    with pytest.raises(ZeroDivisionError), RunWriter(tmp_path / "run") as writer:
        writer.metrics({"step": 0})
        raise ZeroDivisionError("too much")
    run = load_run(tmp_path / "run")
    assert (run.status, run.info["error"], len(run.metrics)) == ("failed", "ZeroDivisionError: too much", 1)


def test_a_row_cut_off_in_the_middle_is_left_out_with_a_warning(tmp_path):
    with RunWriter(tmp_path / "run") as writer:
        writer.metrics({"step": 0, "loss": 0.5})
        writer.metrics({"step": 1, "loss": 0.25})
    path = tmp_path / "run" / "metrics.jsonl"
    path.write_text(path.read_text()[:-8])
    with pytest.warns(RunWarning, match="metrics.jsonl"):
        assert load_run(tmp_path / "run").metrics["loss"].tolist() == [0.5]


def test_a_broken_row_before_the_last_is_an_error(tmp_path):
    with RunWriter(tmp_path / "run") as writer:
        writer.metrics({"step": 0})
    path = tmp_path / "run" / "metrics.jsonl"
    path.write_text("not a row\n" + path.read_text())
    with pytest.raises(RunError, match="metrics.jsonl, line 1 "):
        _ = load_run(tmp_path / "run").metrics


@pytest.mark.parametrize("line", ['{"step": Infinity}', "{}", '{"step": null}', "3"])
def test_going_on_with_a_log_that_holds_no_row_is_refused(line, tmp_path):
    with pytest.raises(KeyboardInterrupt), RunWriter(tmp_path / "run") as writer:
        writer.metrics({"step": 0})
        raise KeyboardInterrupt
    with (tmp_path / "run" / "metrics.jsonl").open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(RunError, match="metrics.jsonl, line 2 "):
        RunWriter(tmp_path / "run", resume_at=1)


def test_joining_that_was_interrupted_counts_nothing_twice(tmp_path):
    with RunWriter(tmp_path / "run") as writer:
        for step in (0, 10, 20):
            writer.part("layers", step, rows(step))
        joined = pd.concat([rows(0), rows(10), rows(20)], ignore_index=True)
        write_part(tmp_path / "run" / "layers.parquet", 0, 20, joined)  # the single parts are still there
        pd.testing.assert_frame_equal(load_run(tmp_path / "run").layers, joined)
        (tmp_path / "run" / "layers.parquet" / ".00000030-00000030.parquet.tmp").write_bytes(b"half a file")
    pd.testing.assert_frame_equal(load_run(tmp_path / "run").layers, joined)


def test_a_folder_that_holds_another_run_is_refused(tmp_path):
    with RunWriter(tmp_path / "run", {"name": "first"}) as writer:
        writer.metrics({"step": 0})
    with pytest.raises(RunError, match="--replace"):
        RunWriter(tmp_path / "run")
    assert load_run(tmp_path / "run").info["name"] == "first"
    with RunWriter(tmp_path / "run", {"name": "second"}, replace=True):
        pass
    assert load_run(tmp_path / "run").info["name"] == "second"
    assert load_run(tmp_path / "run").metrics.empty


def test_a_folder_with_other_files_is_never_deleted(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    for replace in (False, True):
        with pytest.raises(RunError, match=tmp_path.name):
            RunWriter(tmp_path, replace=replace)
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("{", "run.json"),
        ("[]", "status"),
        ('{"status": "running", "format": 99}', "format 99"),
        ('{"status": "running", "format": "1"}', "format 1"),
        ('{"status": "running", "format": 1, "recipe": null}', "recipe"),
    ],
)
def test_a_damaged_or_newer_run_json_is_refused(tmp_path, text, field):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=field):
        load_run(tmp_path)


def test_missing_folders(tmp_path):
    (tmp_path / "a-file").touch()
    for path in (tmp_path, tmp_path / "a-file"):
        with pytest.raises(RunError, match="run.json"):
            load_run(path)
    with pytest.raises(RunError, match="nowhere"):
        load_runs(tmp_path / "nowhere")
    assert load_runs(tmp_path) == []


def test_a_folder_of_folders_of_runs_names_one_of_them(tmp_path):
    with RunWriter(tmp_path / "sweep" / "run", {}):
        pass
    with pytest.warns(RunWarning, match="sweep"):
        assert load_runs(tmp_path) == []
    assert summary([]).empty


def test_summary(tmp_path):
    for name in ("b", "a"):
        with RunWriter(tmp_path / name, {"recipe": {"method": "gmp", "seed": 1, "sparsity": {"final": 0.5}}}) as writer:
            writer.update(final={"accuracy": 0.75, "accuracy_se": 0.01})
    table = summary(load_runs(tmp_path))
    assert table["name"].tolist() == ["a", "b"]
    assert table.loc[0, ["method", "sparsity", "metric", "score", "score_se"]].tolist() == [
        "gmp",
        0.5,
        "accuracy",
        0.75,
        0.01,
    ]


def test_the_score_is_the_metric_that_the_run_names(tmp_path):
    with RunWriter(tmp_path / "run", {"metric": {"name": "f1", "higher_is_better": True}}) as writer:
        writer.update(final={"accuracy": 0.75, "f1": 0.5})
    table = summary(load_runs(tmp_path))
    assert table.loc[0, ["metric", "score"]].tolist() == ["f1", 0.5]
    assert np.isnan(table.loc[0, "score_se"])


def test_a_run_that_was_killed_is_marked_and_keeps_its_log(tmp_path):
    writer = RunWriter(tmp_path / "run", {"recipe": {"method": "l2"}})
    writer.metrics({"step": 0})
    writer._rows.close()  # as the system does for a process that is killed
    for words in ("killed by signal 9", "other words"):
        mark_failed(tmp_path / "run", words, {"recipe": {"method": "never used"}})
        run = load_run(tmp_path / "run")
        assert (run.status, run.info["error"], run.method) == ("failed", "killed by signal 9", "l2")
    assert len(run.metrics) == 1


def test_unknown_frames_are_refused(tmp_path):
    with RunWriter(tmp_path / "run") as writer, pytest.raises(RunError, match="frame='biases'"):
        writer.part("biases", 0, rows(0))


def test_reading_needs_no_torch(tmp_path):
    with RunWriter(tmp_path / "run") as writer:
        writer.metrics({"step": 0})
    code = (
        "import sys; sys.modules['torch'] = None\n"
        f"import mgpp; print(len(mgpp.load_run({str(tmp_path / 'run')!r}).metrics))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_run_json_is_plain_json(tmp_path):
    with RunWriter(tmp_path / "run", {"number": np.int64(3), "folder": tmp_path}):
        pass
    assert json.loads((tmp_path / "run" / "run.json").read_text())["number"] == 3


def test_a_row_needs_its_step_and_values_must_be_plain(tmp_path):
    with RunWriter(tmp_path / "run", {"final": {"accuracy": float("nan")}}) as writer:
        with pytest.raises(KeyError, match="step"):
            writer.metrics({"loss": 0.5})
        with pytest.raises(RunError, match="set"):
            writer.metrics({"step": 0, "seen": {1}})
    assert load_run(tmp_path / "run").final == {"accuracy": None}


def test_parts_that_are_joined_while_they_are_read(tmp_path, monkeypatch):
    with RunWriter(tmp_path / "run") as writer:
        for step in (0, 10):
            writer.part("layers", step, rows(step))
        listed = reader.part_files(tmp_path / "run" / "layers.parquet")
    answers = iter([listed])  # the first listing is stale by now
    fresh = reader.part_files
    monkeypatch.setattr(reader, "part_files", lambda folder: next(answers, None) or fresh(folder))
    assert len(load_run(tmp_path / "run").layers) == 4


def test_blank_lines_are_no_rows(tmp_path):
    with RunWriter(tmp_path / "run") as writer:
        writer.metrics({"step": 0})
    with (tmp_path / "run" / "metrics.jsonl").open("a") as stream:
        stream.write("\n")
    assert len(load_run(tmp_path / "run").metrics) == 1


def test_damaged_and_foreign_part_files(tmp_path):
    with RunWriter(tmp_path / "run") as writer:
        writer.part("layers", 0, rows(0))
    folder = tmp_path / "run" / "layers.parquet"
    (folder / "copy.parquet").write_bytes(b"not ours")
    assert len(load_run(tmp_path / "run").layers) == 2
    path = folder / "00000000-00000000.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match="00000000-00000000.parquet"):
        _ = load_run(tmp_path / "run").layers


def test_what_was_logged_stays_when_a_run_is_resumed(tmp_path):
    with pytest.raises(ZeroDivisionError), RunWriter(tmp_path / "run", {"recipe": {"seed": 7}}) as writer:
        for step in (0, 10, 20):
            writer.metrics({"step": step, "loss": step / 7})
            writer.part("layers", step, rows(step))
        raise ZeroDivisionError
    log = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    with (tmp_path / "run" / "metrics.jsonl").open("ab") as stream:
        stream.write(b'{"step": 30, "lo')
    with RunWriter(tmp_path / "run", resume_at=10) as writer:
        assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == log
        assert len(load_run(tmp_path / "run").layers) == 6
        writer.metrics({"step": 10, "loss": 10 / 7})
        writer.part("layers", 10, rows(10))
        assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == log
        assert "replaced" not in writer.info
        writer.part("layers", 20, rows(20).assign(sparsity=0.5))
        writer.metrics({"step": 20, "loss": 0.5})
        writer.metrics({"step": 30, "loss": 0.25})
    run = load_run(tmp_path / "run")
    assert run.metrics["loss"].tolist() == [0, 10 / 7, 0.5, 0.25]
    assert run.layers["sparsity"].tolist() == [0.1, 0.2, 0.1, 0.2, 0.5, 0.5]
    assert (run.status, run.info["replaced"], run.info["resumed_at"], run.seed) == ("finished", [20], [10], 7)
    assert "error" not in run.info
    with pytest.raises(RunError, match="finished"):
        RunWriter(tmp_path / "run", resume_at=30)


def test_no_row_of_a_step_that_has_several_is_lost(tmp_path):
    with pytest.raises(ZeroDivisionError), RunWriter(tmp_path / "run") as writer:
        for row in ({"step": 0}, {"step": 10, "loss": 0.6}, {"step": 10, "loss": 0.5}):
            writer.metrics(row)
        raise ZeroDivisionError
    log = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    with RunWriter(tmp_path / "run", resume_at=10):
        pass
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == log


def test_a_run_that_was_killed_while_its_parts_were_joined_goes_on(tmp_path):
    with RunWriter(tmp_path / "run") as writer:
        for step in (0, 10):
            writer.part("layers", step, rows(step))
    mark_failed(tmp_path / "run", "killed")  # all is joined, but nothing says that the run is finished
    with RunWriter(tmp_path / "run", resume_at=10) as writer:
        writer.part("layers", 10, rows(10))
        writer.part("layers", 20, rows(20))
    run = load_run(tmp_path / "run")
    assert run.layers["step"].tolist() == [0, 0, 10, 10, 20, 20]
    assert "replaced" not in run.info
    assert [path.name for path in (tmp_path / "run" / "layers.parquet").iterdir()] == ["00000000-00000020.parquet"]


def test_a_run_that_was_killed_before_it_began_is_no_run(tmp_path):
    for name in (".lock", ".writer.json", "..writer.json.tmp", ".run.json.tmp"):
        (tmp_path / name).write_text("half")
    with RunWriter(tmp_path):
        pass
    assert load_run(tmp_path).status == "finished"


def test_one_damaged_run_does_not_hide_the_others(tmp_path):
    for name in ("cut", "good", "newer"):
        with RunWriter(tmp_path / name) as writer:
            writer.part("layers", 0, rows(0))
    path = tmp_path / "cut" / "layers.parquet" / "00000000-00000000.parquet"
    path.write_bytes(path.read_bytes()[:100])
    (tmp_path / "newer" / "run.json").write_text('{"status": "finished", "format": 99}')
    with pytest.warns(RunWarning) as warned:
        assert [run.name for run in load_runs(tmp_path)] == ["good"]
    assert [name in str(each.message) for each, name in zip(warned, ("cut", "newer"), strict=True)] == [True, True]
    with pytest.raises(RunError, match="format 99"):
        load_runs(tmp_path / "newer")


def test_a_run_that_is_half_deleted_can_be_replaced(tmp_path, monkeypatch):
    with RunWriter(tmp_path / "run") as writer:
        writer.metrics({"step": 0})
        writer.part("layers", 0, rows(0))
    monkeypatch.setattr("shutil.rmtree", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        RunWriter(tmp_path / "run", replace=True)
    monkeypatch.undo()
    with RunWriter(tmp_path / "run", replace=True):
        pass
    assert load_run(tmp_path / "run").layers.empty
