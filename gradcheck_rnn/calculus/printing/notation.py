"""The reader's own notation: names, bold or not, column or row vectors, from a TOML file.

.. code-block:: toml

    bold = true          # matrices and vectors in bold
    vectors = "row"      # or "column"

    [names]
    h = "s"              # a structured name, as in a definition
    W = "W_{hh}"
    c_tilde = { latex = "\\\\bar{c}", typst = "macron(c)", text = "c̄" }
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from gradcheck_rnn.calculus.printing.markup import check_markup, is_markup
from gradcheck_rnn.calculus.printing.row_vectors import transpose_equation
from gradcheck_rnn.calculus.printing.structured_names import Letter, Name, parse_name
from gradcheck_rnn.checks import shown
from gradcheck_rnn.errors import NotationError, UsageError
from gradcheck_rnn.reading import read_text

__all__ = ["TARGETS", "Notation", "load_notation", "transpose_equation"]

TARGETS = ("text", "latex", "typst")
#: A notation file has some lines of names.
MOST_BYTES = 1 << 20

_PLAIN = re.compile(r"[A-Za-z0-9]+(_\{?[A-Za-z0-9_,]+\}?)*\Z")
_SUBSCRIPTED = re.compile(r"(?P<head>.+?)_(?:\{(?P<braced>.+)\}|\((?P<round>.+)\)|(?P<one>\w))\Z")


_START = re.compile(r"(?P<base>.*[A-Za-z])_?0\Z")


@dataclass(frozen=True)
class Notation:
    """How a reader wants equations printed.

    Attributes
    ----------
    names : mapping of str to (str or mapping of str to str)
        New name of a variable: a structured name for every target, or one string per target
        ("text", "latex", "typst"); a target left out keeps the definition's name.
    bold : bool
        Whether matrices and vectors are bold (LaTeX and typst).
    vectors : {"column", "row"}
        "row" prints every equation transposed (see `transpose_equation`).
    """

    names: Mapping[str, str | Mapping[str, str]] = field(default_factory=dict)
    bold: bool = True
    vectors: str = "column"

    def __post_init__(self) -> None:
        if self.vectors not in ("column", "row"):
            raise NotationError(f"vectors must be 'column' or 'row', not {self.vectors!r}.")
        if not isinstance(self.bold, bool):
            raise NotationError(f"bold must be true or false, not {self.bold!r}.")
        for name, value in self.names.items():
            _check_entry(name, value)

    def name_for(self, name: str, target: str) -> Name | None:
        """Return the name to print for a variable, or None where it keeps its own."""
        value = self.names.get(name)
        if value is None:
            return self._start_for(name, target)
        if isinstance(value, str):
            return parse_name(re.sub(r"[{},]", lambda m: "_" if m.group() == "," else "", value))
        raw = value.get(target)
        if raw is None:
            return None
        # A subscript in the reader's string is joined with the time index.
        match = _SUBSCRIPTED.match(raw)
        inner = "" if match is None else match["braced"] or match["round"] or match["one"]
        # The last bracket may belong to an accent around the whole, as in macron(c_(t)).
        if match is None or not (is_markup(match["head"], target) and is_markup(inner, target)):
            return Name(Letter(raw, raw=True))
        return Name(Letter(match["head"], raw=True), (Letter(inner, raw=True),))

    def _start_for(self, name: str, target: str) -> Name | None:
        """The name of an initial state, ``h0`` or ``h_0``: its own, or the state's with a 0."""
        match = _START.match(name)
        if match is None:
            return None
        base = match["base"]
        if name != f"{base}0" and f"{base}0" in self.names:
            return self.name_for(f"{base}0", target)
        if base not in self.names:
            return None
        state = self.name_for(base, target)
        return state and Name(state.head, (*state.subscripts, Letter("0")))

    def start_at(self, state: str, time: str, target: str) -> Name | None:
        """The name that the reader gave to a state's start, which has one of its own."""
        lag = 1 - int(time.replace("−", "-")) if time.lstrip("−").isdigit() else 1
        for own in (f"{state}0", f"{state}_0") if lag == 1 else (f"{state}0_{lag}",):
            if own in self.names:
                return self.name_for(own, target)
        return None


def _check_entry(name: str, value: Any) -> None:
    if isinstance(value, str):
        if not _PLAIN.match(value):
            raise NotationError(
                f"{name} = {value!r} is not a plain name such as W_hh or W_{{hh}}; give one string "
                "per format instead, as {latex = ..., typst = ..., text = ...}."
            )
        return
    if isinstance(value, Mapping):
        for key, text in value.items():
            if key not in TARGETS:
                raise NotationError(f"{name}: unknown format {key!r}; use {', '.join(TARGETS)}.")
            if not isinstance(text, str) or not text.strip():
                raise NotationError(f"{name}: the {key} name must be a string that is not empty.")
            try:
                check_markup(text, key)
            except NotationError as error:
                raise NotationError(f"{name} = {shown(text)} {error}.") from None
        return
    hint = " Options go above [names]." if name in ("bold", "vectors") else ""
    raise NotationError(f"{name} must be renamed to a string or a table, not {value!r}.{hint}")


def load_notation(path: str | PathLike[str], known_names: Iterable[str]) -> Notation:
    """Read a notation file.

    Parameters
    ----------
    path : path of a TOML file
        With the keys ``names``, ``bold`` and ``vectors``, all optional.
    known_names : iterable of str
        The variables of the cell; every key of ``[names]`` must be one of them.

    Raises
    ------
    NotationError
        If the file cannot be read, or names an unknown variable, option or format.
    """
    try:
        data = tomllib.loads(read_text(Path(path), "notation file", MOST_BYTES))
    except UsageError as error:
        raise NotationError(str(error)) from None
    except ValueError as error:  # not TOML, or a number of more digits than Python reads
        raise NotationError(f"the notation file {path} is not valid TOML: {error}.") from error
    except RecursionError:
        raise NotationError(f"the notation file {path} is nested too deeply.") from None
    unknown = sorted(set(data) - {"names", "bold", "vectors"})
    if unknown:
        raise NotationError(
            f"the notation file {path} has an unknown option {unknown[0]!r}; "
            "the options are names, bold and vectors."
        )
    names = data.get("names", {})
    if not isinstance(names, dict):
        raise NotationError(f"the notation file {path}: names must be a table, [names].")
    known = sorted(set(known_names))
    for name, value in names.items():
        if name not in known:
            if name in ("bold", "vectors"):
                _check_entry(name, value if not isinstance(value, str) else None)
            raise NotationError(
                f"the notation file {path} renames {name!r}, which is not a symbol here; "
                f"the symbols are {', '.join(known)}."
            )
    try:
        notation = Notation(names, data.get("bold", True), data.get("vectors", "column"))
    except NotationError as error:
        raise NotationError(f"the notation file {path}: {error}") from None
    _check_apart(notation, known, path)
    return notation


def _check_apart(notation: Notation, known: Iterable[str], path: str | PathLike[str]) -> None:
    """Refuse two symbols that would be printed alike: a reader could not tell them apart."""
    for target in TARGETS:
        taken: dict[tuple[Any, ...], str] = {}
        for name in known:
            printed = notation.name_for(name, target) or parse_name(name)
            letters = (printed.head, *printed.subscripts)
            key = tuple((x.base, x.accents) for x in letters)
            other = taken.setdefault(key, name)
            if other != name and (name in notation.names or other in notation.names):
                raise NotationError(
                    f"the notation file {path} would print {other!r} and {name!r} alike in "
                    f"{target}; give each symbol a name of its own."
                )
