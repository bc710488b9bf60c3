"""One guard for all functions under test: exits, state kept between calls, data changed in place.

Every entry point calls the user's functions through `call` and says the same sentences. What a
function can reach besides its arguments is looked at by checksum before and after a few calls; that
it changed is no fault in itself (workspaces and caches do), that the results change with it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import (
    DimensionError,
    Signalled,
    UsageError,
    UserCodeError,
    blame,
    is_blamed,
    moved_out,
    tell_moved,
)
from .memory import same_values
from .outcome import Report
from .reachable import checksum, differing, generators
from .trees import Tree
from .verdict import Finding

__all__ = [
    "LOSS_AND_GRADIENT",
    "NOWHERE",
    "STATE",
    "WATCHED_CALLS",
    "Nouns",
    "UserCode",
    "call",
    "call_at",
    "changed_argument",
    "changed_cache",
    "changed_cotangents",
    "changed_data",
    "close",
    "coarse_gradient",
    "fails_on_misbehaviour",
    "keeps_state",
    "listed",
    "remembers_arrays",
    "strided_cotangents",
    "unsteady_loss",
]

Array = NDArray[Any]
P = ParamSpec("P")
R = TypeVar("R", bound=Report)
T = TypeVar("T")


class Nouns(NamedTuple):
    """What functions are called in what is said of them."""

    loss: str
    gradient: str


LOSS_AND_GRADIENT = Nouns("the loss", "the gradient function")
#: What is said of a function whose value depends on earlier calls.
STATE = "keeps state from the last call: reset it"
#: The value of a loss where it has none: it raises beside the point, as at the edge of a domain.
NOWHERE = float("nan")
#: Calls of a function whose arguments are compared afterwards; of later ones, some are.
WATCHED_CALLS = 4
#: Units in the last place that a sum in another order may change a value by.
REORDERED = 2.0**16
#: What NumPy does about floating-point errors unless it is told otherwise.
NUMPY_WARNS: dict[str, Any] = {
    "divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn",
}  # fmt: skip


def call(who: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a user's function; its exceptions propagate, but it does not end the process.

    Raises
    ------
    UserCodeError
        It called `sys.exit`, or raised something that is no `Exception`.
    """
    try:
        return function(*args, **kwargs)
    except BaseException as raised:  # nothing here may end the process
        _stay(who, raised)
        raise


def _stay(who: str, raised: BaseException) -> None:
    """Blame an exception on the user's function, or raise what stands for one that would exit."""
    if isinstance(raised, Exception | KeyboardInterrupt | Signalled):
        blame(raised)
    elif isinstance(raised, SystemExit):
        code = "" if raised.code is None else repr(raised.code)
        raise UserCodeError(f"{who} called sys.exit({code}); it must return", "exits") from None
    elif not any(c.__name__ == "OutcomeException" for c in type(raised).__mro__):
        # not pytest's own: skip, fail, and the time limit of its plugin
        said = " ".join(f"{type(raised).__name__}: {raised}".split())
        text = f"{who} raised {said.rstrip(': ')}, which is no Exception"
        raise UserCodeError(text, "exits") from raised


def call_at(
    who: str,
    function: Callable[..., Any],
    tree: Tree,
    leaves: Sequence[Array],
    arguments: tuple[Any, ...] | None = None,
) -> Any:
    """As `call`, at a point that a check has chosen; what it raises says how far that has moved.

    `arguments`, where they are given, have the `leaves` in them.
    """
    if arguments is None:
        arguments = tree.arguments(leaves)
    try:
        return function(*arguments)
    except BaseException as raised:  # nothing here may end the process
        _stay(who, raised)
        if isinstance(raised, Exception):
            _tell_moved(raised, tree, leaves)
        raise


def _tell_moved(error: Exception, tree: Tree, leaves: Sequence[Array]) -> None:
    """Note on an exception how far a check has moved the parameters."""
    moves = [
        float(np.max(np.abs(a - b), initial=0.0)) if a.dtype.kind == "f" else 0.0
        for a, b in zip(leaves, tree.leaves, strict=True)
    ]
    if any(moves):
        names = [n for n, step in zip(tree.names, moves, strict=True) if step]
        tell_moved(error, listed(names), max(moves))


def fails_on_misbehaviour(
    made: Callable[[str], R],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a check: a `UserCodeError` becomes a failing report, made from the title.

    Errors of use name the check, unless it has a title: whoever gave one says where it was.

    Nothing in it stops at a floating-point error: the check's own arithmetic meets them all.
    """

    def decorate(check: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(check)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            raises = "raise" in np.geterr().values()
            try:
                with np.errstate(**NUMPY_WARNS) if raises else nullcontext():
                    return check(*args, **kwargs)
            except UserCodeError as error:
                default = check.__name__.replace("check_", "") + " check"
                report = made(str(kwargs.get("title") or default))
                report.findings.append(Finding(error.kind, str(error), fatal=True))
                return report
            except (UsageError, DimensionError) as error:
                who = check.__name__
                if not kwargs.get("title") and who not in str(error) and not is_blamed(error):
                    error.args = (f"{who}: {error}",)  # what the user called
                raise

        return checked

    return decorate


# -- sentences -------------------------------------------------------------------------------------


def changed_argument(who: str, name: str) -> Finding:
    """A function works in place in what it was given."""
    text = f"{who} changes its argument '{name}' in place; it should work on a copy"
    return Finding("mutated-input", text, fatal=True)


def coarse_gradient(name: str, dtype: Any, want: Any) -> Finding:
    """A gradient in a coarser format than its parameter."""
    text = (
        f"the gradient of '{name}' has dtype {dtype}, the parameter {want}, whose digits the code "
        f"drops: compute in {want}, or give parameters in {dtype} where that is the code's format"
    )
    return Finding("dtype", text, fatal=True)


def changed_cotangents() -> Finding:
    """As `changed_argument`, of the backward function and what flows into it."""
    text = "backward changes its cotangents in place; it should work on a copy"
    return Finding("mutated-cotangent", text, fatal=True)


def strided_cotangents(names: str = "", kind: str = "a view") -> Finding:
    """Backward reads cotangents as if they lay in memory in the order of their axes."""
    of = f" of {names}" if names else ""
    text = f"backward gives another gradient{of} for cotangents that are not contiguous ({kind})"
    return Finding("strided-cotangent", text, fatal=True)


def changed_cache(*, fatal: bool = False) -> Finding:
    """A second call of backward with the cache of one forward pass gives something else."""
    text = "backward changes the cache; a second call would differ"
    return Finding("mutated-cache", text, fatal=fatal)


def unsteady_loss(first: Any, again: Any, who: str) -> Finding:
    """A loss, called `who`, that gave other values at points where it was called twice."""
    first, again = np.ravel(first), np.ravel(again)
    with np.errstate(all="ignore"):
        at = int(np.argmax(np.abs(first - again)))
    text = (
        f"{who} gave {first[at]:.9g} and then {again[at]:.9g} at one point: most of its calls "
        "agree, some do not. A race, memory that was not initialised, or state kept between calls?"
    )
    return Finding("unsteady-loss", text, fatal=True)


def remembers_arrays(who: str) -> Finding:
    """A function takes arrays that were written to for what they were."""
    text = (
        f"{who} gives for arrays that were changed in place, as an optimiser changes them, another "
        "result than for new arrays of that content: it knows them again by id, address or "
        "reference. Compare contents"
    )
    return Finding("state", text, fatal=True)


def changed_data(who: str, names: Sequence[str], reader: str) -> UserCodeError:
    """The error for a function that changes data that another one reads and depends on."""
    text = f"{who} changes {listed(names)} in place, and {reader} then gives another value"
    return UserCodeError(f"{text}; it should work on a copy", "mutated-data")


def keeps_state(who: str, names: Sequence[str]) -> UserCodeError:
    """The error for a function that gives something else when it is called again."""
    where = f" ({listed(names)})" if names else ""
    return UserCodeError(f"{who} {STATE}{where}", "state")


def listed(names: Sequence[str]) -> str:
    """Up to three names in quotes, and how many more there are."""
    shown = ", ".join(f"'{n}'" for n in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def close(a: Any, b: Any, eps: float = 0.0, noise: float = 0.0) -> bool:
    """Whether two values, or lists of arrays, agree but for rounding in another order.

    `eps` is the unit of the format they are computed in, where their dtype does not show it;
    `noise` a difference that is allowed in any case.
    """
    if isinstance(a, list | tuple):
        pairs = zip(a, b, strict=False)
        return len(a) == len(b) and all(close(x, y, eps, noise) for x, y in pairs)
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"):
        return a.shape == b.shape
    if a.dtype.kind not in "fc" or b.dtype.kind not in "fc":
        return False
    unit = max(float(np.finfo(a.dtype).eps), float(np.finfo(b.dtype).eps), eps)
    with np.errstate(all="ignore"):
        gap, size = np.linalg.norm((a - b).ravel()), np.linalg.norm(a.ravel())
    return bool(gap <= max(min(REORDERED * unit, 0.1) * size, np.nan_to_num(noise)))


class UserCode:
    """The functions under test: how each is called, and what it does besides its work.

    What a check asks of them (a loss and its gradient at a point, outputs and pulled-back
    cotangents, a model in a layout) is a subclass; that a call cannot end the process, that
    arguments, cotangents and caches stay as they were, and that no result depends on earlier calls
    is looked at here.

    Attributes
    ----------
    findings : list of Finding
        What they did besides, each once.
    outside : Exception or None
        The first that came up where a point had been moved out of what a function takes.
    """

    def __init__(self, *functions: Any) -> None:
        self.functions = [f for f in functions if f is not None]
        self.findings: list[Finding] = []
        self.outside: Exception | None = None

    def note(self, finding: Finding) -> None:
        """Note a finding once."""
        if finding not in self.findings:
            self.findings.append(finding)

    def at(
        self,
        who: str,
        function: Callable[..., Any],
        tree: Tree,
        leaves: Sequence[Array],
        arguments: tuple[Any, ...] | None = None,
    ) -> Any:
        """As `call_at`, but `NOWHERE` where a step has left the domain; the other steps decide."""
        try:
            return call_at(who, function, tree, leaves, arguments)
        except Exception as error:
            if not moved_out(error):
                raise
            if self.outside is None:
                self.outside = error
                said = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
                text = f"{who} raises {said} at some of the check's steps, which count for nothing"
                self.note(Finding("outside", text))
            return NOWHERE

    def look(self) -> dict[str, Any]:
        """Checksums of the data that can be reached besides the arguments, by name.

        The names are those of the author: ``D``, ``self.h``, ``model.layers[0].W``.
        """
        seen: set[int] = set()
        found: dict[str, Any] = {}
        for function in self.functions:
            found |= checksum(function, seen=seen)
        found |= generators()
        return found

    def watched(self, run: Callable[[], T], *, watch: bool = True) -> tuple[T, list[str]]:
        """What a call gives, and the names of the data that it changed.

        Empty if random numbers were drawn: what differs then is noise, not state.
        """
        if not watch:
            return run(), []
        before = self.look()
        found = run()
        return found, differing(before, self.look())

    def unchanged(
        self, who: str, names: Iterable[str], given: Iterable[Array], before: Iterable[Array]
    ) -> bool:
        """Whether arguments hold what they held; those that do not are noted."""
        changed = [n for n, a, b in zip(names, given, before, strict=True) if not same_values(a, b)]
        for name in changed:
            self.note(changed_argument(who, name))
        return not changed

    @staticmethod
    def check_data(
        who: str, names: Sequence[str], reader: str, run: Callable[[], T], first: T, eps: float
    ) -> None:
        """Fail `who`, which changed data, if `reader` gives another value ever since.

        Raises
        ------
        UserCodeError
            It does, and keeps to it: what differs from call to call is noise.
        """
        now = run()
        if not close(now, first, eps) and close(now, run(), eps):
            raise changed_data(who, names, reader)

    @staticmethod
    def check_state(
        who: str,
        names: Sequence[str],
        run: Callable[[], T],
        first: T,
        same: Callable[[T, T], bool],
    ) -> None:
        """Fail `who`, which changed data, if no two of three calls give the same.

        Raises
        ------
        UserCodeError
            They do not.
        """
        second, third = run(), run()
        if not same(first, second) and not same(second, third):
            raise keeps_state(who, names)

    def check_cache(self, run: Callable[[], T], first: T, same: Callable[[T, T], bool]) -> None:
        """Note a changed cache where a second backward pass with it gives something else.

        Its arrays may be workspaces that every call fills anew.
        """
        try:
            kept = same(first, run())
        except Exception:  # whatever a destroyed cache makes of it
            kept = False
        if not kept:
            self.note(changed_cache())
