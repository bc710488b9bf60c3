"""Test vectors and foreign results as files: ``.npz`` for NumPy's friends, ``.json`` for all.

JSON has plain numbers, gradients with 30 digits; whoever reads them as doubles gets the nearest
ones. An npz holds the nearest doubles under ``gradients/…`` and what is left of the 30 digits under
``gradients_low/…``; see docs/vectors.md.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._version import __version__
from ..checks import shown
from ..errors import UsageError
from ..npz import Header, read_npz
from ..reading import check_file, read_text
from .exact_numbers import floats, parse
from .vectors import DIGITS, VectorProbe, Vectors, split, whole_errors
from .vectorvalues import OUTPUTS, VectorFile, check_whole, damaged

__all__ = ["Results", "dump", "read_results", "read_vectors"]

Array = NDArray[Any]
FORMAT = "gradcheck-rnn vectors 1"
SUFFIXES = (".npz", ".json")
#: Numbers of many digits pass through the JSON encoder as marked strings.
MARK = "#"
ROW_MAJOR = "row-major; sequences are (T, B, n), states (B, n), weights (n, m), biases (n,)"


@dataclass
class Results:
    """What foreign code computed: probe or ``outputs`` → name → array, and its number format."""

    arrays: dict[str, dict[str, Array]]
    dtype: str | None


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
        for form, limits in _whole(probe).items():
            entries |= {f"whole/{form}/{probe.name}/{n}": w for n, w in limits.items()}
    for n, a in vectors.outputs.items():
        entries[f"outputs/{n}"], entries[f"outputs_low/{n}"] = split(a)
    for form, bounds in vectors.output_bounds.items():
        entries |= {f"bounds/{form}/{OUTPUTS}/{n}": b for n, b in bounds.items()}
    entries["about"] = np.array(json.dumps(_about(vectors)))
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **entries)
    return stream.getvalue()


def _whole(probe: VectorProbe) -> dict[str, dict[str, Array]]:
    """Errors of whole arrays by format and name."""
    return {
        form: {n: whole_errors(probe.gradients[n], e) for n, e in errors.items()}
        for form, errors in probe.errors.items()
    }


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
        "layout": vectors.layout or ROW_MAJOR,
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
                "whole": {form: plain(w) for form, w in _whole(p).items()},
            }
            for p in vectors.probes
        },
    }
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    return (re.sub(rf'"{MARK}([^"]*)"', r"\1", text) + "\n").encode()


def _finite(array: Array) -> Array:
    """JSON has no infinity: null says that there is no bound."""
    plain: Array = np.array(array, dtype=np.float64).astype(object)
    plain[~np.isfinite(np.asarray(array, dtype=np.float64))] = None
    return plain


def read_vectors(path: Path) -> VectorFile:
    """Read a file that `dump` made.

    Raises
    ------
    UsageError
        It cannot be read, or is something else.
    """
    if _suffix(path, "file of vectors") == ".npz":
        entries = read_npz(path, "file of vectors")
        about = _description(path, entries)
        known = _empty(path, about)
        _sort(known, entries)
    else:
        content = _load_json(path, "file of vectors", finite=True)
        known = _empty(path, content)
        try:
            _sort_json(known, content)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            said = f"{type(error).__name__}: {str(error)[:80]}"
            raise UsageError(
                f"{path} is a damaged file of vectors ({said}); make it anew"
            ) from None
    check_whole(path, known)
    return known


def _empty(path: Path, about: Any) -> VectorFile:
    """What the description says: cell, sizes by dim (none where they are damaged), layout."""
    cell = _cell_of(path, about)
    given, said = about.get("sizes"), about.get("layout")
    items = given.items() if isinstance(given, Mapping) else ()
    sizes = {n: int(size) for n, size in items if str(size).isdecimal()}
    return VectorFile(cell, sizes=sizes, layout="" if said in (None, ROW_MAJOR) else str(said))


def _sort(known: VectorFile, entries: Mapping[str, Array]) -> None:
    """The entries of an npz by what their names say."""
    for key, array in entries.items():
        kind, _, rest = key.partition("/")
        probe, _, name = rest.rpartition("/")
        if kind in ("gradients", "gradients_low"):
            held = known.high if kind == "gradients" else known.low
            held.setdefault(probe, {})[name] = array
        elif kind in ("outputs", "outputs_low"):
            held = known.high if kind == "outputs" else known.low
            held.setdefault(OUTPUTS, {})[rest] = array
        elif kind in ("bounds", "whole"):
            held, (form, _, probe) = getattr(known, kind), probe.partition("/")
            held.setdefault(form, {}).setdefault(probe, {})[name] = array
        elif kind == "cotangents":
            known.cotangents.setdefault(probe, {})[name] = array
        elif kind == "arrays":
            known.arrays[rest] = array


def _sort_json(known: VectorFile, content: Mapping[str, Any]) -> None:
    """The same of a JSON file; raises what Python raises where something is of another kind."""
    probes = content["probes"]
    groups = {p: entry["gradients"] for p, entry in probes.items()}
    for group, arrays in {**groups, OUTPUTS: content["outputs"]}.items():
        for name, text in arrays.items():
            high, low = parse(text)
            known.high.setdefault(group, {})[name] = high
            known.low.setdefault(group, {})[name] = low
    known.arrays = {n: floats(a) for n, a in content["arrays"].items()}
    for p, entry in probes.items():
        known.cotangents[p] = {n: floats(a) for n, a in entry["cotangents"].items()}
    bounds = {p: entry["bounds"] for p, entry in probes.items()}
    for group, by_form in {**bounds, OUTPUTS: content["output_bounds"]}.items():
        for form, arrays in by_form.items():
            held = {n: np.nan_to_num(floats(a), nan=np.inf) for n, a in arrays.items()}
            known.bounds.setdefault(form, {})[group] = held
    for p, entry in probes.items():
        for form, arrays in entry.get("whole", {}).items():
            held = {n: np.nan_to_num(floats(a), nan=np.inf) for n, a in arrays.items()}
            known.whole.setdefault(form, {})[p] = held


def read_results(path: Path, known: VectorFile | None = None) -> Results:
    """Read what foreign code computed.

    Arrays of an npz that are larger than those of `known`, the vectors they are for, are not read.

    An npz has ``gradients/PROBE/NAME`` and ``outputs/NAME``; JSON the same as nested objects, with
    ``"dtype"``.

    Raises
    ------
    UsageError
        It cannot be read, holds no results, or arrays that are not numbers.
    """
    found: dict[str, dict[str, Array]] = {}
    if _suffix(path, "file of results") == ".npz":
        entries = read_npz(path, "file of results", _limit(path, known))
        _check_keys(path, entries, known)
        for key, array in entries.items():
            kind, _, rest = key.partition("/")
            if kind == "gradients" and "/" in rest:
                probe, _, name = rest.rpartition("/")
                found.setdefault(probe, {})[name] = array
            elif kind == OUTPUTS:
                found.setdefault(OUTPUTS, {})[rest] = array
        for group, arrays in found.items():
            for name, array in arrays.items():
                if array.dtype.kind not in "fiu":
                    raise UsageError(f"{path}: {group}/{name} is {array.dtype}, not real numbers")
        kinds = {a.dtype.name for arrays in found.values() for a in arrays.values()}
        dtype = kinds.pop() if len(kinds) == 1 else None
    else:
        content = _load_json(path, "file of results")
        _check_keys(path, content, known)
        dtype = content.get("dtype")
        if dtype is not None and not isinstance(dtype, str):
            raise UsageError(f"{path}: dtype is {shown(dtype)}, not the name of a number format")
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


def _check_keys(path: Path, held: Mapping[str, Any], known: VectorFile | None) -> None:
    """Vectors are no results, and neither are arrays that stand under a probe alone."""
    if held.get("format") == FORMAT or any(key.startswith("bounds/") for key in held):
        raise UsageError(f"{path} is a file of vectors; give the results that your code wrote")
    for key in held:
        if known is not None and key.partition("/")[0] in known.high.keys() - {OUTPUTS}:
            raise UsageError(f"{path} has {key!r}; results stand under gradients/{key}")


def _mapping(path: Path, content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    held = content.get(key, {})
    if not isinstance(held, Mapping):
        raise UsageError(f"{path}: {key!r} must be an object, probe by probe")
    return held


def _limit(path: Path, known: VectorFile | None) -> Callable[[str, Header], None]:
    """A check of an npz's headers: nothing larger than the vectors' array is read."""
    largest = {
        f"outputs/{name}" if group == OUTPUTS else f"gradients/{group}/{name}": array
        for group, arrays in (known.high if known is not None else {}).items()
        for name, array in arrays.items()
    }

    def check(name: str, header: Header) -> None:
        shape, _ = header
        wanted = largest.get(name)
        if wanted is not None and math.prod(shape) > wanted.size:
            raise UsageError(f"{path}: {name} has shape {shape}, the vectors' {wanted.shape}")

    return check


class _Number(str):
    """A number as JSON has it, which is no text in quotes."""

    __slots__ = ()


def _numbers(path: Path, what: str, nested: Any) -> Array:
    try:
        flat = np.array(nested, dtype=object).ravel()
        if not all(isinstance(x, _Number) or x is None for x in flat):
            raise TypeError
        return floats(nested)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"{path}: {what} is no array of numbers") from None


def _description(path: Path, entries: Mapping[str, Array]) -> Any:
    """The description in an npz; None where there is none that can be read."""
    held = entries.get("about")
    readable = held is not None and not held.shape and held.dtype.kind == "U"
    return _parsed(path, "file of vectors", str(held), finite=True) if readable else None


def _cell_of(path: Path, content: Any) -> str:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UsageError(f"{path} is no file of vectors; make one with: gradcheck-rnn vectors CELL")
    if not isinstance(content.get("cell"), str):
        raise damaged(path, "it does not say of which cell")
    return str(content["cell"])


def _load_json(path: Path, what: str, *, finite: bool = False) -> dict[str, Any]:
    content = _parsed(path, what, read_text(path, what, factor=20), finite=finite)
    if not isinstance(content, dict):
        raise UsageError(f"{path} must hold an object, not a {type(content).__name__}")
    return content


def _parsed(path: Path, what: str, text: str, *, finite: bool) -> Any:
    """JSON whose numbers stay text, so that no digit is lost.

    Parameters
    ----------
    finite : bool
        Refuse NaN and Infinity, which are no JSON but which results may hold.
    """

    def constant(name: str) -> _Number:
        if finite:
            raise ValueError(f"it holds {name}")
        return _Number(name)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            names = [n for n, _ in pairs]
            twice = next(n for n in names if names.count(n) > 1)
            raise ValueError(f"it holds {twice[:40]!r} twice")
        return made

    try:
        return json.loads(
            text,
            parse_float=_Number,
            parse_int=_Number,
            parse_constant=constant,
            object_pairs_hook=once,
        )
    except ValueError as error:
        raise UsageError(f"cannot read the {what} {path}: {str(error)[:200]}") from None
    except RecursionError:
        raise UsageError(f"cannot read the {what} {path}: it is nested too deeply") from None


def _suffix(path: Path, what: str) -> str:
    suffix = path.suffix.lower()
    _known_suffix(suffix)
    check_file(path, what)
    return suffix


def _known_suffix(suffix: str) -> None:
    if suffix not in SUFFIXES:
        raise UsageError(f"the suffix is {suffix!r}; give {' or '.join(SUFFIXES)}")
