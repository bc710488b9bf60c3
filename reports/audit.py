"""Rebuild the audit of published derivations: ``python -m reports.audit`` (``make audit``)."""

from __future__ import annotations

import sys
from pathlib import Path

from gradcheck_rnn import api
from gradcheck_rnn.audit.literature import Audit, Publication, Result, read_claims

__all__ = ["CLAIMS", "judged", "main"]

HERE = Path(__file__).parent
CLAIMS = HERE.parent / "derivations" / "claims"


def judged(folder: Path = CLAIMS) -> list[tuple[Publication, list[Result]]]:
    """Every claim of every source with what was found."""
    audit = Audit(folder, api.derive)
    return [(s, [audit.judge(c) for c in s.claims]) for s in read_claims(folder)]


def main() -> int:
    """Write reports/audit.html; 1 where a verdict is not the one in the data, or not confirmed."""
    from gradcheck_rnn.report.equations import audit_report
    from gradcheck_rnn.report.typesetting import write

    found = judged()
    write(audit_report(found), HERE / "audit.html")
    bad = [(s, r) for s, results in found for r in results if not (r.expected and r.agrees)]
    for source, r in bad:
        sys.stderr.write(
            f"{source.key}, {r.claim.at}: {r.verdict}, expected {r.claim.expects}; by differences: "
            f"{r.again}\n"
        )
    total = sum(len(results) for _, results in found)
    sys.stdout.write(f"{len(found)} sources, {total} claims: {HERE.name}/audit.html\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
