"""The committed table of what is proved; run as a module to rewrite it.

``python -m tests.golden_proofs`` rewrites ``docs/proofs.md`` (a minute or two, nearly all of it
for the exact certificate of RTRL); the tests compare.
"""

from __future__ import annotations

from pathlib import Path

from gradcheck_rnn import api
from gradcheck_rnn.cells.losses import with_loss
from gradcheck_rnn.derivation.proof import Certificate, certify_exactly, prove

FILE = Path(__file__).parent.parent / "docs" / "proofs.md"

HEAD = """\
# What is proved

Written by `make golden` and compared by the tests. For every system of the zoo, with a loss and a
random cotangent on every output, the forward values and the gradients of all parameters, inputs
and initial states by BPTT in matrix form and in Kronecker form are compared entry by entry with an
oracle that shares no rule with them: the unrolled network, scalar by scalar. RTRL is compared along
one random direction through all of them, which both sides are polynomials in as well: equal there,
they are equal in every entry but for the chance of b. The dims are pairwise different (d, p, q = 2,
3, 4 where a system has them) and T is 3 or more. Data are generic numbers there. What a page
prints for targets that sum to one (p − y) is compared once more, at a point where they do.

- **random point**: all entries equal at a random point of the prime field of order 2¹²⁷ − 1; if
  one of them were different, it would have been found but for a probability below 2⁻ᵇ, for all
  entries together (Schwartz–Zippel; function values are independent indeterminates).
- **without error**: equal as rational functions, decided by polynomial normal forms of few-term
  identities over the rationals; no probability is left. "a of b" would mean that the other
  entries are undecided, and so proved at a random point only.

A single system is proved by `gradcheck-rnn prove NAME --exact`, all of them with `--all`.

| system | setting | entries | random point, b | values, BPTT without error | RTRL without error |
|---|---|---:|---:|---|---|
"""


def row(name: str, *, exact: bool = True, rtrl: bool = True) -> list[str]:
    """The cells of one system; the last ones, which take longest, are left out without them."""
    derivation = api.derive(with_loss(api.load(name)))
    proof = prove(derivation)
    setting = ", ".join(f"{n} = {s}" for n, s in {**proof.sizes, **proof.lengths}.items())
    bits = str(proof.total_bits) if proof.proved else "**not proved**"
    columns = []
    if exact:
        found = certify_exactly(derivation, rtrl=rtrl, seconds=600)
        columns = [_share(found, tangent=t) for t in (False, True)[: 1 + rtrl]]
    return [f"`{name}`", setting, str(proof.entries), bits, *columns]


def _share(certificate: Certificate, *, tangent: bool) -> str:
    groups = [g for g in certificate.groups if (g.form == "RTRL") == tangent]
    if any(g.different for g in groups):
        return "**different**"
    entries, certified = sum(g.entries for g in groups), sum(g.certified for g in groups)
    return f"all {entries}" if certified == entries else f"{certified} of {entries}"


def main() -> None:
    """Rewrite the table."""
    rows = [f"| {' | '.join(row(name))} |" for name in api.names()]
    FILE.write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")
    print(f"{len(rows)} systems in {FILE.name}")


if __name__ == "__main__":
    main()
