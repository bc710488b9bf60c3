"""A C file and its header from a schedule, and a Python module over them if it is wanted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ....derivation.program import Derivation
from ...schedule.build import Routine as Planned
from ...schedule.build import Schedule, schedule
from ...schedule.inspect import touched, views_of
from ...schedule.ops import Access, Buffer, Gemm, Outer
from .. import template
from ..blocking import block
from ..cfamily.identifiers import c_sizes
from ..substeps import for_kernels
from .config import RESERVED, CNamer, helpers, public_name
from .expressions import C99
from .header import FLAGS, Interface, print_header
from .python import print_python
from .routine import CRoutine
from .runtime import ELEMENTARY, MEMORY, PRODUCTS, SYSTEMS, TYPES

__all__ = ["print_files"]


def print_files(derivation: Derivation, origin: str = "", python: bool = False) -> dict[str, str]:
    """The files of a C kernel by name; the same derivation gives the same texts.

    Parameters
    ----------
    derivation : Derivation
        Of a cell or a network.
    origin : str
        The file the definition stands in, if it is not in the zoo.
    python : bool
        Whether to add a module for NumPy arrays that compiles and calls the C file.

    Raises
    ------
    UnsupportedOperation
        The definition has an operation for which C has no text.
    """
    derivation = for_kernels(derivation)
    plan = schedule(derivation, RESERVED, compact=True, stepwise=True, carried=True, inside=True)
    module = _Module(plan, origin)
    source = module.source()
    face = module.interface
    files = {f"{face.name}.c": source, f"{face.name}.h": print_header(face)}
    if python:
        files[f"{face.name}.py"] = print_python(module.plan, face, origin)
    return files


@dataclass
class _Printed:
    """One routine: lines of its body, and how many numbers its arrays have."""

    body: list[str]
    routine: CRoutine
    room: list[str]


class _Module:
    def __init__(self, plan: Schedule, origin: str) -> None:
        self.plan, self.origin = plan, origin
        self.sizes = c_sizes(plan.names)
        self.interface = Interface(plan, public_name(plan.network.name), self.sizes)
        self.equations = template.equation_texts(plan.derivation)
        self.file_names = CNamer(self.sizes.values())

    def source(self) -> str:
        """The C file."""
        forward = self._routine("forward", self.plan.forward)
        backward = self._routine("backward", self.plan.backward)
        uses = forward.routine.uses | backward.routine.uses
        face = self.interface
        text = "\n".join([*forward.body, *backward.body, *forward.routine.functions,
                          *backward.routine.functions, *forward.room, *backward.room])  # fmt: skip
        face.used = self._mentioned(text)
        lines = [
            *self._title(), f'#include "{face.name}.h"', *TYPES.split("\n"),
            "#ifdef SINGLE", f"#define NAME(name) {face.name}_f32_##name", "#else",
            f"#define NAME(name) {face.name}_f64_##name", "#endif",
            *MEMORY.split("\n"), *ELEMENTARY.rstrip("\n").split("\n"), *helpers(uses),
            *PRODUCTS.split("\n"), *(SYSTEMS.split("\n") if "eliminate" in uses else ()),
            f"/* {'-' * 75} forward */", *forward.routine.functions, "",
            *self._function("forward", forward), "",
            f"/* {'-' * 74} backward */", *backward.routine.functions, "",
            *self._function("backward", backward), "",
            *self._workspace(forward, backward),
        ]  # fmt: skip
        return "\n".join(lines) + "\n"

    def _title(self) -> list[str]:
        reads = "it needs nothing but a C99 or C++ compiler and its library."
        told = template.docstring(self.plan.derivation, reads, self.origin)
        told = [told[0].removeprefix('"""'), *told[1:-1]]
        end = next(i for i, line in enumerate(told) if line.startswith("Arrays are row-major"))
        name = self.interface.name
        told = [
            *told[:end],
            "Build (float64; with -DSINGLE float32; both may be linked into one program):", "",
            f"    cc {' '.join(FLAGS)} -c {name}.c -o {name}_f64.o",
            f"    cc {' '.join(FLAGS)} -DSINGLE -c {name}.c -o {name}_f32.o", "",
            "-fopenmp uses several cores in products; -fopenmp-simd with -DUSE_SIMD makes sums",
            "over units in vectors; -DUSE_CBLAS takes products over all steps from a BLAS. g++",
            "compiles the file too.",
        ]  # fmt: skip
        safe = [line.replace("*/", "* /").replace("/*", "/ *") for line in told]
        return [f"/* {safe[0]}", *(f"   {x}".rstrip() for x in safe[1:]), "*/"]

    # -- functions -------------------------------------------------------------------------------

    def _routine(self, name: str, planned: Planned) -> _Printed:
        plan = self.plan
        forward = planned is plan.forward
        local = CNamer(self.sizes.values())
        given = {b: f"parameters->{self.interface.parameters[n]}"
                 for n, b in plan.parameters.items()}  # fmt: skip
        given |= {b: f"inputs->{self.interface.inputs[n]}" for n, b in plan.inputs.items()}
        saved = {b.base or b: "" for b in plan.saved}
        for b in saved:
            saved[b] = local.fresh(b.name)
        given |= saved
        opening = []
        if not forward:
            for label, b in plan.cotangents.items():
                given[b] = local.fresh(b.name)
                field = f"cotangents->{self.interface.outputs[label]}"
                opening.append(f"    const real *const {given[b]} = {field} ? {field} : zeros;")
        views = views_of(touched(planned.statements))
        handed = plan.outputs if forward else plan.gradients
        direct = {a.buffer: self._field(n, forward) for n, a in handed.items()
                  if a is not None and _is_all(a) and a.buffer not in given}  # fmt: skip
        given |= {b: local.fresh(b.name) for b in direct}
        routine = CRoutine(name, self.sizes, self.file_names, local, views, given, self.equations)
        given_out = {*plan.saved, *(a.buffer for a in handed.values() if a is not None)}
        zero = {a.buffer.base or a.buffer for a in planned.allocations if a.zero}
        kept = {b.base or b for b in given_out} | zero
        routine.write(block(planned.statements, kept, kinds=(Gemm, Outer)), kept)
        closing = self._copies(routine, forward, direct)
        arrays = {**saved, **routine.made}
        room = [(n, routine.count(b)) for b, n in arrays.items()] + routine.extra
        body = [f"    real *const {n} = take(&next, {count});" for n, count in room]
        sizes = [f"room({count})" for _, count in room]
        for b, field in direct.items():
            taken = f"take(&next, {routine.count(b)})"
            body.append(f"    real *const {given[b]} = {field} ? {field} : {taken};")
            sizes.append(f"room({routine.count(b)})")
        if not forward and opening:
            counts = [routine.count(b) for b in plan.cotangents.values()]
            needed = _largest(counts)
            body.append(f"    real *const zeros = take(&next, {needed});")
            for label, b in plan.cotangents.items():
                field = f"cotangents->{self.interface.outputs[label]}"
                body.append(f"    if (!{field}) fill(zeros, {routine.count(b)}, 0);")
            sizes.append(f"room({needed})")
        if routine.scratch:
            body.append("    real *const scratch = next;")
            sizes.append(_largest(routine.scratch))
        body += opening
        body += [f"    fill({name}, {routine.count(b)}, 0);"
                 for b, name in {**routine.made, **{b: given[b] for b in direct}}.items()
                 if b in zero]  # fmt: skip
        return _Printed([*body, "", *routine.lines, "", *closing], routine, sizes)

    def _field(self, name: str, forward: bool) -> str:
        """Where the caller wants an output or a gradient."""
        face = self.interface
        return f"outputs->{face.outputs[name]}" if forward else f"gradients->{face.gradients[name]}"

    def _copies(self, routine: CRoutine, forward: bool, direct: Mapping[Buffer, str]) -> list[str]:
        """Lines that give out outputs or gradients, but for those made where they are wanted."""
        handed = self.plan.outputs if forward else self.plan.gradients
        out = []
        for name, a in handed.items():
            field = self._field(name, forward)
            if a is not None and direct.get(a.buffer) == field:
                continue
            if a is None:
                given = {**self.plan.parameters, **self.plan.inputs}[name]
                out.append(f"    if ({field}) fill({field}, {routine.count(given)}, 0);")
                continue
            width = " * ".join([routine.dim(a.rows), *map(routine.dim, a.buffer.shape[1:])])
            stride = routine.stride(a) if a.lead else "0"
            out.append(
                f"    copy_rows({field}, {routine.pointer(a)}, {_rows(routine, a)}, {width}, "
                f"{stride});"
            )
        return out

    def _function(self, name: str, printed: _Printed) -> list[str]:
        face = self.interface
        checks = [f"parameters->{f}" for f in face.parameters.values()]
        checks += [f"inputs->{f}" for f in face.inputs.values()]
        last = ["outputs"] if name == "forward" else ["cotangents", "gradients"]
        whole = ["sizes", "parameters", "inputs", *last, "workspace"]
        text = "\n".join(printed.body)
        out = [f"int {line}" if i == 0 else line
               for i, line in enumerate(face.signature(name, "NAME", "real"))]  # fmt: skip
        out += ["{", f"    if (!({' && '.join(whole)})) return 1;"]
        out += [f"    if (!{field}) return 1;" for field in checks]
        out += [f"    if (sizes->{self.sizes[n]} < 0) return 2;" for n in face.used]
        out += self._local_sizes(text)
        out += ["    real *next = workspace;"] if "next" in text else []
        return [*out, *printed.body, "    return 0;", "}"]

    def _mentioned(self, text: str) -> list[str]:
        """Sizes that a text needs from the caller, as the schedule calls them."""
        entries = self.plan.names.entries
        words = set(re.findall(r"\w+", text))
        needed = {n for n in self.sizes if self.sizes[n] in words}
        needed |= {x for n, dims in entries.items() if n in needed for d in dims for x in d.names}
        return [n for n in self.sizes if n in needed and n not in entries]

    def _local_sizes(self, text: str) -> list[str]:
        """Lines for the sizes that a text mentions, and for the entries of matrices."""
        words, printer = set(re.findall(r"\w+", text)), C99(str, lambda n: self.sizes[n])
        out = [f"    const Index {self.sizes[n]} = sizes->{self.sizes[n]};"
               for n in self._mentioned(text)]  # fmt: skip
        for n, dims in self.plan.names.entries.items():
            if self.sizes[n] in words:
                factors = (f"({x})" if not x.isidentifier() else x for x in map(printer.dim, dims))
                out.append(f"    const Index {self.sizes[n]} = {' * '.join(factors)};")
        return out

    def _workspace(self, forward: _Printed, backward: _Printed) -> list[str]:
        name = self.interface.name
        text = "\n".join([*forward.room, *backward.room])
        return [
            f"ptrdiff_t NAME(workspace)(const {name}_sizes *sizes)", "{",
            *self._local_sizes(text),
            "    Index forward_needs = 0, backward_needs = 0;",
            *(f"    forward_needs += {n};" for n in forward.room),
            *(f"    backward_needs += {n};" for n in backward.room),
            "    return largest(largest(forward_needs, backward_needs), 1);", "}",
        ]  # fmt: skip


def _is_all(a: Access) -> bool:
    """Whether a place is all of an array, which has nothing before or after its steps."""
    b = a.buffer
    return a.whole and a.slot is None and not (a.lag or b.base or b.before or b.after or b.ring)


def _rows(routine: CRoutine, a: Access) -> str:
    return " * ".join(routine.sizes[n] for n in a.lead) or "1"


def _largest(counts: Iterable[str]) -> str:
    out = ""
    for c in dict.fromkeys(counts):
        out = f"largest({out}, {c})" if out else c
    return out
