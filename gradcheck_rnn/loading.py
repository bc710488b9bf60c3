"""From what a user names (a zoo cell, ``file.py:name``) to the object, with errors that say where.

A user's file is run in a module namespace of its own; the files run are remembered, so that an
error raised later, while their functions are traced or called, can still be shown with file and
line.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from gradcheck_rnn.errors import GradcheckError, Signalled, UsageError, is_blamed
from gradcheck_rnn.notebook import NOTEBOOK, run_cells
from gradcheck_rnn.project import add_pythonpath, missing_import
from gradcheck_rnn.reading import read_bytes

__all__ = [
    "at",
    "check_modules",
    "describe",
    "describe_exit",
    "find",
    "is_file_target",
    "no_exit",
    "pick",
    "place_of",
    "refuse_folder",
    "run_file",
    "shorten",
    "split_target",
    "suggest",
    "user_frames",
]

#: How the names of files with the user's code end.
FILES = (".py", NOTEBOOK)
#: Bytes of a Python file; generated modules have some ten thousand.
MOST_SOURCE = 50 << 20
#: Where this package lies, and where Python's own modules do.
_OURS = Path(__file__).parent
_PYTHONS = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
# Resolved path of every user file run in this process, or imported by one -> the path as shown.
_user_files: dict[str, str] = {}


def is_file_target(target: str) -> bool:
    """Whether `target` means a file (see `split_target`), not a name of the zoo."""
    path, _ = split_target(target)
    return path is not None


def split_target(target: str) -> tuple[str | None, str | None]:
    """``file.py:name`` → (file, name), ``file.py`` → (file, None), a zoo name → (None, name).

    A notebook, ``file.ipynb``, is a file like any other.
    """
    if target.endswith(FILES) or (os.sep in target and ":" not in target):
        return target, None
    path, colon, name = target.rpartition(":")
    if colon and path.endswith(FILES):
        return path, name
    return None, target


#: Cells that a message names all.
MOST_LISTED = 20


def suggest(name: str, known: Iterable[str], what: str) -> UsageError:
    """The error for an unknown `name`, with the nearest known ones.

    Parameters
    ----------
    name : str
        What the user wrote.
    known : iterable of str
        The names there are.
    what : str
        What is being named, in the singular: ``"cell"``.

    Returns
    -------
    UsageError
        To be raised by the caller.
    """
    names = list(known)
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    # A piece of a name is a better hint than its spelling: "peephole" -> lstm_peephole.
    near += [n for n in names if name and name.lower() in n and n not in near][:3]
    if near:
        return UsageError(f"unknown {what} {name!r}; did you mean {_or(near)}?")
    if what == "cell" and len(names) > MOST_LISTED:
        said = f"{len(names)}, which `gradcheck-rnn cells` lists; one of yours is file.py:NAME"
        return UsageError(f"unknown {what} {name!r}; there are {said}")
    return UsageError(f"unknown {what} {name!r}; there are {', '.join(names) or 'none'}")


def find(target: str, types: tuple[type, ...], what: str) -> Any:
    """Run the file of ``file.py:name`` and return the object of that name.

    Parameters
    ----------
    target : str
        ``file.py:name``; the name may be left out when the file defines exactly one such object.
    types : tuple of type
        What the object may be.
    what : str
        How to call such an object in messages: ``"cell or network"``.

    Returns
    -------
    object
        An instance of one of `types`.

    Raises
    ------
    UsageError
        The file cannot be read or fails while it runs, or has no such object.
    """
    path, name = split_target(target)
    if path is None:
        raise UsageError(f"{target!r} is not of the form file.py:name")
    return pick(run_file(path), path, name, types, what)


def pick(
    module: ModuleType, path: str, name: str | None, types: tuple[type, ...], what: str
) -> Any:
    """The object called `name` in a file that has been run, or its only one; see `find`."""
    found = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, types) and not key.startswith("_")
    }
    if name is None or not name:
        if len(found) == 1:
            return next(iter(found.values()))
        if not found:
            raise UsageError(f"{path} defines no {what}")
        raise UsageError(f"{path} defines several; say which: {_or(f'{path}:{n}' for n in found)}")
    if name in vars(module):
        value = vars(module)[name]
        if isinstance(value, types):
            return value
        hint = f"; it has {', '.join(found)}" if found else ""
        kind = "class" if isinstance(value, type) else type(value).__name__
        raise UsageError(f"{path}:{name} is a {kind}, not a {what}{hint}")
    if not found:
        raise UsageError(f"{path} has no {name!r} and defines no {what}")
    raise UsageError(f"{path}: {suggest(name, found, what)}")


def refuse_folder(path: str) -> None:
    """Say what is expected where a folder is given that holds no vectors.

    Raises
    ------
    UsageError
        It is a folder.
    """
    if os.path.isdir(path):
        raise UsageError(
            f"{path} is a folder, one without gradcheck vectors: `gradcheck-rnn vectors CELL -o "
            f"NEW_FOLDER` makes one with vectors, and code is given by its file, "
            f"{Path(path) / 'file.py'}:NAME"
        )


def run_file(path: str) -> ModuleType:
    """Run a user's Python file, or the code cells of a notebook, in a module namespace of its own.

    Its folder is importable while it runs, as it would be under ``python file.py``. From then on
    the folders that its project imports from are, too (``pythonpath``, pytest's own as well).

    Parameters
    ----------
    path : str
        The file.

    Returns
    -------
    ModuleType
        The module, not registered under the file's own name.

    Raises
    ------
    UsageError
        The file is missing, is not Python, or raises while it runs; the message gives the line.
    """
    file = Path(path)
    refuse_folder(path)
    read_bytes(file, "file", MOST_SOURCE)
    resolved = os.path.realpath(file)
    # Not the stem: a user's file named numpy.py or cell.py must not shadow a module.
    alias = f"_gradcheck_user_{len(_user_files)}_{file.stem}"
    _user_files[resolved] = path
    module, run = _module(path, alias, resolved)
    sys.modules[alias] = module  # dataclasses and inspect look modules up by name
    _remember_modules()
    add_pythonpath(Path(resolved).parent)
    before = set(sys.modules)
    try:
        with _importable(Path(resolved).parent), no_exit():
            try:
                run()
            finally:
                _remember_imported(before)
    except GradcheckError:
        raise
    except OSError as error:
        where = place_of(error)
        raise UsageError(f"{where or path}: {error.strerror or error}") from error
    except SyntaxError as error:
        given = _user_files.get(error.filename or "")
        where = f"{given}:{error.lineno}" if given and error.lineno else path
        raise UsageError(f"{where}: {type(error).__name__}: {error.msg}") from error
    except SystemExit as error:
        raise UsageError(
            f"{place_of(error) or path}: exits while it is loaded; put the script part under "
            "if __name__ == '__main__'"
        ) from error
    except (KeyboardInterrupt, Signalled):
        raise  # a real one, for all that is known here
    except BaseException as error:
        where = place_of(error) or path
        way_out = missing_import(error, Path(resolved).parent)
        raise UsageError(f"{where}: {describe(error)}{way_out}") from error
    check_modules()
    return module


def _module(path: str, alias: str, resolved: str) -> tuple[ModuleType, Callable[[], None]]:
    """A module for a file, and what runs its code in it."""
    if resolved.endswith(NOTEBOOK):
        module = ModuleType(alias)
        module.__file__ = resolved

        def run() -> None:
            for name, given in run_cells(path, resolved, vars(module)):
                _user_files[name] = given

        return module, run
    spec = importlib.util.spec_from_file_location(alias, resolved)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file")
    loader, module = spec.loader, importlib.util.module_from_spec(spec)
    return module, lambda: loader.exec_module(module)


def describe(error: BaseException) -> str:
    """An exception on one line: its type and the first line of its message."""
    text = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Left(SystemExit):
    """`os._exit` was called where `no_exit` does not let it end the process."""


def describe_exit(error: SystemExit) -> str:
    """How and where the user's code left, as the end of a sentence."""
    name = "os._exit" if isinstance(error, Left) else "sys.exit"
    code = "" if error.code is None else repr(error.code)
    return f"exits ({name}({code}){at(error)}) before there is a result"


@contextlib.contextmanager
def no_exit() -> Iterator[None]:
    """Let `os._exit` raise `Left`, which has a place, where the user's code runs.

    Processes that the user's code forks still end by it. Compiled code is not held by this: only a
    process of its own is.
    """
    leave, owner = os._exit, os.getpid()

    def held(status: int) -> Any:
        if os.getpid() != owner:
            leave(status)
        raise Left(status)

    os._exit = held
    try:
        yield
    finally:
        os._exit = leave


#: Modules that our own arithmetic rests on -> their functions before a user's file was run.
_functions: dict[str, dict[str, Any]] = {}


def _remember_modules() -> None:
    for name in ("math", "numpy", "numpy.linalg", "numpy.random"):
        if name in sys.modules and name not in _functions:
            # Types are left out: np.bool = bool is an old habit, and does no harm.
            _functions[name] = {
                k: v
                for k, v in vars(sys.modules[name]).items()
                if callable(v) and not isinstance(v, type) and not k.startswith("_")
            }


def check_modules() -> None:
    """Put back what a user's file replaced in NumPy, and refuse it.

    Raises
    ------
    UsageError
        A function of `math` or `numpy` is another one than before the first user's file was run.
    """
    for name, before in _functions.items():
        namespace = vars(sys.modules[name])
        replaced = [k for k, v in before.items() if namespace.get(k) is not v]
        if not replaced:
            continue
        theirs = getattr(namespace.get(replaced[0]), "__code__", None)
        where = "" if theirs is None else _user_files.get(theirs.co_filename, "")
        namespace.update((k, before[k]) for k in replaced)
        place = f"{where}:{theirs.co_firstlineno}: " if where and theirs is not None else ""
        raise UsageError(
            f"{place}{name}.{replaced[0]} is replaced by the file that is checked, and the check "
            "itself computes with it; give the file a function of its own"
        )


def at(error: BaseException) -> str:
    """`` at file.py:line``, where the user's file and line are known, or nothing."""
    place = place_of(error)
    return "" if place is None else f" at {place}"


def shorten(message: str) -> str:
    """A message with every user's file under the name the user gave it."""
    for resolved, given in reversed(_user_files.items()):  # cells before their notebook
        message = message.replace(resolved, given)
    return message


def place_of(error: BaseException) -> str | None:
    """``file.py:line`` of the innermost frame that lies in a user's file, or None.

    Parameters
    ----------
    error : BaseException
        A raised exception, with its traceback.

    Returns
    -------
    str or None
        The path as the user wrote it, with the line.
    """
    place = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        given = _user_files.get(frame.f_code.co_filename)
        if given is not None:
            place = f"{given}:{line}"
    return place


def _remember_imported(before: set[str]) -> None:
    """Files that a user's file imported are the user's too; Python's and installed ones are not."""
    here = Path.cwd()
    for name in sys.modules.keys() - before:
        file = getattr(sys.modules[name], "__file__", None)
        if not isinstance(file, str) or file in _user_files or not file.endswith(".py"):
            continue
        path = Path(file)
        installed = {"site-packages", "dist-packages"} & set(path.parts)
        if not installed and not any(path.is_relative_to(p) for p in (_OURS, *_PYTHONS)):
            _user_files[file] = str(path.relative_to(here) if path.is_relative_to(here) else path)


def user_frames(error: BaseException) -> list[str]:
    """The traceback from the first frame in a user's file on, as lines; ours are left out.

    Of what a library raised in a call of the user's function (see `errors.blame`), those below
    ours.

    Parameters
    ----------
    error : BaseException
        A raised exception, with its traceback.

    Returns
    -------
    list of str
        As the `traceback` module prints them; empty when no user's file is involved.
    """
    frames = list(traceback.extract_tb(error.__traceback__))
    first = next((i for i, f in enumerate(frames) if f.filename in _user_files), None)
    if first is None and is_blamed(error):
        first = 1 + max(i for i, f in enumerate(frames) if Path(f.filename).is_relative_to(_OURS))
    if first is None or first == len(frames):
        return []
    kept = traceback.StackSummary.from_list(frames[first:])
    return [
        "Traceback (most recent call last):\n",
        *kept.format(),
        *traceback.format_exception_only(error),
    ]


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    entry = str(folder)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(entry)


def _or(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
