"""Following runs while they train: what is read of a folder, what the server gives away, the page and the widget."""

import http.client
import json
import os
import threading
from contextlib import contextmanager

import browser as real
import nbformat
import pytest
import torch
from click.testing import CliRunner

from mgpp import CubicSparsity, NoPenalty, Pruner, RunWriter, record, watch
from mgpp.lab.cli import main
from mgpp.lab.watch.server import WatchServer
from mgpp.lab.watch.state import POINTS, state_of
from mgpp.runs import RunWarning


def replay(run, folder):
    """Write a run once more, a row of metrics at a time; yields each step."""
    with RunWriter(folder, {key: run.info[key] for key in ("recipe", "metric", "steps")}) as writer:
        for _, row in run.metrics.iterrows():
            logged = {key: value for key, value in row.items() if value is not None and value == value}
            writer.part("weights", row["step"], run.weights[run.weights["step"] == row["step"]])
            writer.metrics(logged)
            yield row["step"]


@contextmanager
def serving(folder):
    with WatchServer(folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def get(server, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


# what is read


def test_a_run_is_followed_from_before_its_folder_exists_to_its_end(tiny_run, tmp_path):
    folder = tmp_path / "runs"
    assert not state_of(folder)["exists"]
    for count, step in enumerate(replay(tiny_run, folder / "mine"), start=1):
        (now, nothing) = state_of(folder)["shown"]
        assert nothing is None
        assert (now["status"], now["last"]["step"], len(now["curves"]["loss"])) == ("running", step, count)
    assert state_of(folder)["runs"] == [{"name": "mine", "status": "finished"}]
    (now, _) = state_of(folder)["shown"]
    assert now["score"] == "eval_accuracy"
    assert now["histogram"]["moment"]["step"] == tiny_run.weights["step"].max()
    assert sum(now["histogram"]["counts"]) == tiny_run.info["targets"]["count"]
    json.dumps(now, allow_nan=False)


def test_curves_are_those_of_the_log(tiny_run):
    (now, _) = state_of(tiny_run.folder)["shown"]
    for column, points in now["curves"].items():
        logged = tiny_run.metrics.dropna(subset=[column])
        assert points == logged[["step", column]].to_numpy().tolist()


def test_a_long_curve_is_thinned_and_ends_with_the_last_row(tmp_path):
    with RunWriter(tmp_path / "long"):
        (tmp_path / "long" / "metrics.jsonl").write_text("".join(f'{{"step": {i}, "loss": 1}}\n' for i in range(2000)))
        (now, _) = state_of(tmp_path)["shown"]
    assert len(now["curves"]["loss"]) <= POINTS
    assert now["curves"]["loss"][-1][0] == 1999


def test_runs_that_train_come_first_and_names_choose(tiny_runs_folder, tiny_run, tmp_path):
    names = [run["name"] for run in state_of(tiny_runs_folder)["runs"]]
    first, second = state_of(tiny_runs_folder)["shown"]
    assert [first["name"], second["name"]] == names[:2]
    first, second = state_of(tiny_runs_folder, [names[2], ""])["shown"]
    assert [first["name"], second["name"]] == [names[2], names[0]]
    assert state_of(tiny_runs_folder, [names[1], "-"])["shown"][1] is None
    assert state_of(tiny_runs_folder, ["unknown", "-"])["shown"] == [None, None]


@pytest.mark.parametrize(("method", "scores"), [("l2", False), ("dense", False), ("movement", True)])
def test_methods_without_a_prior_have_no_prior_threshold(tiny_run, tmp_path, method, scores):
    other = type(tiny_run)(tiny_run.folder, tiny_run.info | {"recipe": {"method": method}})
    other.__dict__["metrics"] = tiny_run.metrics.assign(prior_threshold=None, lam=None)
    list(replay(other, tmp_path / method))
    (now, _) = state_of(tmp_path)["shown"]
    assert now["scores"] is scores
    assert now["curves"]["prior_threshold"] == []
    assert now["histogram"]["moment"]["lam"] is None
    assert (now["histogram"]["moment"]["pruning_threshold"] is None) is scores


def test_runs_in_a_folder_below_are_pointed_to(tmp_path):
    with RunWriter(tmp_path / "runs" / "mine"):
        pass
    assert state_of(tmp_path)["deeper"] == str(tmp_path / "runs")
    assert state_of(tmp_path / "runs")["deeper"] is None


def test_a_run_that_fails_says_why(tmp_path):
    with pytest.raises(MemoryError), RunWriter(tmp_path / "mine") as writer:
        writer.metrics({"step": 0, "loss": float("nan")})
        raise MemoryError("too large")
    (now, _) = state_of(tmp_path)["shown"]
    assert (now["status"], now["error"], now["curves"]["loss"]) == ("failed", "MemoryError: too large", [])


def test_what_is_half_written_or_damaged_is_shown_as_such(tiny_run, tmp_path):
    (tmp_path / "not-yet-a-run").mkdir()
    list(replay(tiny_run, tmp_path / "cut"))
    (part,) = (tmp_path / "cut" / "weights.parquet").glob("*.parquet")
    part.write_bytes(part.read_bytes()[:100])
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 99')
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "run.json").write_text("{")
    with pytest.warns(RunWarning):
        state = state_of(tmp_path, ["cut", "odd"])
    assert {run["name"]: run["status"] for run in state["runs"]} == {"cut": "finished", "odd": "unreadable"}
    assert all(run["error"] for run in state["shown"])


def test_a_loop_of_ones_own(tmp_path):
    w = torch.nn.Parameter(torch.randn(40))
    pruner = Pruner({"w": w}, penalty=NoPenalty(), sparsity=CubicSparsity(0.0, 0.5, 0, 4), n_train=8)
    optimizer = torch.optim.SGD([w], lr=0.1)
    with record(pruner, tmp_path / "own", every=1, histograms_every=1) as log:
        for step in range(6):
            loss = (w**2).sum()
            loss.backward()
            pruner.before_step(step)
            optimizer.step()
            pruner.after_step(step)
            log.step(step, loss=loss)
            log.write(hits=0.1 * step)
            (now, _) = state_of(tmp_path)["shown"]
            assert (now["status"], now["score"], now["last"]["step"]) == ("running", "hits", step)
    assert state_of(tmp_path / "own")["runs"] == [{"name": "own", "status": "finished"}]


# the server


def test_the_server_gives_a_page_and_a_state_and_no_file(tiny_runs_folder):
    with serving(tiny_runs_folder) as server:
        status, page = get(server, "/")
        assert (status, page.count(b"<script")) == (200, 1)
        status, body = get(server, "/state.json?a=reviews-quick-l2-0.9-seed0&b=-")
        assert (status, json.loads(body)["shown"][0]["name"]) == (200, "reviews-quick-l2-0.9-seed0")
        for path in ("/run.json", "/../conftest.py", "/reviews-quick-l2-0.9-seed0/run.json", "//etc/passwd"):
            assert get(server, path)[0] == 404
        assert json.loads(get(server, "/state.json?a=../../etc")[1])["shown"][0] is None
        assert server.server_address[0] == "127.0.0.1"


def test_pages_of_other_sites_learn_nothing(tmp_path):
    with serving(tmp_path) as server:
        assert get(server, "/state.json", Host="elsewhere.example")[0] == 403


def test_the_command_prints_the_address_and_ends_with_ctrl_c(tmp_path, monkeypatch):
    def stop(self):
        raise KeyboardInterrupt

    opened = []
    monkeypatch.setattr("click.launch", opened.append)
    monkeypatch.setattr(WatchServer, "serve_forever", stop)
    done = CliRunner().invoke(main, ["watch", str(tmp_path / "nothing-yet")])
    assert (done.exit_code, opened) == (130, [done.output.splitlines()[0]])
    assert opened[0].startswith("http://127.0.0.1:")
    assert CliRunner().invoke(main, ["watch", "--no-open"]).exit_code == 130
    assert len(opened) == 1
    with WatchServer(tmp_path) as other:
        assert CliRunner().invoke(main, ["watch", f"--port={other.server_port}"]).exit_code == 2


def test_the_widget_follows_until_it_is_closed(tiny_run, tmp_path):
    widget = watch(tmp_path, every=0.05)
    changed = threading.Event()
    widget.observe(lambda change: changed.set() if change.new["runs"] else None, "state")
    steps = replay(tiny_run, tmp_path / "mine")
    next(steps)
    assert changed.wait(30)
    widget.chosen = ["-", "-"]
    assert widget.state["shown"] == [None, None]
    widget.close()
    list(steps)


# in a browser


needs_chromium = pytest.mark.skipif(
    real.find_chromium() is None and "CI" not in os.environ,
    reason="no Chromium here; on Debian: apt-get install chromium",
)


@pytest.fixture
def page():
    with real.chromium() as running:
        context = running.new_context(viewport={"width": 1040, "height": 980})
        opened, problems = context.new_page(), []
        opened.on("pageerror", lambda error: problems.append(str(error)))
        opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        opened.set_default_timeout(real.MINUTE)
        yield opened
        assert not problems


def drawn(page, title):
    return page.locator(f".watch svg:has(title:text-is('{title}')) .marks path.curve:not([d=''])")


@pytest.mark.slow
@needs_chromium
def test_the_page_follows_a_folder_that_grows(page, tiny_run, tmp_path):
    folder = tmp_path / "runs"
    with serving(folder) as server:
        page.goto(server.address)
        page.get_by_text("does not exist yet").wait_for()
        steps = replay(tiny_run, folder / "one")
        for step in steps:
            page.get_by_text(f"is running. Step {step} of").wait_for()
        page.get_by_text("is finished").wait_for()
        assert drawn(page, "Loss").count() == 1
        assert page.locator("svg:has(title:text-is('Weights of A')) .marks path.slab").get_attribute("d")
        assert page.locator("svg:has(title:text-is('Thresholds')) .marks path.tau:not([d=''])").count() == 1
        list(replay(tiny_run, folder / "<b>two"))
        page.get_by_text("B: ").wait_for()
        assert drawn(page, "Loss").count() == 2
        page.get_by_label("run B").select_option("none")
        page.wait_for_function("document.querySelector('.other').textContent === ''")
        page.get_by_label("run A").select_option("<b>two")
        page.get_by_text("A: <b>two").wait_for()
        page.reload()
        page.get_by_text("A: <b>two").wait_for()
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
@needs_chromium
def test_the_widget_moves_while_a_cell_is_busy(tiny_run, tmp_path, tmp_path_factory):
    code = ["import mgpp\nmgpp.watch('runs', every=0.2)", "import time\nwhile True: time.sleep(1)"]
    cells = [nbformat.v4.new_code_cell(each) for each in code]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "watch.ipynb")
    home = tmp_path_factory.mktemp("home")
    with real.jupyter_lab(tmp_path, home) as address, real.chromium() as running:
        page = running.new_page(viewport={"width": 1300, "height": 1100})
        page.goto(address("watch.ipynb"), timeout=2 * real.MINUTE)
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=2 * real.MINUTE)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        page.get_by_text("does not exist yet").wait_for(timeout=real.MINUTE)
        for step in replay(tiny_run, tmp_path / "runs" / "one"):
            page.get_by_text(f"is running. Step {step} of").wait_for(timeout=real.MINUTE)
        assert drawn(page, "Loss").count() == 1
        real.stop_kernels(page)
