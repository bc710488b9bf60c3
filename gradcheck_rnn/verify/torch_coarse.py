"""PyTorch code in bfloat16 and float16: differences in float64, then rounding for the rest.

Differences of a loss that is rounded to three digits resolve nothing. So what is checked by
differences is a reference in float64: by default the same function, called with float64 tensors.
The gradient in the coarse format is then compared with the reference's, entry by entry and along
itself. What rounding explains is measured: the reference is run, forward and backward, with every
result rounded up or down at random, which looks at every operation through PyTorch's dispatcher.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from .harness.aggregates import COARSE
from .harness.arrays import PRECISIONS, Precision
from .oracle.directions import draw_direction
from .outcome import Report
from .roundoff import spread
from .tensors import WHO
from .torch_pair import TorchPair
from .torch_protocol import gradient_or_zeros
from .verdict import Finding, Row, Verdict, judge, relative_resolution
from .vjp import check_pair

__all__ = ["check_torch_pair", "coarsest", "format_of", "rounding"]

Array = NDArray[Any]
#: Runs with rounded results, and cotangents for each output.
DRAWS, PROBES = 6, 3
#: Largest deviations of so many runs in a bound; and their root mean squares.
SPREADS, DEVIATIONS = 4.0, 4.0
ADVICE = (
    "differences in {} cannot decide it: give reference=, a function of the same tensors that "
    "computes in float64, or judge the code beside a definition (check_model with dtype=)"
)


def format_of(pair: TorchPair) -> Precision | None:
    """The coarsest format that forward computes in, None for float32 and finer ones."""
    torch = pair.torch
    with coarsest(torch) as found:
        pair.forward(pair.tree.leaves)
    found |= {x.dtype for x in pair.moved.values()}
    names = {str(dtype).removeprefix("torch.") for dtype in found}
    forms = [PRECISIONS[n] for n in names if n in PRECISIONS]
    worst = max(forms, key=lambda form: form.eps, default=None)
    return worst if worst is not None and worst.eps > COARSE else None


def check_torch_pair(
    pair: TorchPair, reference: Callable[..., Any] | None, **options: Any
) -> Report:
    """`check_pair`, through a reference in float64 where forward computes in a coarse format."""
    form = format_of(pair)
    if form is None and reference is None:
        return check_pair(pair, **options)
    if form is not None:
        pair.narrowed = max(pair.narrowed, form.eps)
    try:
        wide = _wide(pair, reference)
        kept = check_pair(wide, **options)
        own = pair.widened(None) if reference is not None and pair.fused else None
        coarse = _Coarse(pair, wide, form or PRECISIONS["float32"], kept.seed, own)
        differing = coarse.differing_output()
    except (UsageError, RuntimeError, TypeError, NotImplementedError) as error:
        if reference is not None:
            raise
        return _alone(pair, form, f"{type(error).__name__}: {error}", **options)
    if reference is None and (differing or kept.verdict is Verdict.UNDECIDED):
        return _alone(pair, form, differing or "it is undecided there too", **options)
    if differing:
        kept.findings.append(Finding("other-function", differing, fatal=True))
        return kept
    return coarse.judged(kept, named=reference is not None)


def _alone(pair: TorchPair, form: Precision | None, why: str, **options: Any) -> Report:
    """The check without a reference, with the advice to give one where it decides nothing."""
    report = check_pair(pair, **options)
    if report.verdict is Verdict.UNDECIDED and form is not None:
        said = " ".join(f"{ADVICE.format(form.name)} (in float64 {why})".split())
        report.findings.append(Finding("coarse", said[:600]))
    return report


def _wide(pair: TorchPair, reference: Callable[..., Any] | None) -> TorchPair:
    """The reference as a pair at the same numbers in float64, on the CPU.

    Elsewhere autograd works in threads of its own, which no rounding reaches.

    Raises
    ------
    UsageError
        It computes in a coarse format itself.
    """
    wide = pair.widened(reference)
    form = format_of(wide)
    if form is not None:
        who = "the reference" if reference is not None else "the function"
        raise UsageError(f"{WHO}: {who} computes in {form.name} also where its tensors are float64")
    return wide


@dataclass
class _Probe:
    """One cotangent of one output: gradients of both, and deviations under rounding by input."""

    given: dict[int, Array]
    got: dict[int, Array]
    want: dict[int, Array]
    moves: dict[int, Array]


class _Coarse:
    """A pair beside its reference, which is run a few times with every result rounded."""

    def __init__(
        self,
        pair: TorchPair,
        wide: TorchPair,
        form: Precision,
        seed: int,
        own: TorchPair | None = None,
    ) -> None:
        self.pair, self.wide, self.form, self.seed = pair, wide, form, seed
        #: Whose rounding counts: of the reference, and of the code itself where that is fused.
        self.sources = [wide] if own is None else [wide, own]
        pair.begin()
        for what, one, other in (
            ("inputs and parameters", pair.tree, wide.tree), ("outputs", pair.outs, wide.outs)
        ):  # fmt: skip
            if [x.shape for x in one.leaves] != [x.shape for x in other.leaves]:
                raise UsageError(f"{WHO}: the reference has other {what}")
        self.rounded = [[self._rounded(p, draw) for draw in range(DRAWS)] for p in self.sources]

    def _rounding(self, draw: int) -> Any:
        generator = self.pair.torch.Generator().manual_seed((self.seed + 7919 * draw) % 2**31)
        form = self.form  # coarser ones add up in float32
        return rounding(
            self.pair.torch, form.bits, form.least, generator, sums=form.name == "float32"
        )

    def _rounded(self, pair: TorchPair, draw: int) -> tuple[list[Any], list[Any]]:
        """Leaves and outputs of a graph of rounded results."""
        with self._rounding(draw):
            own, outs = pair.forward(pair.tree.leaves)
        return own, list(outs.values())

    def differing_output(self) -> str:
        """In words, how outputs differ by more than rounding explains; '' if they do not."""
        for k, name in enumerate(self.pair.outs.names):
            got, want = (np.asarray(p.outs.leaves[k]) for p in (self.pair, self.wide))
            if want.dtype.kind != "f" or not want.size:
                continue
            noise = spread(
                np.stack([outs[k].detach().numpy() - want for _, outs in self.rounded[0]])
            )
            size = float(np.sqrt(np.mean(want**2)))
            bound = SPREADS * noise + self.form.eps * (np.abs(want) + size)
            worst = float(np.max(judge(got.astype(np.float64), want, bound), initial=0.0))
            if not worst <= 1:
                return (
                    f"the output '{name}' differs from the reference in float64 by {worst:.2g} "
                    f"times what rounding to {self.form.name} explains: another function"
                )
        return ""

    def _probe(self, k: int, number: int) -> _Probe:
        shape = self.pair.outs.leaves[k].shape
        weight = draw_direction(shape, self.seed, f"coarse {k} {number}")
        given = {k: self.form.quantise(weight * np.sqrt(weight.size))}
        got = self.pair.pull(self.pair.tree.leaves, given)
        want = self.wide.pull(self.wide.tree.leaves, given)
        moves: dict[int, list[Array]] = {i: [] for i in want}
        for pair, runs in zip(self.sources, self.rounded, strict=True):
            exact = want if pair is self.wide else pair.pull(pair.tree.leaves, given)
            for draw, (own, outs) in enumerate(runs):
                with self._rounding(DRAWS * (number + 1) + draw):
                    grads = pair.grad(own, outs, given, False)
                for i in want:
                    moves[i].append(gradient_or_zeros(grads[i], exact[i]) - exact[i])
        return _Probe(
            given, {i: np.asarray(g, np.float64) for i, g in got.items()}, want,
            {i: np.stack(m) for i, m in moves.items()},
        )  # fmt: skip

    def judged(self, kept: Report, named: bool) -> Report:
        """The reference's report, what passes there judged by the gradient in coarse format."""
        positions = {n: i for i, n in enumerate(self.wide.tree.names)}
        what = "the reference" if named else "the same function in float64"
        probes: dict[str, list[_Probe]] = {}
        for k in self.wide.probed:
            name = self.wide.outs.names[k]
            if any(r.output == name for r in kept.rows):
                probes[name] = [self._probe(k, number) for number in range(PROBES)]
        self.pair.protocol({k: w for p in probes.values() for k, w in p[0].given.items()})
        rows = []
        for row in kept.rows:
            if row.verdict is not Verdict.PASS:
                row = replace(row, reasons=(Finding("reference", f"seen in {what}"), *row.reasons))
            elif not row.step and row.output in probes and row.source in positions:
                found = _judge(probes[row.output], positions[row.source], self.form)
                whose = replace(found, output=row.output, source=row.source)
                row = replace(whose, name=row.name, shape=row.shape)
            rows.append(row)
        text = (
            f"computed in {self.form.name}: {what} was checked by differences, and the gradient "
            f"compared with its; rounding is that of {what} with every result rounded"
        )
        findings = [f for f in self.pair.findings if f not in kept.findings]
        return replace(
            kept, rows=rows, findings=[*kept.findings, *findings, Finding("coarse", text)],
            gradients=kept.gradients + self.pair.pulls,
        )  # fmt: skip


def _judge(probes: Sequence[_Probe], i: int, form: Precision) -> Row:
    """A row for one input: the worst entry of all cotangents, and the factor along the gradient."""
    worst: Row | None = None
    values, noises = [], []
    for probe in probes:
        got, want, moves = probe.got[i], probe.want[i], probe.moves[i]
        size = float(np.sqrt(np.mean(want**2))) if want.size else 0.0
        bound = SPREADS * spread(moves) + form.eps * (np.abs(want) + 0.5 * size) + form.least
        ratio = np.asarray(judge(got, want, bound))
        ratio = np.where(np.isfinite(got), ratio, np.inf)
        at = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
        failing = int(np.sum(ratio > 1))
        said = f"it differs from that in float64 by more than {form.name} explains"
        row = Row(
            name="", shape=want.shape, verdict=Verdict.FAIL if failing else Verdict.PASS,
            ratio=float(ratio[at]), worst=str([int(n) for n in at]), analytic=float(got[at]),
            numeric=float(want[at]), bound=float(bound[at]),
            resolution=relative_resolution(got, want, bound), failing=failing, entries=want.size,
            method=f"beside float64, rounded to {form.name}",
            reasons=(Finding("coarse", said),) if failing else (),
            rms=float(np.sqrt(np.mean((got - want) ** 2))) / size if size else float("nan"),
        )  # fmt: skip
        if worst is None or row.ratio > worst.ratio:
            worst = row
        if size:
            square = float(np.sum(want * want))
            values.append(float(np.sum((got - want) * want)) / square)
            noises.append(np.sum((moves * want).reshape(len(moves), -1), axis=1) / square)
    assert worst is not None
    if values and np.isfinite(values).all():
        # The cotangents share what forward rounds, so that no average over them is taken.
        factor = float(np.median(values))
        noise = float(np.sqrt(np.mean(np.square(noises))))
        limit = DEVIATIONS * noise + form.eps / 4
        worst.missed = f"a factor within {limit:.2g} of 1"
        if abs(factor) > limit and worst.verdict is Verdict.PASS:
            worst.verdict = Verdict.FAIL
            worst.explained(
                "coarse",
                f"it is {1 + factor:.4g} times that in float64 along itself, {abs(factor):.1%} off "
                f"where rounding explains {limit:.1%}",
            )
    return worst


def _tensors(torch: Any, value: Any) -> Iterator[Any]:
    for leaf in torch.utils._pytree.tree_leaves(value):
        if isinstance(leaf, torch.Tensor):
            yield leaf


@contextmanager
def coarsest(torch: Any) -> Iterator[set[Any]]:
    """A context that collects the floating-point dtypes of all results computed in it."""
    from torch.utils._python_dispatch import TorchDispatchMode

    found: set[Any] = set()

    class Looking(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            made = func(*args, **(kwargs or {}))
            found.update(x.dtype for x in _tensors(torch, made) if x.is_floating_point())
            return made

    with Looking():
        yield found


#: Operations that add products or terms up, and the position of an operand of these.
SUMS = {"mm": 0, "bmm": 0, "mv": 0, "dot": 0, "addmm": 1, "baddbmm": 1, "addmv": 1, "sum": 0}
#: Whose results libraries give to one unit in the last place, not to half of one.
FUNCTIONS = {
    "sigmoid", "tanh", "exp", "log", "softplus", "erf", "silu", "gelu", "elu", "sin", "cos",
}  # fmt: skip


@contextmanager
def rounding(
    torch: Any, bits: int, least: float, generator: Any, sums: bool = False
) -> Iterator[None]:
    """A context in which every float64 result on the CPU is rounded to a coarser format.

    Stochastic rounding: up or down in proportion, unbiased. Views and what makes no new number
    are left alone.

    Parameters
    ----------
    bits, least
        Of the format's mantissa, and its smallest positive number.
    generator : torch.Generator
        Of the directions.
    sums : bool
        Partial sums are rounded, too: the format adds up in itself. Rounding n sums, each of up to
        n terms, is what √n half units in every term come to.
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    def round_(x: Any, units: int) -> None:
        unit = units * torch.ldexp(torch.ones_like(x), torch.frexp(x).exponent - 1 - bits)
        unit = unit.clamp_min(least)
        chance = torch.rand(x.shape, generator=generator, dtype=x.dtype)
        moved = torch.floor(x / unit + chance) * unit
        x.copy_(torch.where(torch.isfinite(moved), moved, x))

    def terms(name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Arguments with the rounding of partial sums in what is added up."""
        at = SUMS.get(name)
        if at is None or args[at].dtype != torch.float64 or not args[at].ndim:
            return args
        x = args[at]
        chance = torch.rand(x.shape, generator=generator, dtype=x.dtype) - 0.5
        moved = x * (1 + 2.0**-bits * x.shape[-1] ** 0.5 * chance)
        return (*args[:at], moved, *args[at + 1 :])

    class Rounding(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            name = str(func.overloadpacket).rpartition(".")[2]
            args = terms(name, args) if sums else args
            made = func(*args, **(kwargs or {}))
            aliases = [r.alias_info for r in func._schema.returns]
            if any(a is not None and not a.is_write for a in aliases):
                return made  # a view
            for x in _tensors(torch, made):
                if x.dtype == torch.float64 and x.numel():
                    round_(x, 2 if name in FUNCTIONS else 1)
            return made

    with Rounding():
        yield
