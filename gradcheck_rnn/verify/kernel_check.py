"""A kernel against the definition it was made from.

The derivatives are those of the definition (`language.running.run`), never of the kernel: a kernel
that computes another function, and its gradient rightly, fails. They come from complex steps of
single steps (`definition_gradients`), borne out by differences of whole runs, and from such
differences where entries are in doubt (`offered`). Its forward pass is
compared first; then each output gets a random cotangent alone, so that the path through a last
state is not lost in a sum; then all of them (and the loss) together, and the loss if there is one.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import DimensionError, UsageError
from ..language.depth import depth
from ..language.network import Network
from ..language.numeric import holding_frozen, recording_frozen
from ..language.running import array_shape, run, to_rows
from ..streams import Stream, generator
from .agreement import agreement_row
from .blackbox import check_gradient
from .definition_gradients import DefinitionGradients, read_by
from .guard import UserCode, call
from .known import KnownLoss
from .oracle.directions import draw_direction
from .outcome import Report
from .points import Point, draw_point
from .repeats import LEAST_REPEATS, default_repeats
from .verdict import Finding, Row, Verdict
from .zeros import settle_beside

__all__ = ["Kernel", "check_kernel", "parts_of"]

Array = NDArray[Any]
Arrays = dict[str, Array]
FORWARD, TOGETHER, LOSS = "forward", "all outputs", "loss"
NEIGHBOURS = 4
#: Stacked perturbations in one run of the definition: more would only fill the memory.
MOST_AT_ONCE = 256
#: Bytes of results of the definition that are kept for other parts.
SHARED = 2**26


class Kernel(Protocol):
    """What a generated module offers; arrays are ``(T, B, n)``.

    A function that needs the length of a time axis that no input tells takes it as a keyword
    (``T=``).
    """

    def forward(self, parameters: Arrays, inputs: Arrays, /) -> tuple[Mapping[str, Any], Any]:
        """Outputs by name, and what backward needs."""

    def backward(
        self, parameters: Arrays, inputs: Arrays, saved: Any, cotangents: Arrays, /
    ) -> Mapping[str, Any]:
        """Gradients of parameters, inputs and initial states by name."""


class _Called(UserCode):
    """A kernel at a point: its functions get dicts of their own and the lengths they ask for."""

    def __init__(self, kernel: Any, point: Point) -> None:
        super().__init__(kernel)
        self.kernel, self.point = kernel, point
        self.lengths: dict[str, dict[str, int]] = {}

    def __call__(self, name: str, values: Mapping[str, Any], *rest: Any) -> Any:
        function = getattr(self.kernel, name)
        if name not in self.lengths:
            known = inspect.signature(function).parameters
            self.lengths[name] = {a: n for a, n in self.point.lengths.items() if a in known}
        whole = {**self.point.values, **values}
        given = *self.point.split(whole), *rest
        result = call(f"the kernel's {name}", function, *given, **self.lengths[name])
        if name == "forward" and isinstance(result, tuple):
            # What is saved for backward stays where it is.
            return (_fetched(result[0]), *result[1:])
        return _fetched(result)


def _fetched(value: Any) -> Any:
    """Arrays of a device brought here: they have a method ``get``, as CuPy's have."""
    if isinstance(value, Mapping):
        return {k: _fetched(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_fetched, value))
    return value.get() if callable(getattr(value, "get", None)) else value


class _Oracle:
    """The definition as a function of arrays in the public layout; what it freezes is held."""

    def __init__(self, point: Point) -> None:
        self.point = point
        with recording_frozen() as tape:
            self.run(point.values)
        self.tape = tape
        self._known: dict[tuple[bytes, int], dict[str, Array]] = {}
        self._room = SHARED

    def run(self, values: Mapping[str, Any]) -> dict[str, Array]:
        """Outputs and loss of the definition by name."""
        point = self.point
        made = run(point.network, point.columns(values), point.lengths)
        refs = point.network.outputs
        return {n: np.asarray(a) if n == LOSS else to_rows(refs[n], a) for n, a in made.items()}

    def held(self, moved: Mapping[str, Any]) -> dict[str, Array]:
        """Run at other values of what has a gradient; the data stay."""
        with holding_frozen(self.tape):
            return self.run({**self.point.values, **moved})

    def stacked(
        self, moved: Mapping[str, Any], stacks: Mapping[str, Array], count: int
    ) -> dict[str, Array]:
        """Run at N values of some arrays, ``(N, *shape)``; every result gets N in front."""
        point = self.point
        columns = point.columns({**point.values, **moved, **stacks})
        for name in stacks:
            if point.ref(name).axis is not None:
                # The definition wants time first, then the stack.
                columns[name] = np.moveaxis(columns[name], 0, 1)
        with holding_frozen(self.tape):
            made = run(point.network, columns, point.lengths)
        found = {}
        for n, a in made.items():
            ref = point.network.outputs.get(n)
            rows = np.asarray(a) if ref is None else to_rows(ref, a)
            if rows.ndim > len(self.shape(n)):
                rows = rows if ref is None or ref.axis is None else np.moveaxis(rows, 1, 0)
            else:  # it does not depend on what is moved
                rows = np.broadcast_to(rows, (count, *rows.shape))
            found[n] = rows
        return found

    def shared(
        self, key: bytes, asked: int, moved: Arrays, stacks: Mapping[str, Array], count: int
    ) -> dict[str, Array]:
        """What the run number `asked` at a point gave, whichever part asked for it first.

        Parts differ in cotangents alone, and move along the same lines. A part that asks again gets
        another run, which shows whether the definition gives the same.
        """
        known = self._known.get((key, asked))
        if known is not None:
            return known
        made = self.stacked(moved, stacks, count) if stacks else self.held(moved)
        size = sum(a.nbytes for a in made.values())
        if size <= self._room:
            # An output may be an input of some steps: callers move those in place.
            given = [*moved.values(), *stacks.values()]
            made = {
                n: a.copy() if any(np.may_share_memory(a, x) for x in given) else a
                for n, a in made.items()
            }
            self._known[key, asked] = made
            self._room -= size
        return made

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an output or of the loss in the public layout."""
        if name == LOSS:
            return ()
        point = self.point
        ref = point.network.outputs[name]
        return array_shape(ref, point.sizes, batch=point.batch, lengths=point.lengths)


class _Paired(KnownLoss):
    """The scalar <cotangents, outputs> by the definition."""

    def __init__(
        self,
        oracle: _Oracle,
        weights: Mapping[str, Array],
        gradients: DefinitionGradients,
        part: str,
    ) -> None:
        self.oracle, self.weights = oracle, weights
        self.gradients, self.part = gradients, part
        network = oracle.point.network
        self.depth, self.holds = depth(network, oracle.point.lengths), bool(oracle.tape.values)
        self._read = read_by(network, weights)
        self._asked: Counter[bytes] = Counter()

    def _run(self, moved: Arrays, stacks: Mapping[str, Array], count: int) -> Arrays:
        """Results of the definition; those of a point that another part has asked for are kept."""
        key = _digest(moved, stacks)
        self._asked[key] += 1
        return self.oracle.shared(key, self._asked[key], moved, stacks, count)

    def __call__(self, moved: Arrays) -> Any:
        made = self._run(moved, {}, 1)
        return sum((np.sum(w * made[n]) for n, w in self.weights.items()), start=np.float64(0))

    def derivatives(self, parameters: Arrays) -> dict[str, tuple[Array, Array]]:
        """Derivatives by every array and bounds on their errors; none but at the point itself."""
        own = self.oracle.point.values
        if not all(np.array_equal(a, own[n]) for n, a in parameters.items()):
            return {}
        return self.gradients.of(self.part)

    def reads(self, name: str) -> bool:
        """Whether anything that the scalar depends on may read an array."""
        return name in self._read

    def many(self, parameters: Arrays, stacks: Mapping[str, Array]) -> Array:
        """The scalars at many values of some arrays."""
        count, totals = len(next(iter(stacks.values()))), []
        for first in range(0, count, MOST_AT_ONCE):
            part = {n: a[first : first + MOST_AT_ONCE] for n, a in stacks.items()}
            size = min(MOST_AT_ONCE, count - first)
            made = self._run(parameters, part, size)
            total = np.zeros(size, np.result_type(*part.values()))
            for n, w in self.weights.items():
                total = total + (w * made[n]).reshape(size, -1).sum(axis=1)
            totals.append(total)
        return np.concatenate(totals)


def _digest(moved: Arrays, stacks: Mapping[str, Array]) -> bytes:
    """Which point, or stack of points, some arrays are."""
    found = blake2b()
    for name, a in (*moved.items(), *stacks.items()):
        found.update(f"{name} {a.dtype} {a.shape} ".encode())
        found.update(np.ascontiguousarray(a).tobytes())
    return found.digest()


def parts_of(network: Network) -> list[str]:
    """What `check_kernel` reports on, in order: the forward pass, each cotangent, the loss."""
    together = [TOGETHER] if len(network.outputs) + bool(network.loss_terms) > 1 else []
    loss = [LOSS] if network.loss_terms else []
    return [FORWARD, *network.outputs, *together, *loss]


def check_kernel(
    network: Network,
    kernel: Any,
    *,
    seed: int,
    budget: Callable[[int], int | str | None] = lambda _: None,
    select: str | Iterable[str] | None = None,
    shape: int = 0,
    title: str = "",
) -> Iterator[Report]:
    """Check a kernel's forward pass and every gradient it gives against the definition.

    Parameters
    ----------
    network : Network
        The definition.
    kernel : Kernel
        A module or object with ``forward``, ``backward`` and, for a network with a loss,
        ``loss_and_gradients(parameters, inputs)``.
    seed : int
        Repeats point, cotangents and directions.
    budget : callable, optional
        Given the number of checks that are left, the budget of the next (see `check_gradient`).
    select : str or iterable of str, optional
        Only the gradients of these parameters, inputs and initial states.
    shape : int, optional
        Which sizes; see `draw_point`.

    Yields
    ------
    Report
        One for each of `parts_of`, titled ``"<title>: <part>"``. After a forward pass that
        differs nothing else is checked: the gradients would be those of another function.

    Raises
    ------
    UsageError, DimensionError
        The kernel lacks a function or an output, or returns other shapes; the kernel's own
        exceptions propagate unchanged.
    """
    title = title or network.name
    for name in ("forward", "backward", *([f"{LOSS}_and_gradients"] * bool(network.loss_terms))):
        if not callable(getattr(kernel, name, None)):
            raise UsageError(f"{title}: the kernel has no function {name!r}; generate it anew")
    point = draw_point(network, seed, shape)
    oracle, called = _Oracle(point), _Called(kernel, point)
    report = _forward(point, oracle, called, seed, title)
    parts = parts_of(network)[1:]
    if report.verdict is Verdict.FAIL:
        report.findings.append(
            Finding(
                "other-function",
                "the kernel computes another function than its definition, so its gradients "
                "were not checked",
            )
        )
    yield report
    if report.verdict is Verdict.FAIL:
        return
    values = point.differentiated
    wrong, rows = False, dict[str, list[Row]]()
    probed = _cotangents(oracle, parts, seed)
    gradients, entries = DefinitionGradients(point, probed), sum(a.size for a in values.values())
    # What comes by chance comes in any part.
    repeats = max(LEAST_REPEATS, default_repeats(entries) // len(parts))
    for k, part in enumerate(parts):
        loss = _Paired(oracle, probed[part], gradients, part)
        gradient = _pulled(oracle, called, part, probed[part])
        what = LOSS if part == LOSS else f"cotangent of {part}"
        report = check_gradient(
            loss, gradient, values, seed=seed, budget=budget(len(parts) - k), select=select,
            repeats=repeats, title=f"{title}: {what}",
        )  # fmt: skip
        report.subject, report.part = title, what
        for row in report.rows:
            rows.setdefault(row.name, []).append(row)
            settle_beside(rows[row.name])
        if oracle.tape.values:
            report.findings.append(
                Finding(
                    "frozen",
                    "the definition has frozen values, held while perturbing: this gradient is by "
                    "intent not the derivative of the loss as run",
                )
            )
        wrong = wrong or report.verdict is Verdict.FAIL
        if wrong and part == parts[-1]:
            report.findings += _named(network, called, seed, select)
        yield report


def _named(
    network: Network, called: _Called, seed: int, select: str | Iterable[str] | None
) -> list[Finding]:
    """Which mistake of the derivation makes the kernel's gradients, if any does."""
    from .diagnosis.check import check_model

    def backward(cotangents: Mapping[str, Any], saved: Any) -> Any:
        values, inner = saved
        return called("backward", values, inner, dict(cotangents))

    def forward(**values: Any) -> tuple[Any, Any]:
        outputs, inner = called("forward", values)
        return dict(outputs), (values, inner)

    if any(called.lengths.values()):
        message = "the mistake was not looked for: the kernel asks for the length of its time axis"
        return [Finding("no-diagnosis", message)]
    try:
        report = check_model(
            network, forward=forward, backward=backward, select=select, seed=seed, plan="few"
        )
    except Exception as error:  # the verdict stands, whatever the code does at another point
        message = f"the mistake was not looked for: {type(error).__name__}: {error}"
        return [Finding("no-diagnosis", message)]
    return [f for f in report.findings if f.kind == "diagnosis"]


def _cotangents(oracle: _Oracle, parts: Iterable[str], seed: int) -> dict[str, Arrays]:
    """What each part probes: output → cotangent, of the loss alone a one."""
    weights = {
        n: _cotangent(a.shape, seed, f"cotangent of {n}") for n, a in oracle.held({}).items()
    }
    probed = {p: {n: w for n, w in weights.items() if p in (n, TOGETHER)} for p in parts}
    return {p: {LOSS: np.ones(())} if p == LOSS else given for p, given in probed.items()}


def _pulled(oracle: _Oracle, called: _Called, part: str, probed: Arrays) -> Callable[[Arrays], Any]:
    """The gradient of a part by the kernel."""
    if part == LOSS:
        return lambda moved: called("loss_and_gradients", moved)
    shapes = {n: a.shape for n, a in oracle.held({}).items()}

    def pulled(moved: Arrays) -> Any:
        _, saved = called("forward", moved)
        # Copies: a kernel may work in the arrays of its cotangents, the next check needs them.
        given = {n: probed[n].copy() if n in probed else np.zeros(s) for n, s in shapes.items()}
        return called("backward", moved, saved, given)

    return pulled


def _cotangent(shape: tuple[int, ...], seed: int, label: str) -> Array:
    direction = draw_direction(shape, seed, label)
    return np.asarray(direction * np.sqrt(direction.size))


def _forward(point: Point, oracle: _Oracle, called: _Called, seed: int, title: str) -> Report:
    """Outputs and loss of the kernel next to the definition's in extended precision."""
    double = oracle.held({})
    wide = {n: a.astype(np.longdouble) for n, a in point.values.items()}
    truth = oracle.run(wide)
    rng = generator(seed, Stream.KERNEL_NEIGHBOURS)
    ours = _outputs(called, point.values, double)
    eps = float(np.finfo(np.float64).eps)
    neighbours, domains = [], point.network.domains
    for _ in range(NEIGHBOURS):
        moved = {
            n: a * (1 + rng.choice([-eps, eps], size=a.shape)) for n, a in point.values.items()
        }
        for n, domain in domains.items():
            moved[n] = point.values[n] if domain.fixed else domain.clip(moved[n])
        neighbours.append(_outputs(called, moved, double))
    report = Report(
        f"{title}: {FORWARD}", [], mode=FORWARD, seed=seed, evaluations=2, subject=title,
        part=FORWARD,
    )  # fmt: skip
    for n, expected in truth.items():
        slip = np.abs((double[n] - expected).astype(np.float64))
        report.rows.append(
            agreement_row(n, ours[n], expected, np.stack([m[n] for m in neighbours]), slip)
        )
    if LOSS in double:
        report.loss = float(double[LOSS])
    return report


def _outputs(called: _Called, values: Mapping[str, Array], like: Arrays) -> Arrays:
    """The kernel's outputs by name and its loss, shaped like the definition's."""
    result = called("forward", values)
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[0], Mapping):
        raise UsageError("the kernel's forward must return (outputs by name, saved)")
    made = dict(result[0])
    if LOSS in like:
        made[LOSS] = called("loss_and_gradients", values)[0]
    found = {}
    for n, expected in like.items():
        if n not in made:
            raise UsageError(f"the kernel's forward gives no output {n!r}; it gives {list(made)}")
        found[n] = np.array(made[n])
        if found[n].shape != expected.shape:
            raise DimensionError(
                f"the kernel's output {n!r} has shape {found[n].shape}, the definition's "
                f"{expected.shape}"
            )
    return found
