"""What an exhibit is, and the outcome of running one."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from gradcheck_rnn import GradcheckError

MODULES = (
    "lstm",
    "lectures",
    "layers",
    "norms",
    "kernels",
    "scans",
    "autograd",
    "losses",
    "memory",
    "elementary",
)


@dataclass(frozen=True)
class Exhibit:
    """One public wrong gradient.

    `arrays` are the inputs whose gradients are wrong, `place` patterns that the report of the
    wrong version must show outside its passing rows (step, lag, output, sequence, shape or entry),
    `term` patterns of its diagnosis (model mode). `gaps` are the outcomes that do not hold now, by
    name: ``found``, ``passes``, ``located`` or ``named``, each with the reason.
    """

    name: str
    link: str
    what: str
    make: Callable[[bool], Any]
    arrays: frozenset[str]
    place: tuple[str, ...]
    term: tuple[str, ...]
    torch: bool
    gaps: dict[str, str] = field(default_factory=dict)

    @property
    def entry(self) -> str:
        """The function of the package that the exhibit calls."""
        return re.findall(r"\b(check_\w+)\(", inspect.getsource(self.make))[-1]

    @property
    def lines(self) -> int:
        """Lines a user writes to have the code checked: those after the comment ``# check``."""
        body = inspect.getsource(self.make).split("# check\n")[-1].strip().splitlines()
        return len([line for line in body if line.strip()])

    @property
    def size(self) -> int:
        """Lines of the re-created code, from its name to the check."""
        code = inspect.getsource(self.make).split("# check\n")[0]
        return len(code[code.index("def ") :].strip().splitlines())


EXHIBITS: dict[str, Exhibit] = {}


def exhibit(
    link: str,
    what: str,
    arrays: str = "",
    place: tuple[str, ...] = (),
    term: tuple[str, ...] = (),
    torch: bool = False,
    **gaps: str,
) -> Callable[[Callable[[bool], Any]], Callable[[bool], Any]]:
    """Register a function of `wrong` that returns a report."""

    def register(make: Callable[[bool], Any]) -> Callable[[bool], Any]:
        wanted = frozenset(arrays.split())
        EXHIBITS[make.__name__] = Exhibit(
            make.__name__, link, what, make, wanted, place, term, torch, gaps
        )
        return make

    return register


def load_all() -> dict[str, Exhibit]:
    """All exhibits; those that need PyTorch only where it is installed."""
    for module in MODULES:
        importlib.import_module(f"tests.museum.{module}")
    has_torch = importlib.util.find_spec("torch") is not None
    return {n: e for n, e in EXHIBITS.items() if has_torch or not e.torch}


@dataclass(frozen=True)
class Outcome:
    """What the package said of both versions of an exhibit.

    `wrong` and `right` are verdicts, or the first line of an exception; `failing` the arrays
    marked as wrong; `missing` what was wanted of the report and is not in it.
    """

    name: str
    link: str
    entry: str
    wrong: str
    right: str
    failing: tuple[str, ...]
    missing: tuple[str, ...]
    diagnosis: str
    lines: int
    size: int
    seconds_wrong: float
    seconds_right: float
    wants_name: bool

    @property
    def found(self) -> bool:
        return self.wrong == "fail"

    @property
    def clean(self) -> bool:
        """The right version raised no alarm."""
        return self.right not in ("fail",) and not self.right.startswith("error")

    @property
    def located(self) -> bool:
        return self.found and not [m for m in self.missing if not m.startswith("term")]

    @property
    def named(self) -> bool | None:
        """Whether the diagnosis names the term; None where there is no definition to name it in."""
        if not self.wants_name:
            return None
        return self.found and not [m for m in self.missing if m.startswith("term")]

    def to_json(self) -> dict[str, Any]:
        facts = {
            "found": self.found,
            "clean": self.clean,
            "located": self.located,
            "named": self.named,
        }
        return asdict(self) | facts


def _run(make: Callable[[bool], Any], wrong: bool) -> tuple[Any, str, float]:
    start = time.perf_counter()
    try:
        report = make(wrong)
    except GradcheckError as error:
        return None, f"refused: {error}".splitlines()[0], time.perf_counter() - start
    except Exception as error:
        last = traceback.format_exception_only(error)[-1].strip()
        return None, f"error: {last}", time.perf_counter() - start
    return report, report.verdict.value, time.perf_counter() - start


def alarms(report: Any) -> str:
    """The report without its passing rows and without what it could have missed."""
    kept = [
        line
        for line in str(report).splitlines()
        if "could have missed" not in line and not re.search(r"\)\s+pass\s", line)
    ]
    return "\n".join(kept)


def failing_arrays(report: Any) -> frozenset[str]:
    """Inputs whose gradients are marked as wrong: ``h at step 1 -> W`` is W."""
    rows = [row for row in report.rows if row.verdict.value == "fail"]
    return frozenset(row.name.split("->")[-1].strip() for row in rows)


def judge(exhibit: Exhibit) -> Outcome:
    """Run both versions and compare with what a person would want to be told."""
    report, wrong, seconds_wrong = _run(exhibit.make, True)
    _, right, seconds_right = _run(exhibit.make, False)
    failing, missing, diagnosis = frozenset[str](), [], ""
    if report is not None:
        text, failing = alarms(report), failing_arrays(report)
        lines = [line.strip() for line in text.splitlines() if "diagnosis" in line]
        diagnosis = "\n".join(line for line in lines if " with" in line)  # "what you get with"
        if exhibit.arrays and failing != exhibit.arrays:
            missing.append(f"arrays {sorted(exhibit.arrays)}")
        missing += [f"place {p}" for p in exhibit.place if not re.search(p, text)]
        missing += [f"term {p}" for p in exhibit.term if not re.search(p, diagnosis)]
    return Outcome(
        exhibit.name,
        exhibit.link,
        exhibit.entry,
        wrong,
        right,
        tuple(sorted(failing)),
        tuple(missing),
        diagnosis,
        exhibit.lines,
        exhibit.size,
        round(seconds_wrong, 2),
        round(seconds_right, 2),
        bool(exhibit.term),
    )
