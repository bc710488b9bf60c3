"""Code that exits, keeps state or changes data: the same sentences, whichever way it is checked."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.verify import Verdict, check_gradient, check_vjp
from gradcheck_rnn.verify.guard import STATE, UserCode
from gradcheck_rnn.verify.reachable import checksum, differing

RNG = np.random.default_rng(0)
A = RNG.normal(size=(4, 5))
X = RNG.normal(size=5)


def loss(p: np.ndarray) -> float:
    return float(np.sum(np.tanh(A @ p) ** 2))


def gradient(p: np.ndarray) -> np.ndarray:
    h = np.tanh(A @ p)
    return A.T @ (2 * h * (1 - h * h))


def forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    return np.tanh(A @ x), (x,)


def backward(dy: np.ndarray, cache: Any) -> tuple[np.ndarray]:
    (x,) = cache
    return (A.T @ (dy * (1 - np.tanh(A @ x) ** 2)),)


def kinds(report: Any) -> dict[str, str]:
    return {f.kind: f.message for f in report.findings if f.fatal}


class Counted:
    """A function that does something else from its n-th call on."""

    def __init__(self, function: Any, after: int, other: Any) -> None:
        self.function, self.after, self.other, self.calls = function, after, other, 0

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        return (self.other if self.calls > self.after else self.function)(*args)


class NoException(BaseException):
    pass


def leaves(*_: Any) -> Any:
    sys.exit(0)


def breaks(*_: Any) -> Any:
    raise NoException("gone")


@pytest.mark.parametrize("after", [0, 1, 6])
@pytest.mark.parametrize(
    ("ends", "said"), [(leaves, "called sys.exit(0)"), (breaks, "raised NoException: gone")]
)
def test_what_ends_a_process_fails_the_check(after: int, ends: Any, said: str) -> None:
    for who, report in {
        "the loss": check_gradient(Counted(loss, after, ends), gradient, X),
        "the gradient function": check_gradient(loss, Counted(gradient, after, ends), X),
        "forward": check_vjp(Counted(forward, after, ends), backward, (X,)),
        "backward": check_vjp(forward, Counted(backward, after, ends), (X,)),
    }.items():
        assert report.verdict is Verdict.FAIL
        assert f"{who} {said}" in kinds(report)["exits"]


def test_ctrl_c_is_left_alone() -> None:
    def interrupted(_: Any) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_gradient(interrupted, gradient, X)


class Recurrent:
    """A loss that goes on from the state of its last call."""

    def __init__(self) -> None:
        self.h = np.zeros(4)

    def loss(self, p: np.ndarray) -> Any:
        self.h = np.tanh(A @ p + self.h)
        return np.sum(self.h**2)

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, Any]:
        self.h = np.tanh(A @ x + self.h)
        return self.h, (x,)


def test_state_kept_between_calls_is_named() -> None:
    report = check_gradient(Recurrent().loss, gradient, X)
    assert kinds(report) == {"state": f"the loss {STATE} ('self.h')"}
    report = check_vjp(Recurrent().forward, backward, (X,))
    assert kinds(report) == {"state": f"forward {STATE} ('self.h')"}


def test_a_count_of_calls_that_matters_is_state() -> None:
    count = [0]

    def annealed(p: np.ndarray) -> float:
        count[0] += 1
        return loss(p) * 0.9 ** count[0]

    assert kinds(check_gradient(annealed, gradient, X)) == {
        "state": f"the loss {STATE} ('count[0]')"
    }


def test_gradients_that_are_added_up_are_state() -> None:
    total = np.zeros(5)

    def added(p: np.ndarray) -> np.ndarray:
        np.add(total, gradient(p), out=total)
        return total.copy()

    assert (
        f"the gradient function {STATE} ('total')" in kinds(check_gradient(loss, added, X))["state"]
    )

    def pulled(dy: np.ndarray, cache: Any) -> tuple[np.ndarray]:
        np.add(total, backward(dy, cache)[0], out=total)
        return (total.copy(),)

    assert f"backward {STATE} ('total')" in kinds(check_vjp(forward, pulled, (X,)))["state"]


def test_data_of_the_loss_that_the_gradient_changes() -> None:
    data = RNG.normal(size=5)

    def reads(p: np.ndarray) -> float:
        return float(np.sum(data * np.sin(p)))

    def writes(p: np.ndarray) -> np.ndarray:
        found = data * np.cos(p)
        data[:] = 0.5
        return found

    report = check_gradient(reads, writes, X)
    assert "the gradient function changes 'data' in place" in kinds(report)["mutated-data"]

    data[:] = 2.0

    def scaled(x: np.ndarray) -> tuple[np.ndarray, Any]:
        return data * x, None

    def spoils(dy: np.ndarray, _: Any) -> tuple[np.ndarray]:
        found = data * dy
        data[:] = 0.5
        return (found,)

    report = check_vjp(scaled, spoils, (X,))
    assert "backward changes 'data' in place, and forward then" in kinds(report)["mutated-data"]


def test_workspaces_caches_and_noise_are_no_state() -> None:
    class Layer:
        def __init__(self) -> None:
            self.z, self.dx, self.calls = np.zeros(4), np.zeros(5), 0

        def loss(self, p: np.ndarray) -> float:
            self.calls += 1
            self.x = p.copy()
            return float(np.sum(np.tanh(np.matmul(A, p, out=self.z)) ** 2))

        def gradient(self, p: np.ndarray) -> np.ndarray:
            self.dx[:] = 0
            self.dx += gradient(p)
            return self.dx

    layer = Layer()
    report = check_gradient(layer.loss, layer.gradient, X)
    assert report.passed, str(report)

    generator, z = np.random.default_rng(1), np.zeros(4)

    def noisy(p: np.ndarray) -> float:
        np.matmul(A, p, out=z)
        return loss(p) * (1 + 1e-10 * generator.standard_normal())

    report = check_gradient(noisy, gradient, X)
    assert report.passed, str(report)
    assert not report.deterministic


def test_arguments_that_are_changed_late_or_through_the_cache() -> None:
    def spoils(p: dict[str, np.ndarray]) -> float:
        p["b"] *= 1.5
        return loss(p["a"])

    late = Counted(lambda p: loss(p["a"]) + float(np.sum(p["b"])), 24, spoils)
    both = {"a": X, "b": np.ones(2)}
    report = check_gradient(late, lambda p: {"a": gradient(p["a"]), "b": np.ones(2)}, both)
    assert "the loss changes its argument 'b' in place" in kinds(report)["mutated-input"]

    def through(dy: np.ndarray, cache: Any) -> Any:
        found = backward(dy, cache)
        cache[0][:] *= 2
        return found

    report = check_vjp(forward, through, (X,))
    assert kinds(report)["mutated-input"].startswith("backward changes its argument")


def test_later_calls_are_inspected() -> None:
    report = check_gradient(loss, Counted(gradient, 2, lambda p: gradient(p) * np.nan), X)
    assert "in call 3" in kinds(report)["not-finite"]
    with pytest.raises(UsageError, match=r"returned None, .* \(in call 16, not before\)"):
        check_gradient(Counted(loss, 15, lambda _: None), gradient, X)
    with pytest.raises(UsageError, match="complex128"):
        check_gradient(loss, Counted(gradient, 3, lambda p: gradient(p) + 0j), X)
    once = Counted(gradient, 6, lambda p: 1.5 * gradient(p))
    assert not check_gradient(loss, once, X).passed


def test_caches_that_cannot_be_copied() -> None:
    import threading

    def locked(x: np.ndarray) -> tuple[np.ndarray, Any]:
        return np.tanh(A @ x), {"x": x, "lock": threading.Lock(), "rest": (i for i in range(3))}

    report = check_vjp(locked, lambda dy, c: backward(dy, (c["x"],)), (X,))
    assert report.passed, str(report)


def test_what_a_function_reaches() -> None:
    held, default = {"layers": [np.ones(2)]}, np.zeros(3)

    def inner() -> Any:
        return A

    def outer(x: Any, weight: Any = default, *, scale: Any = default + 1) -> Any:
        return inner(), held, x

    names = set(checksum(outer))
    assert {"held['layers'][0]", "weight", "scale", "A"} <= names
    code = UserCode(outer)

    def change(value: int) -> int:
        held["layers"][0][0] = value
        return value

    def draw(value: int) -> int:
        np.random.rand()  # noqa: NPY002
        return change(value)

    assert code.watched(lambda: change(5)) == (5, ["held['layers'][0]"])
    assert code.watched(lambda: draw(6)) == (6, []), "random numbers were drawn: noise"


@pytest.mark.parametrize("budget", [float("nan"), "nan", "nan s", [3], 0, -1, "soon"])
def test_budgets_that_are_none(budget: Any) -> None:
    with pytest.raises(UsageError, match="budget"):
        check_gradient(loss, gradient, X, budget=budget)
    with pytest.raises(UsageError, match="budget"):
        check_vjp(forward, backward, (X,), budget=budget)


def test_what_is_no_function() -> None:
    with pytest.raises(UsageError, match="loss is None; give a function"):
        check_gradient(None, gradient, X)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="gradient is a ndarray; give a function"):
        check_gradient(loss, X, X)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"backward is .backward.; give a function"):
        check_vjp(forward, "backward", (X,))  # type: ignore[arg-type]


class Network:
    """Its gradient uses what the last call of the loss left behind."""

    def loss(self, p: np.ndarray) -> float:
        self.h = np.tanh(A @ p)
        return float(np.sum(self.h**2))

    def stale(self, p: np.ndarray) -> np.ndarray:
        return A.T @ (2 * self.h * (1 - self.h**2))

    def gradient(self, p: np.ndarray) -> np.ndarray:
        self.loss(p)
        return self.stale(p)


def test_a_gradient_of_the_last_point_of_the_loss_fails() -> None:
    network = Network()
    network.loss(X)
    assert check_gradient(network.loss, network.gradient, X).passed
    report = check_gradient(network.loss, network.stale, X)
    assert report.verdict is Verdict.FAIL
    assert any("what the last call of the loss left" in f.message for f in report.findings)


class Layer:
    def forward(self, x: np.ndarray) -> tuple[np.ndarray, None]:
        self.x = x
        return np.sin(x), None

    def backward(self, d: np.ndarray, _: None) -> np.ndarray:
        return d * np.cos(self.x)


def test_a_layer_object_passes_and_is_told_that_it_serves_one_use() -> None:
    layer = Layer()
    report = check_vjp(layer.forward, layer.backward, X)
    assert report.passed
    assert [f.kind for f in report.findings].count("interleaved") == 1
    report = check_vjp(lambda x: (np.sin(x), x), lambda d, x: d * np.cos(x), X)
    assert "interleaved" not in [f.kind for f in report.findings]


@pytest.mark.parametrize("mode", ["entrywise", "directional"])
def test_a_gradient_that_reads_what_the_loss_was_given_last_fails(mode: str) -> None:
    last: dict[str, np.ndarray] = {}

    def keeping(p: np.ndarray) -> float:
        last["p"] = p  # the array itself, which its owner may change
        return loss(p)

    report = check_gradient(keeping, lambda p: gradient(last.get("p", p)), X, mode=mode)
    assert report.verdict is Verdict.FAIL
    assert "state" in kinds(report)


@pytest.mark.parametrize(
    ("at", "mode"),
    [(4, "entrywise"), (7, "entrywise"), (9, "entrywise"), (2, "directional"),
     (4, "directional"), (7, "directional")],
)  # fmt: skip
def test_a_loss_that_is_wrong_while_its_noise_is_measured_is_unsteady(at: int, mode: str) -> None:
    calls = iter(range(10**6))
    report = check_gradient(
        lambda p: loss(p) * (1 + 1e-6 * (next(calls) % 20 == at)), gradient, X, mode=mode
    )
    assert report.verdict is Verdict.FAIL
    assert "unsteady-loss" in kinds(report)


@pytest.mark.parametrize("size", [7, 8193, 100_003])
def test_what_happens_to_a_long_array_changes_its_checksum(size: int) -> None:
    D = np.random.default_rng(0).normal(size=size)
    rolled = [np.roll(D, k) for k in (1, size // 3, 1021) if k % size]
    other = np.where(np.arange(size) == size // 2, np.nextafter(D, 9.0), D)
    places = np.arange(size) // 2 * 2 % size
    seen = [checksum(x, name="D")["D"] for x in (
        D, -D, 2 * D, np.abs(D), D[::-1], other, D[places], D + 0.0, *rolled
    )]  # fmt: skip
    assert seen[7] == seen[0]
    assert len(set(seen)) == len(seen) - 1


def test_objects_of_a_class_without_a_hash_are_looked_into():
    class Meta(type):
        def __eq__(cls, other):
            return cls is other

        __hash__ = None

    class Held(metaclass=Meta):
        def __init__(self):
            self.D = np.ones(3)

    held = Held()
    before = checksum(lambda: held, name="f")
    held.D[1] = 2.0
    assert differing(before, checksum(lambda: held, name="f")) == ["held.D"]
