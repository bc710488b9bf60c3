"""`check_model`: a hand-written gradient beside a definition, and the name of what is wrong.

report = check_model(cell, forward=forward, backward=backward, layout="lecture lstm")
report.raise_for_failure()
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...checks import check_function, check_names, shown
from ...errors import UsageError
from ...language.cell import Cell
from ...language.network import Network, as_network
from ..guard import fails_on_misbehaviour
from ..harness.aggregates import COARSE
from ..harness.arrays import Precision, make_arrays, precision
from ..harness.compare import Comparison, compare_gradients
from ..harness.jax_passes import compiled, is_jax
from ..harness.layout import Layout
from ..harness.modelpoint import ModelPoint
from ..harness.modules import JaxCode, TorchCode, is_torch
from ..harness.objects import ObjectCode, is_object_code
from ..harness.packed import PackedArrays
from ..harness.plainly_wrong import PlainlyWrong
from ..harness.plan import Case, Hint, Shapes, plan_points
from ..harness.ready import ready
from ..harness.subject import Subject
from ..options import parse_seed
from ..oracle.directions import fresh_seed
from ..outcome import Diagnosis, Report
from ..points import Role
from ..verdict import Finding, Row, Verdict
from ..wording import lines as lines_in_words
from .arrays_given import ArraysGiven
from .calls import look_at_calls
from .coverage import could_have_missed, coverage, not_judged, sizes_refused
from .cross_check import cross_check
from .declared_data import undeclared_data
from .determinism import noisy_arrays, reformed_functions, unsteady
from .forward import same_forward, still_same_forward
from .tables import pattern, rows_of

if TYPE_CHECKING:
    from ..harness.excess import Excess
    from .rounding import SavedRounding

__all__ = ["check_model"]

#: The point at which the oracle is confirmed by differences; the first of these roles that is run.
CONFIRMED = (Role.SATURATED, Role.ORDINARY)


@fails_on_misbehaviour(lambda title: Report(title, [], mode="model"))
def check_model(
    target: Cell | Network,
    *,
    forward: Callable[..., Any] | None = None,
    backward: Callable[..., Any] | None = None,
    gradient: Callable[..., Any] | None = None,
    loss: Callable[..., Any] | None = None,
    module: Any = None,
    layout: Layout | str | None = None,
    shapes: Shapes | None = None,
    chunk: Hint | None = None,
    tile: Hint | None = None,
    dtype: Any = "float64",
    accumulate: Any = None,
    array: str | Callable[[Any], Any] = "numpy",
    plan: str = "full",
    repeats: int = 0,
    seed: int | str | None = None,
    select: str | Iterable[str] | None = None,
    diagnose: bool = True,
    title: str = "",
) -> Report:
    """Check a hand-written gradient against a cell or network, and say what is wrong with it.

    Parameters
    ----------
    target : Cell or Network
        The definition that the code implements.
    forward, backward : callable
        ``forward(**arrays)`` returns (outputs, cache), outputs a dict by the layout's names or a
        tuple in its order; ``backward(cotangents, cache)`` returns the gradients of the arrays by
        name (``Wx`` or ``dWx``), in the layout's order (parameters, then inputs and starts), or a
        dict of the parameters followed by the others in this order: ``(grads, dx, dh0)``.
        Cotangents are a dict by output name. Adjoints of
        the definition's equations (``dc``, ``da_f``) may be among what it returns, or be handed
        over with `record`: then every line is judged by itself.
    gradient, loss : callable
        Instead of both, for a definition with a loss: ``gradient(arrays)`` returns the gradients
        of the arrays, or (loss, gradients); ``loss(arrays)`` the loss.
    module : class or object with forward and backward, torch.nn.Module, autograd.Function, callable
        Instead of forward and backward. A class takes the parameters by the layout's names, an
        object has them as attributes or in a dict ``params``; inputs and cotangents are given by
        name or in order, gradients are returned or left as ``dW`` or in a dict ``grads``.
        PyTorch code has autograd's backward pass.
        Parameters go by the layout's names, inputs by name or in order (what is left over as a
        tuple, as for ``torch.nn.LSTM``); outputs are a dict, or come in the layout's order. A
        callable takes tensors by the layout's names, or sizes and makes a module
        (``lambda d, p: torch.nn.LSTM(d, p)``); a module by itself has the sizes it was made with.
        A JAX function (``custom_vjp``, ``jit``, or any with ``array="jax"``) takes arrays by the
        layout's names; its backward pass is `jax.vjp`.
    layout : Layout or str, optional
        How the arrays hold the definition's values: a `Layout`, or a ready one such as
        ``"pytorch lstm"``, ``"keras gru"``, ``"lecture lstm"``. By default the definition's names.
    shapes : mapping, optional
        What the code takes: dim, time axis or ``"B"`` → a size, or the sizes allowed
        (``{"p": range(8, 65, 8), "B": 1}``). Every size of a list is run, one axis at a time; of a
        range its ends, the powers of two and their neighbours. By default T goes up to 25.
    chunk, tile : int or mapping, optional
        The code works in blocks of so many steps, or of so many entries of a dim (all, or by
        name): 1, C − 1, C, C + 1 and 2C + 1 are run, as far as `shapes` allows.
    dtype : str
        ``"float64"``, ``"float32"``, ``"tf32"``, ``"float16"`` or ``"bfloat16"``. Inputs are
        quantised once; the definition runs in float64 at just these numbers.
    accumulate : str, optional
        The format in which everything between the arrays is computed and carried, where that is
        finer than `dtype` (``dtype="bfloat16", accumulate="float32"``). Bounds are then those of
        this format and one unit of `dtype` for the result.
    array : str or callable
        The arrays that the code takes: ``"numpy"``, ``"torch"``, ``"cupy"``, ``"jax"``, or a
        function of a NumPy array.
    plan : {"full", "few", "point"}
        All places of the plan, those of few steps (for the name of what is known to be wrong), or
        one ordinary point.
    repeats : int
        Further calls of the gradient at every point, to catch what fails now and then.
    seed : int or "fresh", optional
        Of points and cotangents; logged in the report.
    select : str or iterable of str, optional
        Only the gradients of these arrays.
    diagnose : bool
        Look for the mistake when the gradient is wrong.

    Returns
    -------
    Report
        Rows by array, `diagnosis`, `where` and `lines`.

    Raises
    ------
    UsageError, DimensionError
        A layout that does not fit, functions that do not return what they should. Exceptions of
        the code under test propagate unchanged.
    """
    network = as_network(target)
    form = precision(dtype)
    given = {"forward": forward, "backward": backward, "gradient": gradient, "loss": loss}
    for name, function in given.items():
        if function is not None:
            check_function(function, name)
    if layout is not None and not isinstance(layout, str | Layout):
        raise UsageError(f"layout is {shown(layout)}; give a Layout or the name of a ready one")
    select = None if select is None else check_names(select, "select")
    if gradient is not None and not network.loss_terms:
        raise UsageError(
            f"{network.name!r} has no loss; put one on with with_loss, or give forward and backward"
        )
    if forward is not None and not network.outputs:
        raise UsageError(
            f"{network.name!r} has no outputs besides its loss: give gradient= and loss= "
            "instead of forward and backward"
        )
    if plan not in ("full", "few", "point"):
        raise UsageError(f"plan {plan!r} is unknown; use 'full', 'few' or 'point'")
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 0:
        raise UsageError(f"repeats is {repeats!r}; give a number of calls, 0 or more")
    inner = form if accumulate is None else precision(accumulate)
    if inner.eps > form.eps:
        raise UsageError(f"accumulate={inner.name!r} is coarser than dtype={form.name!r}")
    fitted = ready(layout, network) if isinstance(layout, str) else layout or Layout.of(network)
    packing, fitted, network = PackedArrays.of(fitted, network)
    code = None
    if module is not None:
        if any(f is not None for f in given.values()):
            raise UsageError("module takes the place of forward, backward, gradient and loss")
        code, array = _code_of(module, network, fitted, form, array)
        forward, backward = code.forward, code.backward
        shapes = _of_module(code.sizes, shapes)
    elif isinstance(array, str) and array == "jax":
        forward, backward = (f and compiled(f) for f in (forward, backward))
    network = fitted.narrowed(network)
    make = make_arrays(array, form)
    subject = Subject(forward, backward, gradient, loss, make, form, packing)
    used = (
        fresh_seed()
        if isinstance(seed, str) and seed == "fresh"
        else parse_seed(0 if seed is None else seed)
    )
    report = Report(title or f"{network.name} in {fitted.name}", [], mode="model", seed=used)
    wanted = _wanted(fitted, select)
    full, few = plan == "full", plan == "few"
    places = [
        ModelPoint.build(p, fitted, form, subject, used, inner)
        for p in plan_points(
            network, used, shapes, batch=fitted.batch, full=full, few=few, chunk=chunk, tile=tile
        )
    ]
    given_again = ArraysGiven([p for p in places if not p.empty], subject, code)
    report.arrays = places[0].fitted.renamed
    rounding, reformed = (_Rounding(network, inner.eps, used, k) for k in (False, True))
    if not same_forward(report, places, subject, used, rounding):
        return _finish(report, network, places, subject)
    plain = PlainlyWrong(form, inner)
    for point in (p for p in places if not p.refused):
        with point.left_out_where_refused():
            found = compare_gradients(point, subject, used, rounding, repeats, reformed, plain)
            found.records = [r for r in found.records if wanted is None or r.user in wanted]
            report.comparisons.append(found)
    report.findings += sizes_refused(places)
    places = [p for p in places if not p.refused]
    _check_present(report, fitted, wanted)
    still_same_forward(report, report.comparisons, subject)
    filled = [s for s in places if not s.empty]
    if filled:
        report.findings += cross_check(
            _confirmed(filled, report.comparisons), used, _Rounding(network, 2.0**-52, used)
        )
    report.findings += unsteady(report.comparisons, inner, wanted)
    report.findings += reformed_functions(report.comparisons, inner, wanted)
    report.rows = rows_of(report.comparisons)
    report.findings += not_judged(report.comparisons, rounding.edges, inner, wanted)
    noisy = noisy_arrays(report.comparisons, wanted)
    _fail_noisy(report.rows, noisy)
    if inner is form:
        _judge_typical(report, bool(chunk), form, used, wanted)
    report.where = pattern(report.comparisons, {e.place for e in noisy.values()}, chunk)
    report.findings += coverage(network, places, shapes, chunk, tile)
    report.findings += could_have_missed(report.comparisons, shapes)
    if any(s.oracle.frozen for s in places):
        report.findings.append(
            Finding(
                "frozen",
                "the definition has frozen values, held while differentiating: by intent this is "
                "not the derivative of the loss as run",
            )
        )
    steady = not any(e.chance for e in noisy.values())
    if steady and subject.handed and filled:
        from .handed_adjoints import judge_lines
        from .linefit import explain_line

        judged = judge_lines(network, filled, subject, report.seed, explain_line)
        report.lines = [line.row() for line in judged]
    told = [c for c in report.comparisons if not c.point.empty]
    if report.verdict is not Verdict.FAIL:
        report.findings += look_at_calls(filled, subject, code, used)
        report.findings += given_again.look(report.comparisons)
    if steady:
        _name(report, network, told if diagnose and any(c.wrong for c in told) else [], subject)
        _without_explained_noise(report, noisy)
    return _finish(report, network, places, subject)


def _code_of(
    module: Any, network: Network, fitted: Layout, form: Precision, array: Any
) -> tuple[ObjectCode | JaxCode | TorchCode, Any]:
    """The two passes of what was given as module, and the arrays that it takes."""
    if is_object_code(module) and not is_torch(module):
        return ObjectCode(module, network, fitted), array
    if is_jax(module) or (isinstance(array, str) and array == "jax"):
        return JaxCode(module, fitted, form.name), "jax"
    return TorchCode(module, network, fitted), "torch" if array == "numpy" else array


def _fail_noisy(rows: Sequence[Row], noisy: Mapping[str, Excess]) -> None:
    """Fail the rows of arrays that change more than rounding explains."""
    for row in rows:
        if row.name in noisy:
            row.verdict = Verdict.FAIL
            if not row.reasons:
                row.explained("noise", "unsteady" if noisy[row.name].chance else "unstable")


def _without_explained_noise(report: Report, noisy: Mapping[str, Excess]) -> None:
    """Drop what was said of noise in arrays that a named mistake makes as they are."""
    named = report.diagnosis
    if named is None or not named.found or named.noise:
        return
    wrong = {r.user for c in report.comparisons for r in c.wrong}
    if noisy.keys() <= wrong:
        report.findings = [f for f in report.findings if f.kind != "lost-precision" or not f.fatal]


def _judge_typical(
    report: Report, chunked: bool, form: Precision, seed: int, wanted: set[str] | None
) -> None:
    """Errors of all points together, of what no entry and no single array has refuted."""
    from .typical import findings, typical_errors

    if form.eps <= COARSE or any(row.verdict is Verdict.FAIL for row in report.rows):
        return
    found = {t.user: t for t in typical_errors(report.comparisons, seed, wanted)}
    for row in report.rows:
        if row.name in found and found[row.name].verdict(chunked) is not Verdict.PASS:
            typical = found[row.name]
            row.verdict = typical.verdict(chunked)
            row.reasons = (Finding("typical", typical.reason),)
    report.findings += findings(list(found.values()), form, chunked)


def _name(report: Report, network: Network, told: Sequence[Comparison], subject: Subject) -> None:
    """Say which lines are wrong and, where they do not tell, which mistake makes the gradients."""
    from .combined import beside_lines, needs_search
    from .find import find_mistake
    from .own_noise import with_own_noise

    found: Diagnosis | None = None
    wider: Sequence[Comparison] = ()

    def noisy() -> Sequence[Comparison]:
        nonlocal wider
        wider = with_own_noise(told, subject, report.seed)
        return wider

    if told and needs_search(report.lines):
        try:
            found = find_mistake(network, told, handed=bool(report.lines), noisy=noisy)
            unsaid = set(found.noise) - noisy_arrays(told).keys()
            report.findings += unsteady(wider, subject.form, unsaid)
            found = beside_lines(found, report.lines, network)
        except Exception as error:  # a fault of ours must not cost the user the verdict
            said = f"the search for the mistake broke off ({type(error).__name__}: {error}); "
            said += "this is a fault of gradcheck-rnn itself, please report it"
            report.findings.insert(0, Finding("no-diagnosis", said))
    wrong = any(line.verdict is Verdict.FAIL for line in report.lines)
    if report.lines:
        failed = any(row.verdict is Verdict.FAIL for row in report.rows)
        where = [f"  {w}" for w in found.where] if found is not None and wrong else []
        text = "\n".join([lines_in_words(report.lines), *where])
        report.findings.insert(0, Finding("diagnosis" if wrong and failed else "lines", text))
    if found is not None and (found.found or not wrong):
        report.diagnosis = found
    if found is not None and not wrong:
        report.findings.insert(0, Finding("diagnosis", str(found)))


class _Rounding:
    """`SavedRounding`, imported when it is first needed: it brings SymPy.

    ``reformed``: of functions in other forms.
    """

    def __init__(self, network: Network, eps: float, seed: int, reformed: bool = False) -> None:
        self._arguments, self._reformed = (network, eps, seed), reformed

    @cached_property
    def _made(self) -> SavedRounding:
        from .rounding import SavedRounding, in_other_forms, randomly_rounded

        model = in_other_forms if self._reformed else randomly_rounded
        return SavedRounding(*self._arguments, model)

    def __call__(self, point: ModelPoint, case: Case) -> Mapping[str, Any]:
        return self._made(point, case)

    def outputs(self, point: ModelPoint) -> Mapping[str, Any]:
        """As `SavedRounding.outputs`."""
        return self._made.outputs(point)

    def edges(self, point: ModelPoint) -> list[str]:
        """As `SavedRounding.edges`."""
        return self._made.edges(point) if "_made" in self.__dict__ else []


def _of_module(sizes: dict[str, int], shapes: Shapes | None) -> Shapes:
    """The sizes of a module beside those that are asked for."""
    for name in shapes or {}:
        if name in sizes:
            raise UsageError(
                f"shapes name {name!r}, which the module has fixed at {sizes[name]}; to run "
                "several give a function that makes the module, lambda d, p: …"
            )
    return {**(shapes or {}), **sizes}


def _wanted(layout: Layout, select: str | Iterable[str] | None) -> set[str] | None:
    if select is None:
        return None
    names = [select] if isinstance(select, str) else list(select)
    known = {**layout.parameters, **layout.inputs}
    for n in names:
        if n not in known:
            raise UsageError(f"select names {n!r}; the layout has {', '.join(known)}")
    return set(names)


def _check_present(report: Report, layout: Layout, wanted: set[str] | None) -> None:
    missing = dict.fromkeys(n for c in report.comparisons for n in c.missing)
    lost = [n for n in missing if n in layout.parameters and (wanted is None or n in wanted)]
    if lost:
        raise UsageError(
            f"the gradient of {lost[0]!r} is missing; return it, or name the others with select"
        )
    for n in missing:
        if wanted is None or n in wanted:
            report.findings.append(
                Finding("no-gradient", f"no gradient of {n!r} is returned; it was not checked")
            )


def _confirmed(places: Sequence[ModelPoint], compared: Sequence[Comparison]) -> ModelPoint:
    """Where every entry has been judged, if there is such a place."""
    known = [c.point for c in compared if not any(np.isnan(r.ratio).any() for r in c.records)]
    places = [p for p in places if p in known] or places
    return next((s for role in CONFIRMED for s in places if s.role is role), places[-1])


def _finish(
    report: Report, network: Network, places: Sequence[ModelPoint], subject: Subject
) -> Report:
    report.findings = [*subject.findings, *report.findings]
    if report.verdict is Verdict.FAIL:
        report.findings += undeclared_data(network)
    report.gradients = subject.calls
    report.evaluations = sum(s.oracle.evaluations for s in places)
    return report
