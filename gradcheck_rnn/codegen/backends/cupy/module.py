"""A CuPy module from a schedule."""

from __future__ import annotations

import re
from functools import partial

from ....derivation.program import Derivation
from ....language.network import Ref
from ...schedule.build import Routine, Schedule, schedule
from ...schedule.inspect import read_buffers, touched, views_of
from ...schedule.ops import Access, Buffer, Statement
from .. import template
from ..cfamily.python_interface import PythonInterface
from ..expressions import declared_helpers, dim_text
from ..size_checks import entry_lines, used_sizes
from ..substeps import function_of_substeps, functions_of_steps
from ..wrapping import wrap
from .config import RESERVED, device_functions
from .entry_kernels import Printed
from .host import helper_texts
from .places import place_text
from .prepare import Preparer
from .writer import CuPyWriter

__all__ = ["print_module"]


def print_module(derivation: Derivation, origin: str = "") -> str:
    """The text of a standalone CuPy module; the same derivation gives the same text."""
    reserved = (*RESERVED, *helper_texts(), *declared_helpers("cuda"))
    return _Module(schedule(derivation, reserved, compact=True, stepwise=True), origin).text()


class _Module:
    def __init__(self, plan: Schedule, origin: str) -> None:
        self.origin = origin
        self.plan, self.network, self.interface = plan, plan.network, PythonInterface(plan)
        self.equations = template.equation_texts(plan.derivation)
        self.kernels: list[Printed] = []
        self.uses: set[str] = set()

    def text(self) -> str:
        forward, backward = self._forward(), self._backward()
        tail = self._loss() if self.network.loss_terms else []
        reads = "it needs nothing but CuPy and NumPy."
        head = template.docstring(self.plan.derivation, reads, self.origin)
        head += ["", "from __future__ import annotations", "", "import functools"]
        head += ["from collections.abc import Callable, Mapping"]
        given = template.given_table(self.network)
        head += [f"from typing import Any, {'NotRequired, ' if given else ''}TypedDict"]
        helpers = [text for n, text in helper_texts().items() if n in self.uses]
        code = [w for line in (*forward, *backward, *tail) for w in wrap(line)]
        special = any("special." in text for text in (*helpers, *code))
        head += ["", "import cupy as cp", "import numpy as np"]
        head += ["from cupyx.scipy import special"] if special else []
        head += ["", "Array = cp.ndarray", ""]
        head += ["#: Threads a block.", "THREADS = 256", ""]
        head += ["#: What a dtype is called in CUDA."]
        head += ['REAL = {"float32": "float", "float64": "double"}', ""]
        head += [*template.shape_table(self.interface.shapes()), *given]
        lines = [*head, "", *self._cuda(), *self.interface.types()]
        for text in (CHECK(given=bool(given)), LAUNCH, *helpers):
            lines += ["", "", *text.strip("\n").split("\n")]
        code += functions_of_steps(self.plan.derivation, "cp")
        return "\n".join([*lines, *code]) + "\n"

    def _cuda(self) -> list[str]:
        uses = {n for k in self.kernels for n in k.uses}
        out = ["#: The kernels; all arrays are contiguous.", 'CUDA = r"""']
        out += ["typedef REAL real;  // set by the option -DREAL", *device_functions(uses)]
        for k in self.kernels:
            out += ["", *k.text]
        return [*out, '"""']

    # -- functions ------------------------------------------------------------------------------

    def _body(
        self, routine: Routine, name: str, unpack: list[str], made: set[Buffer], after: list[str]
    ) -> list[str]:
        views = views_of(touched(routine.statements))
        prepare = Preparer(self.plan.names.fresh, views)
        writer = CuPyWriter(name, self.plan.names, views, made, self.equations)
        given_out = {*self.plan.saved, *(a.buffer for a in self._handed(routine))}
        writer.write(prepare(routine.statements), {b.base or b for b in given_out})
        self.kernels += writer.kernels
        self.uses |= writer.uses
        zero = {a.buffer.base or a.buffer for a in routine.allocations if a.zero} | prepare.zero
        allocated = [self._allocate(b, b in zero) for b in writer.buffers]
        bound = [self._bind(k) for k in writer.kernels]
        body = [*unpack, *allocated, *bound, "", *writer.lines]
        text = "\n".join([*body, *after])
        used = used_sizes(self.plan.names, text)
        opening = self.interface.opening(used, re.search(r"\bdtype\b", text) is not None)
        return [*opening, *entry_lines(self.plan.names, text), *body, *after]

    def _handed(self, routine: Routine) -> list[Access]:
        forward = routine is self.plan.forward
        handed = self.plan.outputs if forward else self.plan.gradients
        return [a for a in handed.values() if a is not None]

    def _allocate(self, b: Buffer, zero: bool) -> str:
        lead = [*b.lead]
        if b.ring:
            lead[0] = "2"
        elif b.timed and b.before + b.after:
            lead[0] = f"{lead[0]} + {b.before + b.after}"
        axes = [*lead, *map(dim_text, b.shape)]
        shape = f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"
        return f"    {b.name} = cp.{'zeros' if zero else 'empty'}({shape}, dtype)"

    def _bind(self, k: Printed) -> str:
        sizes = "".join(f", {s}" for s in k.sizes)
        rows = ", by_row=True" if k.by_row else ""
        return f'    {k.name} = _kernel("{k.name}", dtype, {k.count}{sizes}{rows})'

    def _given(self, statements: list[Statement]) -> tuple[list[str], set[Buffer]]:
        used = read_buffers(statements)
        given = {**self.plan.inputs, **self.plan.parameters}
        return [self.interface.given(b, n) for n, b in given.items() if b in used], set(
            given.values()
        )

    def _out(self, key: str, a: Access, ref: Ref | None) -> str:
        text = place_text(a)
        if a.lead and ref is not None and not ref.shape.axes:
            text += "[..., 0]"
        text = template.unflattened(text, a, ref, self.plan.names)
        return f'        "{key}": {text},'

    def _signature(self, name: str, arguments: list[str], result: str, doc: str) -> list[str]:
        keywords = self.interface.keywords()
        every = [*arguments, *(["*", *keywords] if keywords else [])]
        name = function_of_substeps(self.plan.derivation, name)
        lines = ["", "", f"def {name}(", *(f"    {a}," for a in every), f") -> {result}:"]
        return [*lines, f'    """{doc}"""']

    def _forward(self) -> list[str]:
        plan = self.plan
        unpack, made = self._given(plan.forward.statements)
        refs: dict[str, Ref | None] = dict(plan.network.outputs)
        after = ["    outputs: Outputs = {"]
        after += [self._out(k, a, refs.get(k)) for k, a in plan.outputs.items()]
        saved = ", ".join(f"{b.name}={b.name}" for b in plan.saved)
        after += ["    }", f"    saved = dict({saved})", "    return outputs, saved"]
        head = self._signature(
            "forward", ["parameters: Parameters", "inputs: Inputs"],
            "tuple[Outputs, dict[str, Array]]",
            "The outputs, and what `backward` needs besides the arguments.",
        )  # fmt: skip
        return [*head, *self._body(plan.forward, "forward", unpack, made, after)]

    def _backward(self) -> list[str]:
        plan = self.plan
        unpack, made = self._given(plan.backward.statements)
        made |= {*plan.saved, *plan.cotangents.values()}
        unpack += [f'    {b.name} = saved["{b.name}"]' for b in plan.saved]
        unpack += self.interface.cotangents()
        after = ["    gradients: Gradients = {"]
        for name, a in plan.gradients.items():
            if a is None:
                after.append(f'        "{name}": cp.zeros(arrays["{name}"].shape, dtype),')
            else:
                after.append(self._out(name, a, self.interface.refs[name]))
        after += ["    }", "    return gradients"]
        head = self._signature(
            "backward",
            [
                "parameters: Parameters",
                "inputs: Inputs",
                "saved: dict[str, Array]",
                "cotangents: Cotangents",
            ],
            "Gradients",
            "The gradient of Σ ⟨cotangent, output⟩ with respect to everything that has one.",
        )  # fmt: skip
        return [*head, *self._body(plan.backward, "backward", unpack, made, after)]

    def _loss(self) -> list[str]:
        passed = self.interface.passed()
        head = self._signature(
            "loss_and_gradients", ["parameters: Parameters", "inputs: Inputs"],
            "tuple[Array, Gradients]",
            "The loss, summed over time and batch, and its gradients.",
        )  # fmt: skip
        return [
            *head,
            f"    outputs, saved = forward(parameters, inputs{passed})",
            '    upstream: Cotangents = {"loss": cp.ones_like(outputs["loss"])}',
            f"    gradients = backward(parameters, inputs, saved, upstream{passed})",
            '    return outputs["loss"], gradients',
        ]


CHECK = partial(
    template.check,
    "cp",
    "Arrays on the device, contiguous, of one dtype; raises ValueError on what does not fit.",
    '''\
    dtype = np.result_type(*({a.dtype for a in arrays.values() if a.dtype.kind in "fc"} or {float}))
    if dtype.name not in REAL:
        raise TypeError(f"arrays must be float32 or float64, not {dtype}")
    return {n: cp.asarray(a, dtype, order="C") for n, a in arrays.items()}, dtype


def _check_cotangents(
    given: Mapping[str, Any], shapes: dict[str, tuple[int, ...]], dtype: np.dtype[Any]
) -> dict[str, Array]:
    """A cotangent for every output, zeros where none is given; raises ValueError on misfits."""
    for name in given:
        if name not in shapes:
            raise ValueError(f"there is no output {name!r}; there are {', '.join(shapes)}")
    out = {}
    for name, shape in shapes.items():
        value = given.get(name)
        out[name] = array = (
            cp.zeros(shape, dtype) if value is None else cp.asarray(value, dtype, order="C")
        )
        if array.shape != shape:
            raise ValueError(f"the cotangent of {name!r} has shape {array.shape}, expected {shape}")
    return out
''',
)

LAUNCH = '''
@functools.cache
def _function(name: str, dtype: str, device: int) -> Callable[..., None]:
    """A kernel, compiled on first use."""
    return _module(dtype, device).get_function(name)


@functools.cache
def _module(dtype: str, device: int) -> cp.RawModule:
    return cp.RawModule(code=CUDA, options=("-std=c++17", f"-DREAL={REAL[dtype]}"))


def _kernel(
    name: str, dtype: np.dtype[Any], count: int, *sizes: int, by_row: bool = False
) -> Callable[..., None]:
    """A kernel as a function of arrays: a thread an entry or a block a row, ``count`` of them."""
    function = _function(name, dtype.name, cp.cuda.Device().id)
    grid = (count if by_row else -(-count // THREADS),)
    rest = tuple(map(np.int32, sizes))

    def launch(*arrays: Array) -> None:
        if count:
            function(grid, (THREADS,), (*arrays, *rest))

    return launch
'''
