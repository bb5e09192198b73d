"""Notebooks and sessions that run where torch, transformers and safetensors are not installed."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
BLOCKED = ("torch", "transformers", "safetensors")
NAMES = ("0_start_here", "1_penalty_landscape", "2_sensitivity", "3_mgpp_vs_l2", "5_consistency", "6_prior_and_data")
PAGES = [ROOT / "notebooks" / f"{name}.ipynb" for name in NAMES]
SESSIONS = [
    ROOT / "notebooks/workshop/source" / f"{name}.ipynb" for name in ("1_the_prior", "3_reading_a_pruned_model")
]
BLOCK = f"""
import sys
class Blocked:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked)
"""


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def needs_torch(cell):
    return "needs-torch" in cell.metadata.get("tags", [])


@pytest.mark.slow
@pytest.mark.parametrize("path", [*PAGES, *SESSIONS], ids=lambda path: path.stem)
def test_all_cells_but_those_that_need_torch_run_without_it(path):
    sources = [cell.source for cell in code_cells(path) if not needs_torch(cell)]
    environment = {name: value for name, value in os.environ.items() if name != "MGPP_FAST"}
    script = "\n".join([BLOCK, *sources])
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], cwd=path.parent, env=environment, check=True)


@pytest.mark.parametrize("path", [*PAGES, *SESSIONS], ids=lambda path: path.stem)
def test_few_cells_need_torch(path):
    cells = code_cells(path)
    assert sum(map(needs_torch, cells)) <= len(cells) / 3
    assert path in PAGES or not any(map(needs_torch, cells))
