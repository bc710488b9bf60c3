"""Test vectors and foreign results as files: ``.npz`` for NumPy's friends, ``.json`` for all.

JSON has plain numbers, gradients with 30 digits; whoever reads them as doubles gets the nearest
ones. An npz holds the nearest doubles under ``gradients/…`` and what is left of the 30 digits under
``gradients_low/…``. The formats are described in docs/vectors.md.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._version import __version__
from ..errors import UsageError
from .vectors import DIGITS, Vectors, split

__all__ = ["Known", "Results", "dump", "read_results", "read_vectors"]

Array = NDArray[Any]
FORMAT = "gradcheck-rnn vectors 1"
SUFFIXES = (".npz", ".json")
#: Numbers of many digits pass through the JSON encoder as marked strings.
MARK = "#"


@dataclass
class Known:
    """What a file of vectors says of the true values: probe or ``outputs`` → name → array.

    ``high`` and ``low`` add up to the true value; ``bounds`` is by format first.
    """

    cell: str
    high: dict[str, dict[str, Array]] = field(default_factory=dict)
    low: dict[str, dict[str, Array]] = field(default_factory=dict)
    bounds: dict[str, dict[str, dict[str, Array]]] = field(default_factory=dict)


@dataclass
class Results:
    """What foreign code computed: probe or ``outputs`` → name → array, and its number format."""

    arrays: dict[str, dict[str, Array]]
    dtype: str | None


OUTPUTS = "outputs"


def dump(vectors: Vectors, suffix: str) -> bytes:
    """The content of a file of vectors.

    Raises
    ------
    UsageError
        The suffix is neither ``.npz`` nor ``.json``.
    """
    _known_suffix(suffix)
    if suffix == ".json":
        return _json(vectors)
    entries: dict[str, Array] = {f"arrays/{n}": a for n, a in vectors.arrays.items()}
    entries |= {f"labels/{n}": a for n, a in vectors.labels.items()}
    for probe in vectors.probes:
        for n, c in probe.cotangents.items():
            entries[f"cotangents/{probe.name}/{n}"] = c
        for n, g in probe.gradients.items():
            high, low = split(g)
            entries[f"gradients/{probe.name}/{n}"] = high
            entries[f"gradients_low/{probe.name}/{n}"] = low
        for form, bounds in probe.bounds.items():
            entries |= {f"bounds/{form}/{probe.name}/{n}": b for n, b in bounds.items()}
    for n, a in vectors.outputs.items():
        entries[f"outputs/{n}"], entries[f"outputs_low/{n}"] = split(a)
    for form, bounds in vectors.output_bounds.items():
        entries |= {f"bounds/{form}/{OUTPUTS}/{n}": b for n, b in bounds.items()}
    entries["about"] = np.array(json.dumps(_about(vectors)))
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **entries)
    return stream.getvalue()


def _about(vectors: Vectors) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "made_by": f"gradcheck-rnn {__version__}",
        "cell": vectors.cell,
        "seed": vectors.seed,
        "digits": DIGITS,
        "sizes": vectors.sizes,
        "roles": vectors.roles,
        "domains": vectors.domains,
        "probes": [p.name for p in vectors.probes],
        "layout": "row-major; sequences are (T, B, n), states (B, n), weights (n, m), biases (n,)",
    }


def _json(vectors: Vectors) -> bytes:
    import mpmath

    def exact(array: Array) -> Any:
        digits = np.frompyfunc(lambda x: MARK + mpmath.nstr(x, DIGITS, strip_zeros=False), 1, 1)
        return np.asarray(digits(np.asarray(array, dtype=object)), dtype=object).tolist()

    def plain(arrays: Mapping[str, Array]) -> dict[str, Any]:
        return {n: _finite(a).tolist() for n, a in arrays.items()}

    content = {
        **_about(vectors),
        "arrays": plain(vectors.arrays),
        "labels": {n: a.tolist() for n, a in vectors.labels.items()},
        "outputs": {n: exact(a) for n, a in vectors.outputs.items()},
        "output_bounds": {form: plain(b) for form, b in vectors.output_bounds.items()},
        "probes": {
            p.name: {
                "cotangents": plain(p.cotangents),
                "gradients": {n: exact(g) for n, g in p.gradients.items()},
                "bounds": {form: plain(b) for form, b in p.bounds.items()},
            }
            for p in vectors.probes
        },
    }
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    return (re.sub(rf'"{MARK}([^"]*)"', r"\1", text) + "\n").encode()


def _finite(array: Array) -> Array:
    """JSON has no infinity: null says that there is no bound."""
    plain: Array = np.asarray(array, dtype=np.float64)
    if not np.isfinite(plain).all():
        unbounded = ~np.isfinite(plain)
        plain = plain.astype(object)
        plain[unbounded] = None
    return plain


# -- reading --------------------------------------------------------------------------------------


def read_vectors(path: Path) -> Known:
    """Read a file that `dump` made.

    Raises
    ------
    UsageError
        It cannot be read, or is something else.
    """
    if _suffix(path) == ".npz":
        entries = _npz(path)
        about = _about_of(path, json.loads(str(entries["about"])) if "about" in entries else {})
        known = Known(about["cell"])
        for key, array in entries.items():
            kind, _, rest = key.partition("/")
            target = {"gradients": known.high, "gradients_low": known.low}.get(kind)
            if target is not None:
                probe, _, name = rest.rpartition("/")
                target.setdefault(probe, {})[name] = array
            elif kind in ("outputs", "outputs_low"):
                target = known.high if kind == "outputs" else known.low
                target.setdefault(OUTPUTS, {})[rest] = array
            elif kind == "bounds":
                form, _, rest = rest.partition("/")
                probe, _, name = rest.rpartition("/")
                known.bounds.setdefault(form, {}).setdefault(probe, {})[name] = array
        return known
    content = _about_of(path, _load_json(path))
    known = Known(content["cell"])
    groups = {p: entry["gradients"] for p, entry in content["probes"].items()}
    for group, arrays in {**groups, OUTPUTS: content["outputs"]}.items():
        for name, text in arrays.items():
            high, low = _parse(text)
            known.high.setdefault(group, {})[name] = high
            known.low.setdefault(group, {})[name] = low
    bounds = {p: entry["bounds"] for p, entry in content["probes"].items()}
    for group, by_form in {**bounds, OUTPUTS: content["output_bounds"]}.items():
        for form, arrays in by_form.items():
            held = {n: np.nan_to_num(_floats(a), nan=np.inf) for n, a in arrays.items()}
            known.bounds.setdefault(form, {})[group] = held
    return known


def read_results(path: Path) -> Results:
    """Read what foreign code computed.

    An npz has ``gradients/PROBE/NAME`` and ``outputs/NAME``; JSON the same as nested objects, with
    ``"dtype"``.

    Raises
    ------
    UsageError
        It cannot be read, holds no results, or arrays that are not numbers.
    """
    found: dict[str, dict[str, Array]] = {}
    if _suffix(path) == ".npz":
        for key, array in _npz(path).items():
            kind, _, rest = key.partition("/")
            if kind == "gradients" and "/" in rest:
                probe, _, name = rest.rpartition("/")
                found.setdefault(probe, {})[name] = array
            elif kind == OUTPUTS:
                found.setdefault(OUTPUTS, {})[rest] = array
        kinds = {a.dtype.name for arrays in found.values() for a in arrays.values()}
        dtype = kinds.pop() if len(kinds) == 1 else None
    else:
        content = _load_json(path)
        dtype = content.get("dtype")
        groups = {**_mapping(path, content, "gradients"), OUTPUTS: content.get(OUTPUTS, {})}
        for group, arrays in groups.items():
            if not isinstance(arrays, Mapping):
                raise UsageError(f"{path}: {group!r} must hold arrays by name")
            for name, nested in arrays.items():
                found.setdefault(group, {})[name] = _numbers(path, f"{group}/{name}", nested)
    if not found:
        raise UsageError(
            f"{path} holds no results: give gradients/PROBE/NAME and outputs/NAME (docs/vectors.md)"
        )
    return Results(found, dtype)


def _mapping(path: Path, content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    held = content.get(key, {})
    if not isinstance(held, Mapping):
        raise UsageError(f"{path}: {key!r} must be an object, probe by probe")
    return held


def _numbers(path: Path, what: str, nested: Any) -> Array:
    try:
        return _floats(nested)
    except (TypeError, ValueError):
        raise UsageError(f"{path}: {what} is no array of numbers") from None


def _floats(nested: Any) -> Array:
    """Nested lists of numbers (as text), null for none, to doubles."""
    return np.array(nested, dtype=object).astype(np.float64)


def _parse(nested: Any) -> tuple[Array, Array]:
    """Numbers of many digits to two doubles each."""
    from fractions import Fraction

    text = np.asarray(nested, dtype=object)
    high = np.asarray(text, dtype=np.float64)
    rest = np.frompyfunc(lambda s, h: float(Fraction(s) - Fraction(h)), 2, 1)
    return high, np.asarray(rest(text, high), dtype=np.float64)


def _about_of(path: Path, content: Any) -> dict[str, Any]:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UsageError(f"{path} is no file of vectors; make one with: gradcheck-rnn vectors CELL")
    return content


def _npz(path: Path) -> dict[str, Array]:
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no npz file")
        with np.load(path, allow_pickle=False) as held:
            return {key: held[key] for key in _files(held)}
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise UsageError(f"cannot read {path}: {_reason(error)}") from None
    except Exception as error:  # zipfile and zlib raise their own
        if type(error).__module__ not in ("zipfile", "zlib"):
            raise
        raise UsageError(f"cannot read {path}: {_reason(error)}") from None


def _files(held: Any) -> Iterable[str]:
    if not hasattr(held, "files"):
        raise ValueError("it is a single array, not an npz")
    names: list[str] = held.files
    return names


def _load_json(path: Path) -> dict[str, Any]:
    """Numbers stay text, so that no digit is lost."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_float=str)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {_reason(error)}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path} must hold an object, not a {type(content).__name__}")
    return content


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error).split("\n")[0] or type(error).__name__


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    _known_suffix(suffix)
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    return suffix


def _known_suffix(suffix: str) -> None:
    if suffix not in SUFFIXES:
        raise UsageError(f"the suffix is {suffix!r}; give {' or '.join(SUFFIXES)}")
