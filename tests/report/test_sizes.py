"""What reports say of sizes, copies of weights and like terms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gradcheck_rnn import api
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.derivation.proof import prove
from gradcheck_rnn.language import cell, outer, sum_heads, tanh


@cell(
    heads="H", inputs="x: d", states="S: H n m", outputs="y", params="W V: H n d; U: H m d; R: d n",
)  # fmt: skip
def layer(x: Any, S: Any, W: Any, V: Any, U: Any, R: Any) -> Any:
    q = W @ x
    S = S + outer(V @ x, U @ x)
    return {"S": S, "y": sum_heads(R @ (S @ (S.T @ q)))}


def test_every_size_is_named_and_copies_have_one_superscript(tmp_path: Path) -> None:
    api.report(layer, tmp_path / "page.typ")
    page = (tmp_path / "page.typ").read_text(encoding="utf-8")
    said = next(line for line in page.splitlines() if line.startswith("Sizes: "))
    for part in ("$H$ heads", "$d$ units of $bold(x)$", "$n$ ", "$m$ ", "$T$ steps"):
        assert part in said
    assert "bold(W)^((h, 1)), dots, bold(W)^((h, T))" in page
    assert "^((h))^" not in page


def test_like_terms_are_collected() -> None:
    @cell(inputs="x: p", states="h: p", params="W: p p")
    def squared(x: Any, h: Any, W: Any) -> Any:
        v = W @ h
        return tanh(v * v + (x + x))

    derivation = derive(squared)
    page = api.render(derivation)
    assert "δv_t     = 2 · δa_{h,t} ⊙ v_t" in page
    assert "δx_t = 2 · δa_{h,t}" in page
    assert prove(derivation).proved
