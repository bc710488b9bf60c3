"""What a verdict says of where data lie: what was assumed, and what was not declared."""

from __future__ import annotations

from ...language.network import Network
from ..verdict import Finding

__all__ = ["assumed_domains", "undeclared_data"]


def assumed_domains(network: Network) -> list[Finding]:
    """A note on the domains that values were drawn from, where any are declared."""
    told = ", ".join(f"{n} {d.words}" for n, d in network.domains.items())
    if not told:
        return []
    return [
        Finding(
            "could-have-missed",
            f"values were drawn where they are declared to lie ({told}); a fault that shows only "
            "elsewhere was not looked for",
        )
    ]


def undeclared_data(network: Network) -> list[Finding]:
    """Advice for a failing check whose data have no declared domain, which may be all there is."""
    known = network.domains
    data = [n for n, r in network.inputs.items() if r.kind in ("data", "static_data")]
    names = [n for n in data if n not in known]
    if not names:
        return []
    verb = "has" if len(names) == 1 else "have"
    return [
        Finding(
            "undeclared-data",
            f"{', '.join(names)} {verb} no declared domain, so any real numbers were drawn; if the "
            "code takes masks, classes or probabilities, say so in the definition: "
            f'domains={{"{names[0]}": "0/1"}}, "one-hot" or "simplex"',
        )
    ]
