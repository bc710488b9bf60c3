"""The interface of a C kernel: names of fields and functions, and the header."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ....language.network import Ref
from ...schedule.build import Schedule
from ..substeps import substeps_of
from ..template import axes_of
from .config import CNamer

__all__ = ["FLAGS", "Interface", "print_header"]

#: Flags of the build line. None of them lets the compiler assume finite numbers; sums are reordered
#: only where the text says so (LANES_ADD).
FLAGS = (
    "-std=c99", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno",
    "-fno-trapping-math", "-fopenmp-simd", "-DUSE_SIMD",
)  # fmt: skip

_ABOUT = """\
Arrays are row-major: sequences (T, B, n), one value a sequence (B, n), parameters (n, m), (n,) or
one number. Every parameter and every input must be there. An output or a gradient that is NULL is
not wanted; a cotangent that is NULL is zero. Nothing is allocated, and there are no globals: the
caller gives a workspace of {name}_f64_workspace(&sizes) numbers. backward reads in it what forward
left there; it may be called several times after one forward. No two arrays may overlap.

Functions return 0, 1 where a pointer is NULL that must not be, 2 where a size is negative.\
"""


_SUBSTEPS = """

Steps here are the substeps of which the equations are: inputs that move have one for each, those of
the substeps of a step being the same, and so have outputs, cotangents and gradients.\
"""


class Interface:
    """What the caller sees.

    Attributes
    ----------
    name : str
        With which every public name begins.
    parameters, inputs, outputs, gradients : dict
        The user's name → the field of the struct.
    used : list of str
        Sizes that the functions need, as the schedule calls them.
    """

    def __init__(self, plan: Schedule, name: str, sizes: Mapping[str, str]) -> None:
        self.plan, self.name, self.sizes = plan, name, sizes
        network = plan.network
        self.refs: dict[str, Ref] = {**network.inputs, **network.parameters}
        self.parameters = _fields(network.parameters)
        self.inputs = _fields(network.inputs)
        self.outputs = _fields(plan.outputs)
        self.gradients = _fields(plan.gradients)
        self.used: list[str] = []

    def signature(self, function: str, named: str, real: str) -> list[str]:
        """The head of a function; ``named``: the prefix, or NAME inside the C file."""

        def public(what: str) -> str:
            return f"NAME({what})" if named == "NAME" else f"{named}_{what}"

        last = (
            [f"const {public('outputs')} *outputs"] if function == "forward" else
            [f"const {public('cotangents')} *cotangents", f"const {public('gradients')} *gradients"]
        )  # fmt: skip
        arguments = [
            f"const {self.name}_sizes *sizes", f"const {public('parameters')} *parameters",
            f"const {public('inputs')} *inputs", *last, f"{real} *workspace",
        ]  # fmt: skip
        body = [f"    {a}," for a in arguments]
        return [f"{public(function)}(", *body[:-1], body[-1].removesuffix(",") + ")"]

    def axes(self, name: str) -> str:
        """The shape of an array for a comment."""
        ref = self.refs.get(name) or self.plan.network.outputs.get(name)
        axes = axes_of(ref) if ref is not None else ()
        return f"({', '.join(axes)})" if axes else "one number"


def _fields(names: Iterable[str]) -> dict[str, str]:
    namer = CNamer()
    return {n: namer.fresh(n) for n in names}


def print_header(face: Interface) -> str:
    """The text of the header."""
    guard = f"{face.name.upper()}_H"
    user = {local: n for n, local in face.plan.names.sizes.items()}
    about = _ABOUT + _SUBSTEPS * (substeps_of(face.plan.derivation) > 1)
    out = ["/*", *about.format(name=face.name).split("\n"), "*/", f"#ifndef {guard}",
           f"#define {guard}", "", "#include <stddef.h>", "", "#ifdef __cplusplus",
           'extern "C" {', "#endif", "", "typedef struct {"]  # fmt: skip
    out += [f"    ptrdiff_t {face.sizes[n]};" + _called(face.sizes[n], user[n]) for n in face.used]
    out += [f"}} {face.name}_sizes;"]
    for real, ending in (("double", "f64"), ("float", "f32")):
        prefix = f"{face.name}_{ending}"
        for what, const, fields in (
            ("parameters", "const ", face.parameters), ("inputs", "const ", face.inputs),
            ("outputs", "", face.outputs), ("cotangents", "const ", face.outputs),
            ("gradients", "", face.gradients),
        ):  # fmt: skip
            out += ["", "typedef struct {"]
            out += [f"    {const}{real} *{field};  /* {_safe(face.axes(n))}{_named(field, n)} */"
                    for n, field in fields.items()] or [f"    {real} *none;"]  # fmt: skip
            out += [f"}} {prefix}_{what};"]
        out += ["", "/* How many numbers the workspace must have room for. */",
                f"ptrdiff_t {prefix}_workspace(const {face.name}_sizes *sizes);"]  # fmt: skip
        for function in ("forward", "backward"):
            head = face.signature(function, prefix, real)
            out += ["", f"int {head[0]}", *head[1:-1], f"{head[-1]};"]
    out += ["", "#ifdef __cplusplus", "}", "#endif", "", "#endif"]
    return "\n".join(out) + "\n"


def _called(field: str, user: str) -> str:
    return "" if field == user else f"  /* {_safe(user)} */"


def _named(field: str, user: str) -> str:
    return "" if field == user else f": {_safe(user)}"


def _safe(text: str) -> str:
    return text.replace("*/", "* /")
