"""Import a file of one's own that registers tasks or methods: here, and in every process that trains a sweep's runs."""

import importlib
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from mgpp.lab.recipes.recipe import Recipe, RecipeError
from mgpp.lab.tasks import TASKS
from mgpp.methods import METHODS

_imported: list[str] = []  # files that `import_file` was asked for, in order


def import_file(file: str | Path) -> ModuleType:
    """Import a Python file, unless it was imported before; it may import what lies beside it.

    A file inside a package is imported as a part of it.

    Raises:
        RecipeError: if it is not a Python file.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "my_numbers.py"
        >>> _ = file.write_text("seven = 7")
        >>> import_file(file).seven
        7
    """
    file = Path(file).resolve()
    if not file.is_file() or file.suffix != ".py":
        raise RecipeError(f"--import {str(file)!r}: there is no such Python file")
    if str(file) not in _imported:
        _imported.append(str(file))
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) == str(file):
            return module
    root = next(parent for parent in file.parents if not (parent / "__init__.py").is_file())
    if str(root) not in sys.path:
        sys.path.append(str(root))
    if root != file.parent:
        return importlib.import_module(".".join(file.relative_to(root).with_suffix("").parts))
    return _load(file)


def _load(file: Path) -> ModuleType:
    """Load a file that is part of no package, under its own name unless another module has it."""
    try:
        is_taken = find_spec(file.stem).origin != str(file)  # type: ignore[union-attr]
    except (AttributeError, ValueError):
        is_taken = False
    name = f"own_{file.stem}" if is_taken else file.stem
    spec = spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def own_files(recipe: Recipe) -> list[str]:
    """Return the files that a process must import to know the recipe's task and method.

    They are those that were named to `import_file`, and those of the classes where Python imported them itself.
    """
    return list(dict.fromkeys([*_imported, *filter(None, _homes(recipe).values())]))


def check_importable(recipe: Recipe) -> None:
    """Raise RecipeError if another process can't import the class of the recipe's task or method."""
    for name, file in _homes(recipe).items():
        if file is None:
            raise RecipeError(f"{name} is defined in the program itself; put it into a file of its own")


def _homes(recipe: Recipe) -> dict[str, str | None]:
    """Return the file of each class of the recipe that is not the toolkit's; None if it can't be imported."""
    classes: list[type | None] = [TASKS.get(recipe.task), METHODS.get(recipe.method)]
    own = [each for each in classes if each is not None and not each.__module__.startswith("mgpp.")]
    modules = {each.__name__: sys.modules.get(each.__module__) for each in own if each.__module__ != "__main__"}
    return {each.__name__: getattr(modules.get(each.__name__), "__file__", None) for each in own}
