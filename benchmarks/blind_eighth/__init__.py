"""The eighth blind corpus: a right module a system, and one text a system with its faults."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

NAMES = ("lngate", "fastslow", "feedback", "selskip")
SYSTEMS: dict[str, ModuleType] = {n: import_module(f"{__name__}.{n}") for n in NAMES}
TEXTS = [Path(__file__).with_name(f"{name}.txt") for name in (*NAMES, "several")]
