"""The third blind corpus: one module a system, right as it stands, and one text with its faults."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

NAMES = (
    "proj", "deep", "highway", "grud", "charlstm", "minlstm", "wkv", "ssd", "mlstm", "retain",
    "quasi",
)  # fmt: skip
SYSTEMS: dict[str, ModuleType] = {n: import_module(f"{__name__}.{n}") for n in NAMES}
TEXTS = [Path(__file__).with_name(f"{name}.txt") for name in NAMES]
