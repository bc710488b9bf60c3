"""Seconds for reports: a derivation in both formats (aim: under 5 s), the gallery (under 3 min).

Run with ``python -m benchmarks.bench_report``; ``--gallery`` builds the gallery too, into a folder
that is thrown away.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

SYSTEMS = (
    "elman",
    "lstm",
    "gru",
    "lstm_layer_norm",
    "lstm_gate_recurrent",
    "bidirectional_lstm",
    "elmo",
)
AIM, GALLERY_AIM = 5.0, 180.0


def seconds(name: str, folder: Path) -> float:
    """One report as HTML and PDF, process start included."""
    command = [sys.executable, "-m", "gradcheck_rnn", "report", name]
    for suffix in ("html", "pdf"):
        command += ["-o", str(folder / f"{name}.{suffix}")]
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"derivation report, HTML and PDF, process start included (aim {AIM:g} s)")
        for system in SYSTEMS:
            took = seconds(system, folder)
            print(f"  {system:<22} {took:6.2f} s{'' if took < AIM else '  over the aim'}")
        if "--gallery" in sys.argv:
            from reports.build import build

            begun = time.perf_counter()
            count = build(folder, workers=2)
            took = time.perf_counter() - begun
            print(f"gallery of {count} reports on 2 workers (aim {GALLERY_AIM:g} s): {took:.0f} s")


if __name__ == "__main__":
    main()
