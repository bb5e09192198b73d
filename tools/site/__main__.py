"""Build the site into a folder and check it.

python -m tools.site docs/_build        writes docs/_build/html
"""

import sys
from pathlib import Path

from sphinx.cmd.build import main as sphinx_build

from tools.site.check import problems_of

ROOT = Path(__file__).parents[2]


def build(folder: Path) -> int:
    """Build the site in `folder`/html; warnings are errors, but all of them are shown."""
    options = ["-W", "--keep-going", "-q", "-j", "auto", "-c", str(ROOT / "docs"), "-d", str(folder / "doctrees")]
    return sphinx_build([*options, str(ROOT), str(folder / "html")])


def main(folder: Path) -> int:
    """Build, check, and say where the site is."""
    failed = build(folder)
    problems = problems_of(folder / "html")
    print(*problems, sep="\n", end="\n" if problems else "")
    if not failed and not problems:
        print(f"The site is in {folder}/html: open {folder}/html/index.html")
    return int(bool(failed or problems))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
