"""A NumPy module from a schedule."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import partial

from ....derivation.program import Derivation
from ....language.dims import ONE
from ....language.network import Ref
from ....language.ops.elementwise import ELEMENTWISE
from ...schedule.build import Routine, Schedule, schedule
from ...schedule.inspect import read_buffers, touched, views_of
from ...schedule.ops import BATCH, Access, Assign, Buffer, Loop, Pointwise, Statement
from .. import template
from ..blocking import block
from ..expressions import dim_text
from ..size_checks import entry_lines, size_lines, used_sizes
from ..substeps import function_of_substeps, functions_of_steps
from ..wrapping import wrap
from .config import RESERVED, helper_texts
from .routine_text import kept_array
from .writer import NumPyWriter

__all__ = ["print_module"]


_CHECK = partial(
    template.check,
    "np",
    "Arrays of one dtype; fills in sizes and raises ValueError on what does not fit.",
    '''\
    kinds = {a.dtype for a in arrays.values() if a.dtype.kind in "fc"} or {np.dtype(float)}
    dtype = kinds.pop() if len(kinds) == 1 else np.result_type(*kinds)
    return {n: a.astype(dtype, copy=False) for n, a in arrays.items()}, dtype


def _check_cotangents(
    given: Mapping[str, Any], shapes: dict[str, tuple[int, ...]], dtype: np.dtype[Any]
) -> dict[str, Array]:
    """Cotangents by output; raises ValueError on what does not fit."""
    for name, value in given.items():
        if name not in shapes:
            raise ValueError(f"there is no output {name!r}; there are {', '.join(shapes)}")
        if np.shape(value) != shapes[name]:
            found, wanted = np.shape(value), shapes[name]
            raise ValueError(f"the cotangent of {name!r} has shape {found}, expected {wanted}")
    return {name: np.asarray(value, dtype) for name, value in given.items()}


def _array(
    workspace: dict[str, Array] | None, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Array:
    """An array of an earlier call if it fits, else a fresh one that is kept for the next."""
    kept = None if workspace is None else workspace.get(name)
    if kept is None or kept.dtype != dtype or kept.shape[1:] != shape[1:] or len(kept) < shape[0]:
        kept = np.empty(shape, dtype)
        if workspace is not None:
            workspace[name] = kept
    return kept[: shape[0]]
''',
)

_WORKSPACE = """
    ``workspace``: a dictionary that keeps arrays for the next call, which overwrites them and what
    is a view of them: outputs and saved arrays. A fresh one a call costs the system's zeroing.
"""


def print_module(derivation: Derivation, origin: str = "") -> str:
    """The text of a standalone NumPy module; the same derivation gives the same text."""
    return _Module(schedule(derivation, (*RESERVED, *helper_texts()), compact=True), origin).text()


class _Module:
    def __init__(self, plan: Schedule, origin: str) -> None:
        self.plan, self.origin = plan, origin
        self.network = plan.network
        self.uses: set[str] = set()
        self.blocked, self.wide = False, 0
        self.equations = template.equation_texts(plan.derivation)
        inputs = self.network.inputs.values()
        self.free_axes = [a for a in self.network.axes if all(r.axis != a for r in inputs)]
        self.free_batch = not inputs

    def text(self) -> str:
        forward, backward = self._forward(), self._backward()
        tail = self._loss() if self.network.loss_terms else []
        head = template.docstring(self.plan.derivation, "it needs nothing but NumPy.", self.origin)
        helpers = _helpers(self.uses)
        mathematics = ["import math"] if any("math." in line for line in helpers) else []
        head += [
            "",
            "from __future__ import annotations",
            "",
            *mathematics,
            "from collections.abc import Mapping",
        ]
        given = template.given_table(self.network)
        typing = "Any, NotRequired, TypedDict" if given else "Any, TypedDict"
        head += [f"from typing import {typing}", "", "import numpy as np", ""]
        head += ["Array = np.ndarray[Any, Any]", ""]
        if self.blocked:
            head += ["#: Rows (steps times sequences) that are done at once, as caches hold them."]
            head += [f"ROWS = {512 if self.wide <= 16 else 256 if self.wide <= 32 else 128}"]
            if any("ENTRIES //" in line for line in (*forward, *backward)):
                head += ["#: Numbers of the largest array of such a block.", "ENTRIES = 2**17"]
            head += [""]
        head += [*template.shape_table(self._shapes()), *given]
        head += self._types()
        check = _CHECK(given=bool(given)).rstrip("\n").split("\n")
        body = [*head, "", *check, *helpers]
        code = [w for line in (*forward, *backward, *tail) for w in wrap(line)]
        code += functions_of_steps(self.plan.derivation, "np", ("forward", "backward"))
        return "\n".join([*body, *code]) + "\n"

    # -- public functions --------------------------------------------------------------------------

    def _shapes(self) -> dict[str, tuple[str, ...]]:
        # Plain dims first, so that a size is known before a sum or a multiple of it is met.
        refs = [*self.network.inputs.values(), *self.network.parameters.values()]
        return {r.name: template.axes_of(r) for r in refs}

    def _types(self) -> list[str]:
        n = self.network
        differentiated = [r.name for r in self.plan.derivation.differentiated()]
        out = template.typed_dict(
            "Parameters", "Parameters, trained and fixed.", n.parameters,
            optional=template.given_values(n),
        )  # fmt: skip
        out += template.typed_dict("Inputs", "Sequences, data and initial states.", n.inputs)
        out += template.typed_dict("Outputs", "What forward gives.", self.plan.outputs)
        out += template.typed_dict(
            "Cotangents", "∂L/∂output of each output; one that is left out is zero.",
            self.plan.outputs, total=False,
        )  # fmt: skip
        out += template.typed_dict("Gradients", "∂L/∂ of what it is called after.", differentiated)
        return out

    def _keywords(self, values: bool = False) -> str:
        local = [self.plan.names.sizes[a] for a in self.free_axes]
        names = [f"{a}={a}" if values else f"{a}: int" for a in local]
        if self.free_batch:
            names.append("B=B" if values else "B: int = 1")
        return (
            ", *, " + ", ".join(names)
            if names and not values
            else ", ".join(["", *names])
            if names
            else ""
        )

    def _keyword_lines(self) -> list[str]:
        names = self._keywords().removeprefix(", *, ")
        return ["    *,", *(f"    {n}," for n in names.split(", "))] if names else []

    def _open(self) -> list[str]:
        """Check arrays and take the sizes that are used."""
        given = [*self.free_axes, *([BATCH] if self.free_batch else [])]
        local = self.plan.names.sizes
        sizes = ", ".join(f'"{a}": {local[a]}' for a in given)
        dtype = "dtype" if self._uses_dtype else "_"
        out = [
            f"    sizes: dict[str, int] = {{{sizes}}}",
            f"    arrays, {dtype} = _check({{**parameters, **inputs}}, sizes)",
        ]
        refs = (*self.network.inputs.values(), *self.network.parameters.values())
        out += size_lines(self._shapes(), refs, given, self._used_sizes, local)
        return out + self._entries

    def _unpack(self, buffer: Buffer, key: str, source: str, ref: Ref | None) -> str:
        scalar = ref is not None and not ref.shape.axes and buffer.lead
        text = f'{source}["{key}"]{"[..., None]" if scalar else ""}'
        return f"    {buffer.name} = {template.flattened(text, buffer, ref)}"

    def _allocate(self, writer: NumPyWriter, handed: Collection[Buffer]) -> list[str]:
        out = []
        for b, zero in writer.buffers.items():
            lead = [*b.lead]
            if b.timed and b.before + b.after:
                lead[0] = f"{lead[0]} + {b.before + b.after}"
            shape = ", ".join([*lead, *(dim_text(d) for d in b.shape)])
            comma = "," if len(lead) + len(b.shape) == 1 else ""
            made = f"np.{'zeros' if zero else 'empty'}(({shape}{comma}), dtype)"
            if b.timed and not zero and b not in handed:
                made = kept_array(b, f"({shape}{comma})")
            out.append(f"    {b.name} = {made}")
        for rows, name in writer.columns.items():
            out.append(f"    {name} = np.ones(({dim_text(rows)}, 1), dtype)")
        return out

    def _function(
        self, routine: Routine, made: set[Buffer], unpack: list[str], after: list[str],
        optional: frozenset[Buffer] = frozenset(),
    ) -> list[str]:  # fmt: skip
        forward = routine is self.plan.forward
        handed = self.plan.outputs.values() if forward else self.plan.gradients.values()
        out = [a.buffer for a in handed if a is not None]
        views = views_of({*touched(routine.statements), *out})
        writer = NumPyWriter(self.plan.names.scope(), optional, views)
        writer.made |= made
        writer.equations = self.equations
        writer.zero = {a.buffer for a in routine.allocations if a.zero}
        kept = {*out, *made, *self.plan.saved, *writer.zero}
        first = {a.buffer for a in handed if a is not None and a.slot == ("start", -1)}
        first -= {a.buffer for a in handed if a is not None and a.slot != ("start", -1)}
        ends = first - {*made, *self.plan.saved, *writer.zero}
        wide = self.plan.names.matrices(self.network, in_heads=True)
        writer.write(block(routine.statements, kept, wide, ends))
        self.uses |= writer.uses
        self.quiet = any(n in writer.uses and f.overflows for n, f in ELEMENTWISE.items())
        saved = {b.base or b for b in self.plan.saved}
        allocated = self._allocate(writer, {b.base or b for b in out} - saved)
        for base in views:
            if base not in writer.blocked:
                allocated += [f"    {line}" for line in writer.view_lines(base, out)]
        self.wide = max(self.wide, writer.wide)
        self.blocked |= any(re.search(r"\bROWS\b", line) for line in writer.lines)
        everything = "\n".join([*unpack, *allocated, *writer.lines, *after])
        self._used_sizes = used_sizes(self.plan.names, everything)
        self._entries = entry_lines(self.plan.names, everything)
        self._uses_dtype = "dtype" in everything
        return [*self._open(), *unpack, *allocated, "", *writer.lines]

    def _given(self, statements: list[Statement]) -> tuple[list[str], set[Buffer]]:
        used = read_buffers(statements)
        lines, made = [], set()
        refs = {**self.network.inputs, **self.network.parameters}
        for name, b in {**self.plan.inputs, **self.plan.parameters}.items():
            made.add(b)
            if b in used:
                lines.append(self._unpack(b, name, "arrays", refs[name]))
        return lines, made

    def _out(self, key: str, a: Access, ref: Ref | None) -> str:
        text = NumPyWriter(self.plan.names).access(a)
        if a.lead and ref is not None and not ref.shape.axes:
            text += "[..., 0]"
        text = template.unflattened(text, a, ref, self.plan.names)
        return f'        "{key}": {text},'

    # -- functions ------------------------------------------------------------------------------

    def _forward(self) -> list[str]:
        plan = self.plan
        unpack, made = self._given(plan.forward.statements)
        refs: dict[str, Ref | None] = dict(plan.network.outputs)
        after = [
            "    outputs: Outputs = {",
            *(self._out(k, a, refs.get(k)) for k, a in plan.outputs.items()),
            "    }",
        ]
        saved = ", ".join(f'"{b.name}": {b.name}' for b in plan.saved)
        after += [f"    saved = {{{saved}}}", "    return outputs, saved"]
        body = self._function(plan.forward, made, unpack, after)
        out = [
            "",
            "",
            *self._decorators(),
            f"def {function_of_substeps(plan.derivation, 'forward')}(",
            "    parameters: Parameters,",
            "    inputs: Inputs,",
            "    workspace: dict[str, Array] | None = None,",
            *self._keyword_lines(),
            ") -> tuple[Outputs, dict[str, Array]]:",
        ]
        about = "The outputs, and what `backward` needs besides the arguments."
        out += [f'    """{about}', *_WORKSPACE.rstrip("\n").split("\n"), '    """']
        return [*out, *body, *after]

    def _decorators(self) -> list[str]:
        if not self.quiet:
            return []
        return ["# In sigmoid exp(−x) may become infinite, rightly.", '@np.errstate(over="ignore")']

    def _backward(self) -> list[str]:
        plan = self.plan
        unpack, made = self._given(plan.backward.statements)
        made |= set(plan.saved)
        unpack += [f'    {b.name} = saved["{b.name}"]' for b in plan.saved]
        optional, lines = self._cotangents()
        unpack += lines
        made |= set(plan.cotangents.values())
        after = ["    gradients: Gradients = {"]
        for name, a in plan.gradients.items():
            ref = {**plan.network.inputs, **plan.network.parameters}[name]
            if a is None:
                after.append(f'        "{name}": np.zeros(arrays["{name}"].shape, dtype),')
            else:
                after.append(self._out(name, a, ref))
        after += ["    }", "    return gradients"]
        body = self._function(plan.backward, made, unpack, after, optional)
        out = [
            "",
            "",
            *self._decorators(),
            f"def {function_of_substeps(plan.derivation, 'backward')}(",
            "    parameters: Parameters,",
            "    inputs: Inputs,",
            "    saved: dict[str, Array],",
            "    cotangents: Cotangents,",
            "    workspace: dict[str, Array] | None = None,",
            *self._keyword_lines(),
            ") -> Gradients:",
        ]
        out += ['    """The gradients of Σ ⟨cotangent, output⟩."""']
        return [*out, *body, *after]

    def _cotangents(self) -> tuple[frozenset[Buffer], list[str]]:
        """Unpack cotangents: None is skipped where it is only added, else it reads as zeros."""
        plan = self.plan
        lines: list[str] = []
        optional: set[Buffer] = set()
        lines += self._check_cotangents()
        for label, b in plan.cotangents.items():
            ref = plan.network.outputs.get(label)
            scalar = ref is not None and not ref.shape.axes
            if self._only_added(b, plan.backward.statements) and not scalar:
                optional.add(b)
                lines.append(f'    {b.name} = upstream.get("{label}")')
                flat = template.flattened(b.name, b, ref)
                if flat != b.name:
                    lines += [f"    if {b.name} is not None:", f"        {b.name} = {flat}"]
                continue
            if ref is None:  # the loss
                lines.append(f'    {b.name} = upstream.get("loss", 0)')
                continue
            shape = ", ".join([*b.lead, *(dim_text(d) for d in b.shape if d != ONE)])
            comma = "," if len(b.lead) + (not scalar) == 1 else ""
            end = "[..., None]" if scalar else ""
            lines.append(
                f'    {b.name} = upstream.get("{label}", np.zeros(({shape}{comma}), dtype)){end}'
            )
            flat = template.flattened(b.name, b, ref)
            if flat != b.name:
                lines.append(f"    {b.name} = {flat}")
        return frozenset(optional), lines

    def _check_cotangents(self) -> list[str]:
        shapes = []
        for label in self.plan.outputs:
            shape = template.shape_text(self.plan.network.outputs.get(label), self.plan.names)
            shapes.append(f'        "{label}": {shape},')
        return [
            "    shapes: dict[str, tuple[int, ...]] = {", *shapes, "    }",
            "    upstream = _check_cotangents(cotangents, shapes, dtype)",
        ]  # fmt: skip

    def _only_added(self, b: Buffer, statements: list[Statement]) -> bool:
        for s in statements:
            if isinstance(s, Loop):
                if b in read_buffers(s.body):
                    return False
            elif isinstance(s, Pointwise):
                for a in s.assigns:
                    plain = isinstance(a.value, Access) and a.accumulate
                    if not plain and b in read_buffers([Pointwise((Assign(a.dest, a.value),))]):
                        return False
            elif b in read_buffers([s]):
                return False
        return True

    def _loss(self) -> list[str]:
        keywords = self._keywords(values=True)
        return [
            "", "", "def loss_and_gradients(",
            f"    parameters: Parameters, inputs: Inputs{self._keywords()}",
            ") -> tuple[Any, Gradients]:",
            '    """The loss, summed over time and batch, and its gradients."""',
            f"    outputs, saved = forward(parameters, inputs{keywords})",
            '    one = {"loss": np.ones_like(outputs["loss"])}',
            f"    gradients = backward(parameters, inputs, saved, one{keywords})",
            '    return outputs["loss"], gradients',
        ]  # fmt: skip


def _helpers(names: Iterable[str]) -> list[str]:
    """Texts of helper functions, in the order of the table."""
    wanted = set(names)
    return [
        line for name, text in helper_texts().items() if name in wanted
        for line in ("", *text.rstrip("\n").split("\n"))
    ]  # fmt: skip
