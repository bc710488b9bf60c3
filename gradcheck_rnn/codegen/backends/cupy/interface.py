"""The interface of a module, around its statements: shapes, checks, signatures, launches."""

from __future__ import annotations

from collections.abc import Iterable

from ....language.network import Network, Ref
from ...schedule.build import Schedule
from ...schedule.ops import BATCH, Buffer, Lead
from ..sizes import size_lines
from ..template import axes_of, check, flattened, shape_text, typed_dict

__all__ = ["CHECK", "LAUNCH", "Interface"]

CHECK = check(
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


class Interface:
    """What the caller sees of a module, as text."""

    def __init__(self, plan: Schedule) -> None:
        self.plan, self.network = plan, plan.network
        inputs = self.network.inputs.values()
        self.free_axes = [a for a in self.network.axes if all(r.axis != a for r in inputs)]
        self.free_batch = not inputs

    @property
    def refs(self) -> dict[str, Ref]:
        return {**self.network.inputs, **self.network.parameters}

    def shapes(self) -> dict[str, tuple[str, ...]]:
        """Axes of every array, inputs first, so that plain dims are known before sums of them."""
        return {n: axes_of(r) for n, r in self.refs.items()}

    def types(self) -> list[str]:
        """The TypedDicts."""
        network: Network = self.network
        outputs = self.plan.outputs
        differentiated = [r.name for r in self.plan.derivation.differentiated()]
        late = "∂L/∂output of each output; one that is left out is zero."
        return [
            *typed_dict("Parameters", "Parameters, trained and fixed.", network.parameters),
            *typed_dict("Inputs", "Sequences, data and initial states.", network.inputs),
            *typed_dict("Outputs", "What forward gives.", outputs),
            *typed_dict("Cotangents", late, outputs, total=False),
            *typed_dict("Gradients", "∂L/∂ of what it is called after.", differentiated),
        ]

    def keywords(self) -> list[str]:
        """Keyword parameters for sizes that no array tells."""
        local = [self.plan.names.sizes[a] for a in self.free_axes]
        return [f"{a}: int" for a in local] + (["B: int = 1"] if self.free_batch else [])

    def passed(self) -> str:
        """The same as arguments."""
        local = self.plan.names.sizes
        return "".join(f", {local[n]}={local[n]}" for n in self._free())

    def _free(self) -> list[str]:
        return [*self.free_axes, *([BATCH] if self.free_batch else [])]

    def opening(self, used: Iterable[str], dtype: bool) -> list[str]:
        """Check arrays and take the sizes that are used."""
        local = self.plan.names.sizes
        given = ", ".join(f'"{n}": {local[n]}' for n in self._free())
        out = [
            f"    sizes: dict[str, int] = {{{given}}}",
            f"    arrays, {'dtype' if dtype else '_'} = _check({{**parameters, **inputs}}, sizes)",
        ]
        names = list(used)
        return out + size_lines(self.shapes(), self.refs.values(), self._free(), names, local)

    def given(self, buffer: Buffer, key: str) -> str:
        """A line that names an argument."""
        ref = self.refs[key]
        text = f'arrays["{key}"]{_unit(ref, buffer.lead)}'
        return f"    {buffer.name} = {flattened(text, buffer, ref)}"

    def cotangents(self) -> list[str]:
        """Lines that check and name the cotangents."""
        out = ["    shapes: dict[str, tuple[int, ...]] = {"]
        for label in self.plan.outputs:
            shape = shape_text(self.network.outputs.get(label), self.plan.names)
            out.append(f'        "{label}": {shape},')
        out += ["    }", "    upstream = _check_cotangents(cotangents, shapes, dtype)"]
        for label, b in self.plan.cotangents.items():
            ref = self.network.outputs.get(label)
            end = "" if ref is None else _unit(ref, b.lead)
            text = flattened(f'upstream["{label}"]{end}', b, ref)
            out.append(f"    {b.name} = {text}")
        return out


def _unit(ref: Ref, lead: Lead) -> str:
    """Scalars of a sequence have one unit inside."""
    return "[..., None]" if lead and not ref.shape.axes else ""
