"""Seconds for reports: a derivation in both formats (aim: under 5 s), the gallery (under 3 min).

``python -m benchmarks.bench_report`` measures a few systems, ``--all`` every system of the zoo and
prints a table in Markdown; ``--gallery`` builds the gallery too, into a folder that is thrown away.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SYSTEMS = ("elman", "lstm", "gru", "lstm_layer_norm", "bidirectional_lstm", "elmo")
AIM, GALLERY_AIM = 5.0, 180.0


def seconds(name: str, folder: Path) -> tuple[float, float, int, int]:
    """One report as HTML and PDF, process start included: wall, CPU; bytes of both files."""
    command = [sys.executable, "-m", "gradcheck_rnn", "report", name]
    files = [folder / f"{name}.{suffix}" for suffix in ("html", "pdf")]
    for file in files:
        command += ["-o", str(file)]
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    took, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    html, pdf = (file.stat().st_size for file in files)
    return took, used, html, pdf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="every system of the zoo")
    parser.add_argument("--gallery", action="store_true", help="build the gallery, too")
    asked = parser.parse_args()
    from gradcheck_rnn import api

    names = api.names() if asked.all else SYSTEMS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = {system: seconds(system, folder) for system in names}
        print(f"Derivation report, HTML and PDF, process start included (aim {AIM:g} s).")
        load, cores = os.getloadavg()[0], os.cpu_count() or 1
        print(f"Load average of the machine at the end: {load:.1f} on {cores} cores.\n")
        print("| system | wall s | CPU s | HTML kB | PDF kB |\n|---|---:|---:|---:|---:|")
        for system, (took, used, html, pdf) in sorted(found.items(), key=lambda x: -x[1][1]):
            row = (
                f"`{system}`",
                f"{took:.2f}",
                f"{used:.2f}",
                f"{html / 1e3:.0f}",
                f"{pdf / 1e3:.0f}",
            )
            print("| " + " | ".join(row) + " |" + ("" if used < AIM else " over the aim"))
        if asked.gallery:
            from reports.build import build

            begun = time.perf_counter()
            count = build(folder, workers=2)
            took = time.perf_counter() - begun
            print(
                f"\nGallery of {count} reports on 2 workers (aim {GALLERY_AIM:g} s): {took:.0f} s"
            )


if __name__ == "__main__":
    main()
