"""The fourth blind corpus: a right module a system, and one text with all faults."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

NAMES = ("zoneout", "antisym", "rglru", "hgrn", "minimal")
SYSTEMS: dict[str, ModuleType] = {n: import_module(f"{__name__}.{n}") for n in NAMES}
TEXTS = [Path(__file__).with_name("faults.txt")]
