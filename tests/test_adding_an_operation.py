"""Adding an elementwise function is one declaration: from it, every pass works.

The declaration below is what would be added to ``language/ops/functions.py``; nothing else of the
package names the function.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from gradcheck_rnn import api
from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.derivation.proof import prove
from gradcheck_rnn.derivation.proof.scalars import certify
from gradcheck_rnn.errors import MissingRule, UnsupportedOperation
from gradcheck_rnn.language import cell, numeric
from gradcheck_rnn.language.network import Network, as_network
from gradcheck_rnn.language.ops.elementwise import ELEMENTWISE, Elementwise
from tests.cuda_shim import nvrtc


def declare() -> Elementwise:
    return Elementwise(
        "halfsign",
        "x / (1 + |x|).",
        definition="x / (1 + abs(x))",
        slope="1 / (1 + abs(x))**2",
        array=lambda x: x / (1 + np.where(x.real > 0, x, -x)),
        numpy='''
def halfsign(x: Array, out: Array | None = None) -> Array:
    """x / (1 + |x|); complex numbers branch on the real part."""
    return np.divide(x, 1 + np.where(np.real(x) > 0, x, -x), out=out)
''',
        cupy='''
def halfsign(x: Array) -> Array:
    """x / (1 + |x|)."""
    return x / (1 + cp.abs(x))
''',
        cuda="""
__device__ __forceinline__ real halfsign(const real x) { return x / (real(1) + fabs(x)); }
""",
        supremum=1.0,
        mirror="-y",
        at_zero=Fraction(0),
    )


@pytest.fixture
def halfsign() -> Iterator[Elementwise]:
    yield declare()
    del ELEMENTWISE["halfsign"], numeric.ELEMENTWISE["halfsign"]


def network_of(halfsign: Elementwise) -> Network:
    @cell(inputs="x: d", states="h: p", params="W: p p; U: p d; b: p", name="halfsign_cell")
    def definition(x, h, W, U, b):  # type: ignore[no-untyped-def]
        return halfsign(W @ h + U @ x + b)

    return as_network(definition)


def test_the_declaration_is_short() -> None:
    assert len(inspect.getsource(declare).splitlines()) <= 28  # 25 and the function around it


def test_one_declaration_goes_all_the_way(halfsign: Elementwise, tmp_path: Path) -> None:
    network = network_of(halfsign)
    shown = api.render(derive(network))
    assert "halfsign" in shown
    assert "(1 + |a_{h,t}|)²" in shown
    assert certify("halfsign")
    result = prove(derive(network), exact=True)
    assert result.proved
    assert result.certificate is not None
    assert result.certificate.exact
    verification = api.verify(network, shape=2)
    assert verification.passed, "\n".join(map(str, verification))
    page = tmp_path / "halfsign.typ"
    api.report(network, page)
    assert 'op("halfsign")' in page.read_text()


def test_it_is_generated_for_cuda(halfsign: Elementwise) -> None:
    text = generate(derive(network_of(halfsign)), "cupy")
    assert "real halfsign(const real x)" in text
    reason = nvrtc.unavailable()
    if reason is not None:
        pytest.skip(reason)
    source = text.split('CUDA = r"""')[1].split('"""')[0]
    assert nvrtc.compile_sm90(source, ["-DREAL=float"])


def test_a_backend_without_a_text_refuses(halfsign: Elementwise) -> None:
    lacking = declare()
    for backend in ("numpy", "cuda"):
        object.__setattr__(lacking, backend, "")
    derivation = derive(network_of(halfsign))
    for name in ("numpy", "cupy"):
        with pytest.raises(UnsupportedOperation, match=r"no text for .* 'halfsign'"):
            generate(derivation, name)


def test_a_wrong_declared_slope_is_not_proved(halfsign: Elementwise) -> None:
    wrong = declare()
    object.__setattr__(wrong, "slope", "1 / (1 + abs(x))")
    assert not certify("halfsign")
    object.__setattr__(ELEMENTWISE["tanh"], "slope", "1 - y")
    try:
        from gradcheck_rnn.derivation.proof.scalars import local_rule

        local_rule.cache_clear()
        with pytest.raises(MissingRule, match="'tanh'"):
            prove(derive(as_network(api.load("elman"))))
    finally:
        object.__setattr__(ELEMENTWISE["tanh"], "slope", "1 - y**2")
        local_rule.cache_clear()
