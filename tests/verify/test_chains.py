"""Long chains of equations: what rounds alike at every neighbour, varies fast, or underflows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn.api.verification import kernel_of
from gradcheck_rnn.language import cell, name, sigmoid, tanh
from gradcheck_rnn.language.depth import depth
from gradcheck_rnn.language.network import Network, as_network
from gradcheck_rnn.verify import check_gradient
from gradcheck_rnn.verify.kernel_check import check_kernel
from gradcheck_rnn.verify.outcome import Report
from gradcheck_rnn.verify.verdict import Verdict


def chain(step: Callable[[Any, Any], Any], length: int) -> Network:
    @cell(inputs="x: d", states="h: p", params="W: p p; U: p d; b: p")
    def chained(x, h, W, U, b):  # type: ignore[no-untyped-def]
        s = tanh(W @ h + U @ x + b)
        for k in range(length):
            s = name(step(s, W), f"s{k}")
        return s

    return as_network(chained)


def settled(s: Any, W: Any) -> Any:
    """Ends at a fixed point, where all neighbours round alike."""
    return sigmoid(s)


def product(s: Any, W: Any) -> Any:
    """A derivative of hundreds of factors, which varies fast with the parameters."""
    return tanh(W @ s)


def vanishing(s: Any, W: Any) -> Any:
    """A derivative that leaves the numbers of double precision within a sequence."""
    return 0.01 * sigmoid(s)


def reports(network: Network, kernel: Any) -> list[Report]:
    return list(check_kernel(network, kernel, seed=5, select="h0"))


@pytest.mark.parametrize(("step", "length"), [(settled, 60), (product, 100), (vanishing, 40)])
def test_right_kernels_pass(step: Callable[..., Any], length: int) -> None:
    network = chain(step, length)
    found = reports(network, kernel_of(network)[0])
    assert [r.verdict for r in found] == [Verdict.PASS] * len(found)


def test_a_wrong_factor_in_a_gradient_that_is_nearly_gone_is_seen() -> None:
    network = chain(product, 60)
    right = kernel_of(network)[0]

    class Wrong:
        forward = right.forward

        @staticmethod
        def backward(*given: Any) -> dict[str, Any]:
            found = dict(right.backward(*given))
            found["h0"] = found["h0"] * 1.03
            return found

    assert reports(network, Wrong)[-1].verdict is Verdict.FAIL


def test_the_depth_is_that_of_the_longest_chain_of_all_steps() -> None:
    network = chain(settled, 7)
    # W @ h, two sums written as one, tanh, and the chain
    assert depth(network, {"T": 3}) == 3 * (3 + 7)


def test_a_black_box_is_watched_for_the_length_of_its_chain() -> None:
    def loss(x: Any) -> Any:
        for _ in range(100):
            x = 1 / (1 + np.exp(-x))
        return np.sum(x)

    def gradient(x: Any) -> Any:
        slope = np.ones_like(x)
        for _ in range(100):
            x = 1 / (1 + np.exp(-x))
            slope = slope * (x * (1 - x))
        return slope

    x = np.array([0.3, -0.7, 1.1])
    assert check_gradient(loss, gradient, x).verdict is Verdict.PASS
    wrong = check_gradient(loss, lambda x: gradient(x) * (1 + 1e-9), x)
    assert wrong.verdict is Verdict.FAIL
