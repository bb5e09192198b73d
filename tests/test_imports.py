"""The rules of the house: who may import whom, and that importing costs nothing."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import mgpp

PACKAGE = Path(mgpp.__file__).parent
CORE = {
    "prior": set(),
    "runs": {"architectures"},
    "architectures": set(),
    "pruning": {"prior", "runs", "architectures"},
    "palette": set(),
    "methods": {"prior", "pruning", "architectures", "palette"},
    "plots": {"prior", "runs", "methods", "architectures", "palette"},
}
AROUND = {
    "lab": set(CORE),
    "workshop": {*CORE, "lab"},
    "__main__": {"lab"},
}
MAY_IMPORT = CORE | AROUND
# torch and everything heavy stay out of these
LIGHT = {part: {"torch", "transformers"} for part in ("prior", "runs", "architectures", "plots")}


def part_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """Full names of all modules that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


def imported_modules(path, modules):
    """Full names of the modules that a file imports from, apart from imports for types only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing = {id(node) for each in ast.walk(tree) if is_type_checking(each) for node in ast.walk(each)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in typing:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from names & modules or {node.module}


def is_type_checking(node):
    return isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_parts_import_only_what_they_may(path):
    part = part_of(path)
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "mgpp":
            assert rest.split(".")[0] in MAY_IMPORT[part] | {part}, f"{part} imports {name}"
        assert top not in LIGHT.get(part, set()), f"{part} imports {name}"


def module_of(path):
    return ".".join(["mgpp", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")


def test_modules_import_each_other_in_no_circle():
    modules = {module_of(path) for path in FILES}
    graph = {module_of(path): set(imported_modules(path, modules)) & modules for path in FILES}
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_every_public_name_exists():
    assert all(getattr(mgpp, name) is not None for name in mgpp.__all__)


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, mgpp\n"
        "heavy = {'torch', 'transformers', 'pandas', 'matplotlib', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_function_has_a_docstring():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name}"
