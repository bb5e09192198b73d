"""What an export of the packaged model takes on disk, plain and packed, and whether it comes back bit for bit.

    python tests/reliability/export.py [--out data/reliability/export.json]

MiniLM is pruned by magnitude, without a training: sizes depend on how many weights are zero, not on which.
"""

import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging

sys.path.insert(0, str(Path(__file__).parents[1]))

from findings import parser_of, write
from pruned_runs import pruned_run

import mgpp
from mgpp.lab.export.folder import read_record
from mgpp.lab.models.packages import MINILM

SPARSITIES = (0.5, 0.9, 0.95)
DTYPES = ("float32", "bfloat16")


def minilm_run(folder: Path, sparsity: float) -> Path:
    """A finished run of the packaged model, pruned by magnitude."""
    source = MINILM.locate().parent
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(source, dtype=torch.float32)
    return pruned_run(folder, model, sparsity=sparsity, tokenizer=AutoTokenizer.from_pretrained(source))


def measure(run: Path, dtype: str, folder: Path) -> dict:
    """Export plain and packed, unpack, compare bytes."""
    plain = mgpp.export(run, folder / "plain", dtype=dtype)
    begin = time.perf_counter()
    packed = mgpp.export(run, folder / "packed", format="packed", dtype=dtype)
    packing = time.perf_counter() - begin
    begin = time.perf_counter()
    weights = mgpp.load_packed(packed)
    loading = time.perf_counter() - begin
    again = mgpp.unpack(packed, folder / "again")
    files = [(each / "model.safetensors").read_bytes() for each in (plain, again)]
    expected = load_file(plain / "model.safetensors")
    same = [torch.equal(weights[name].view(torch.uint8), expected[name].view(torch.uint8)) for name in expected]
    size, record = read_record(packed)["bytes"], read_record(packed)
    file = sum(facts["bytes"] for facts in record["files"].values())
    return {
        "model": "MiniLM",
        "dtype": dtype,
        "zeros in targets": record["zeros"],
        "targets, dense bytes": size["targets_dense"],
        "targets, packed bytes": size["targets_packed"],
        "targets, packed / dense": round(size["targets_packed"] / size["targets_dense"], 4),
        "model file, dense bytes": len(files[0]),
        "model file, packed bytes": file,
        "model file, packed / dense": round(file / len(files[0]), 4),
        "unpacked is exact": files[0] == files[1] and expected.keys() == weights.keys() and all(same),
        "seconds to export": round(packing, 1),
        "seconds to read": round(loading, 1),
    }


def main() -> None:
    """Write the evidence."""
    options = parser_of(__file__, __doc__).parse_args()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    rows = []
    for sparsity in SPARSITIES:
        with tempfile.TemporaryDirectory() as folder:
            run = minilm_run(Path(folder) / "run", sparsity)
            for dtype in DTYPES:
                rows.append({"sparsity": sparsity} | measure(run, dtype, Path(folder) / dtype))
                print(rows[-1], file=sys.stderr)
    what = "MiniLM pruned by magnitude, exported plain and packed: bytes on disk, and whether unpacking is exact"
    write(options.out, what, rows)


if __name__ == "__main__":
    main()
