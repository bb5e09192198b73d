"""A real browser and a real JupyterLab, for tests and benchmarks."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
MINUTE = 60_000  # milliseconds
TOKEN = "for-tests"  # of JupyterLab


def find_chromium() -> str | None:
    """Path of an installed Chromium, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


@contextmanager
def chromium():
    """A running browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def jupyter_lab(folder: Path, home: Path):
    """`make lab` in `folder`, with all files of the server in `home`; yields a function from notebook to address."""
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "jupyterlab", *_options_of_make_lab(), "--no-browser", "--allow-root"),
            *("--ServerApp.ip=127.0.0.1", "--ServerApp.port=0"),  # any port that is free when it starts
            *(f"--IdentityProvider.token={TOKEN}", "--LabApp.extension_manager=readonly"),
        ],
        cwd=folder,
        env=_environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        root = _address_when_ready(home)
        yield lambda path: f"{root}lab/workspaces/{time.time_ns()}/tree/{path}?token={TOKEN}"
    finally:
        server.terminate()
        server.wait(timeout=120)


def _options_of_make_lab() -> list[str]:
    words = subprocess.run(
        ["make", "-n", "--no-print-directory", "lab"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return shlex.split(words.replace("\\\n", " ").rpartition("jupyter lab ")[2])


def _environment(home: Path) -> dict[str, str]:
    folders = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    settings = home / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps({"fetchNews": "false"}))
    own = {f"JUPYTER_{name}": str(home / name.lower()) for name in folders}
    own |= {"JUPYTERLAB_SETTINGS_DIR": str(home / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces")}
    environment = os.environ | own | {"IPYTHONDIR": str(home / "ipython"), "MGPP_FAST": "1"}
    environment.pop("MPLBACKEND", None)  # the kernel chooses its own
    return environment


def _address_when_ready(home: Path, seconds: float = 300) -> str:
    """Where the server is, which it writes down when it has a port."""
    for _ in range(int(seconds * 5)):
        try:
            (note,) = (home / "runtime_dir").glob("jpserver-*.json")
            address = json.loads(note.read_text(encoding="utf-8"))["url"]
            with urllib.request.urlopen(f"{address}api/status?token={TOKEN}", timeout=5):
                return address
        except (OSError, ValueError):  # no note yet, or half of one, or no answer
            time.sleep(0.2)
    raise TimeoutError("JupyterLab did not start")


def stop_kernels(page: Page) -> None:
    """Stop all kernels of the JupyterLab that a page shows."""
    sessions, headers = page.url.partition("/lab")[0] + "/api/sessions", {"Authorization": f"token {TOKEN}"}
    for session in page.request.get(sessions, headers=headers).json():
        page.request.delete(f"{sessions}/{session['id']}", headers=headers)


def run_all(page: Page, address: str) -> None:
    """Open a notebook in JupyterLab and run all its cells, to the end."""
    page.goto(address, timeout=2 * MINUTE)
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=2 * MINUTE)  # before, there is no kernel to ask
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.get_by_text("Python 3 (ipykernel) | Busy").wait_for(timeout=MINUTE)
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=5 * MINUTE)
