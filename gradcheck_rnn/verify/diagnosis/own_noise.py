"""The roundoff of the code itself, where neighbouring points do not show it.

A gradient recovered from an update, (W − (W − λ dW)) / λ, has the rounding of W / λ, and all
neighbours of W have the same; a value recovered from what saturates is rounded as that is. The
verdict measures such noise along a line, but only of what fails by little: a wrong gradient fails
by much. It is measured here before the search gives up. A smooth mistake has no noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..harness.compare import Comparison
from ..harness.deviations import line_noise
from ..harness.excess import Excess, lost_precision
from ..harness.plan import Case
from ..harness.subject import Subject

__all__ = ["with_own_noise"]

Array = NDArray[np.float64]

#: Cases beyond which noise is not measured: each takes some seventy gradients.
MOST_CASES = 100
#: Cases, of different points, that are measured first: where they have no noise, none has.
FIRST_CASES = 6
#: Bounds that grow by less leave the search where it was.
GROWN = 2.0


def with_own_noise(
    comparisons: Sequence[Comparison], subject: Subject, seed: int
) -> list[Comparison]:
    """The same comparisons with the noise in the bounds of wrong cases; empty if there is none.

    `Comparison.excess` has where it is more than the bounds.
    """
    cases = [
        (c, case) for c in comparisons for case in {id(r.case): r.case for r in c.wrong}.values()
    ]
    if len(cases) > MOST_CASES:
        return []

    noise: dict[tuple[int, int], dict[str, Array]] = {}

    def measure(some: Sequence[tuple[Comparison, Case]]) -> bool:
        """Whether some bound grows by the noise of some cases."""
        for c, case in some:
            given = c.point.users(case) if subject.with_cotangents else None
            found = line_noise(subject, c.point.fitted, c.point.arrays, given, seed)
            noise[id(c), id(case)] = {n: np.nan_to_num(a, posinf=0.0) for n, a in found.items()}
        return any(
            np.any(noise[id(c), id(case)][r.user] > GROWN * r.bound)
            for c, case in some for r in c.records if r.case is case
        )  # fmt: skip

    one_each = list({id(c): (c, case) for c, case in cases}.values())
    first = one_each[:: -(-len(one_each) // FIRST_CASES)] if one_each else []
    with np.errstate(all="ignore"):
        if not measure(first):
            return []
        measure([(c, case) for c, case in cases if (id(c), id(case)) not in noise])
    out = []
    for c in comparisons:
        records, excess = [], []
        for r in c.records:
            own = noise.get((id(c), id(r.case)), {}).get(r.user)
            if own is None:
                records.append(r)
                continue
            if np.any(own > GROWN * r.bound):
                more = lost_precision(own, r.want, r.bound)
                excess.append(Excess(r.user, c.point.label, r.case.label, *more))
            records.append(replace(r, bound=r.bound + own))
        out.append(replace(c, records=records, excess=excess))
    return out if any(e.times > GROWN for c in out for e in c.excess) else []
