"""What a user's project says: the folders it imports from, and its own options of `verify`."""

from __future__ import annotations

import configparser
import os
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.reading import read_text

__all__ = ["TABLE", "add_pythonpath", "find_options", "import_from", "missing_import", "pythonpath"]

TABLE = "gradcheck-rnn"
#: Bytes that such a file may have.
MOST_BYTES = 1 << 20
#: As pytest looks for its options, the first found counts: file, its section.
INI = (("pytest.ini", "pytest"), (".pytest.ini", "pytest"), ("pyproject.toml", ""),
       ("tox.ini", "pytest"), ("setup.cfg", "tool:pytest"))  # fmt: skip


def find_options(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The table ``[tool.gradcheck-rnn]`` of the nearest pyproject.toml that has one.

    Parameters
    ----------
    folder : Path
        Where to look first; then its parents.

    Returns
    -------
    (Path, dict) or None
        The file, and the table as it stands there.

    Raises
    ------
    UsageError
        A pyproject.toml on the way that is not TOML, or in which this is no table.
    """
    for path in _upwards(folder, "pyproject.toml"):
        tool = _toml(path).get("tool", {})
        if isinstance(tool, dict) and TABLE in tool:
            if not isinstance(tool[TABLE], dict):
                raise UsageError(f"{path}: tool.{TABLE} is not a table: write [tool.{TABLE}]")
            return path, tool[TABLE]
    return None


def pythonpath(folder: Path) -> list[Path]:
    """Folders to import from: of ``[tool.gradcheck-rnn]``, or else those that pytest is told.

    Parameters
    ----------
    folder : Path
        That of the file to run; the project's file is there or in one of its parents.

    Raises
    ------
    UsageError
        The project's file cannot be read, or the value is no list of folders.
    """
    found = find_options(folder)
    if found is not None and "pythonpath" in found[1]:
        path, table = found
        return _folders(path, table["pythonpath"])
    for parent in (folder, *folder.parents):
        for name, section in INI:
            path = parent / name
            said = _pytest_options(path, section) if path.is_file() else None
            if said is not None:
                return _folders(path, said.get("pythonpath", []))
    return []


def add_pythonpath(folder: Path) -> None:
    """Make the folders of `pythonpath` importable, for as long as this process runs."""
    for path in reversed(pythonpath(folder)):
        if str(path) not in sys.path:
            sys.path.insert(0, str(path))


def import_from(folders: Sequence[Path]) -> None:
    """Import from these folders first, here and in processes that are started from here.

    Raises
    ------
    UsageError
        One is no folder.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"--pythonpath {folder}: there is no such folder")
    added = [str(folder.resolve()) for folder in folders]
    if added:
        sys.path[:0] = added
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([*added, *([before] if before else [])])


def missing_import(error: BaseException, folder: Path) -> str:
    """The way out where a package cannot be imported and lies in a ``src`` folder nearby, or ''."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    if not name:
        return ""
    top = name.partition(".")[0]
    for parent in (folder, *folder.parents):
        source = parent / "src"
        if (source / top).is_dir() or (source / f"{top}.py").is_file():
            shown = os.path.relpath(source)
            return (
                f'; it lies in {shown}: pythonpath = ["src"] under [tool.{TABLE}] or '
                f"[tool.pytest.ini_options] in {os.path.relpath(parent / 'pyproject.toml')}, or "
                f"--pythonpath {shown}"
            )
    return ""


def _upwards(folder: Path, name: str) -> Iterator[Path]:
    return (p / name for p in (folder, *folder.parents) if (p / name).is_file())


def _pytest_options(path: Path, section: str) -> dict[str, Any] | None:
    """Pytest's options in this file; None where it has no place for them."""
    if path.suffix == ".toml":
        tool: Any = _toml(path).get("tool", {})
        pytest = tool.get("pytest", {}) if isinstance(tool, dict) else {}
        options = pytest.get("ini_options") if isinstance(pytest, dict) else None
        return options if isinstance(options, dict) else pytest or None
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(read_text(path, "file of options", MOST_BYTES))
    except (configparser.Error, UsageError):
        return {} if path.stem.endswith("pytest") else None  # an empty one is one, too
    if parser.has_section(section):
        return dict(parser[section])
    return {} if path.stem.endswith("pytest") else None


def _folders(path: Path, value: Any) -> list[Path]:
    names = value.split() if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise UsageError(f'{path}: pythonpath is not a list of folders: write ["src"]')
    return [path.parent / name for name in names]


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path, "project file", MOST_BYTES))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
