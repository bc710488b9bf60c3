"""What the C text calls things, and device functions of the language as C."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ....language.ops.elementwise import ELEMENTWISE
from ....language.ops.unit_maps import UNIT_MAPS, UnitMap
from ...schedule.kernel_names import Namer
from ..cfamily.identifiers import c_name
from ..expressions import declared_helpers

__all__ = ["OWN", "RESERVED", "CNamer", "function_name", "helpers", "public_name"]

#: Functions of the C library and of `runtime` that expressions call; each as ``real_NAME``.
MATHEMATICS = ("fabs", "sqrt", "exp", "log", "log1p", "sin", "cos", "pow", "tanh", "square")
#: Functions of the C library that are declared where an expression calls them.
LIBRARY = ("erf", "erfc", "floor")

_TAKEN = """
    real Index group vector bits t row column term entry unit sequence total peak value_of_row
    workspace scratch sizes parameters inputs outputs cotangents gradients next zeros needed
    smallest largest forward_needs backward_needs take room fill copy_rows pack packed_size
    steps_at_once block first steps multiply turn product outer tile tile_n bits_of shift_of
    tiny large_power power_of_two reduced expm1_of softmax_of log_softmax_of eliminate memcpy
    memset size_t ptrdiff_t restrict main
"""
#: Names that the printed text uses for itself.
OWN = frozenset(_TAKEN.split())
#: The same, for the schedule; the Python module's are among them.
RESERVED = (
    *sorted(OWN), "np", "arrays", "dtype", "shapes", "upstream", "forward", "backward", "ctypes",
    "functools", "os", "shlex", "subprocess", "tempfile", "Path", "Any", "Array", "Mapping",
    "TypedDict", "SHAPES", "FLAGS", "Parameters", "Inputs", "Outputs", "Cotangents", "Gradients",
    "annotations", "loss_and_gradients", "saved", "name", "_", "_check", "_check_cotangents",
    "_library", "_call", "_pointers", "_pointer", "count", "memory",
)  # fmt: skip


class CNamer(Namer):
    """Names of one scope of the C text, none of which C, C++ or the text itself has."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        super().__init__((*OWN, *taken))

    def fresh(self, wanted: str) -> str:
        """``wanted`` as C may call it, with a number if it is taken."""
        name = c_name(wanted)
        # What begins like this is a function of the file.
        return super().fresh(f"v_{name}" if name.startswith("real_") else name)


def public_name(name: str) -> str:
    """The name of a definition as the beginning of C names and of file names."""
    plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_").lower()
    return plain if re.match("[a-z]", plain) else f"cell_{plain}".rstrip("_")


def function_name(name: str) -> str:
    """What a function of expressions is called in C."""
    return f"real_{name}"


def helpers(names: Iterable[str]) -> list[str]:
    """Lines of the helper functions with these names, and of those that they call."""
    texts = {n: _as_c(text) for n, text in declared_helpers("cuda").items()}
    texts = {n: text for n, text in texts.items() if n in ELEMENTWISE}
    texts |= {n: _over_units(f) for n, f in UNIT_MAPS.items() if f.c}
    library = "static inline real real_{0}(real x) {{ return LIBRARY({0})(x); }}"
    texts = {n: library.format(n) for n in LIBRARY} | texts
    wanted, waiting = set[str](), list(names)
    while waiting:
        name = waiting.pop()
        if name in ELEMENTWISE and name not in texts and name not in MATHEMATICS:
            texts = {name: _of_library(name)} | texts  # before those that call it
        if name in texts and name not in wanted:
            wanted.add(name)
            waiting += re.findall(r"\breal_(\w+)\(", texts[name])
    return [
        line for n, text in texts.items() if n in wanted
        for line in ("", *text.strip("\n").split("\n"))
    ]  # fmt: skip


def _of_library(name: str) -> str:
    """A function that CUDA and the C library have by the same name."""
    called = ELEMENTWISE[name].texts("cuda")[0]
    return f"static inline real {function_name(name)}(real x) {{ return LIBRARY({called})(x); }}"


def _over_units(f: UnitMap) -> str:
    """A map of units as a function."""
    about, name = f.about.replace("*/", "* /"), function_name(f.name)
    return f"/* {about} */\nstatic void {name}(real *x, Index n)\n{{\n    {f.c}\n}}"


def _as_c(text: str) -> str:
    """A device function as C: casts in parentheses, functions by their names here."""
    text = text.replace("__device__ __forceinline__", "static inline")
    text = text.replace("__device__", "static")
    text = re.sub(r"\breal\(", "(real)(", text)
    known = "|".join(map(re.escape, (*MATHEMATICS, *LIBRARY, *ELEMENTWISE)))
    return re.sub(rf"\b({known})\(", lambda m: f"{function_name(m[1])}(", text)
