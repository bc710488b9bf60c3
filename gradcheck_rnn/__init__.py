"""Gradient verification for recurrent networks: derive, prove, generate, verify.

Everything below is loaded when it is first used, so that importing the package costs nothing::

    from gradcheck_rnn import check_gradient          # any loss and gradient
    from gradcheck_rnn import check_model             # code that implements a known cell
    from gradcheck_rnn import cell, derive, generate  # from a cell written once

The vocabulary of definitions (``tanh``, ``softmax``, ``concat``, …) is in `gradcheck_rnn.language`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gradcheck_rnn._version import __version__

if TYPE_CHECKING:
    from gradcheck_rnn.api import derive, generate, layers, load, prove, render
    from gradcheck_rnn.errors import GradcheckError
    from gradcheck_rnn.language.cell import Cell
    from gradcheck_rnn.language.declaring import cell
    from gradcheck_rnn.language.network import Network
    from gradcheck_rnn.verify import check_gradient, check_vjp
    from gradcheck_rnn.verify.adapters import (
        check_jax,
        check_tensorflow,
        check_torch,
        check_torch_double,
    )
    from gradcheck_rnn.verify.cases import gradient_case
    from gradcheck_rnn.verify.diagnosis import check_model
    from gradcheck_rnn.verify.harness.layout import Layout
    from gradcheck_rnn.verify.recording import record

__all__ = [
    "Cell",
    "GradcheckError",
    "Layout",
    "Network",
    "__version__",
    "cell",
    "check_gradient",
    "check_jax",
    "check_model",
    "check_tensorflow",
    "check_torch",
    "check_torch_double",
    "check_vjp",
    "derive",
    "generate",
    "gradient_case",
    "layers",
    "load",
    "prove",
    "record",
    "render",
]

_HOME = {
    "Cell": "language.cell",
    "GradcheckError": "errors",
    "Layout": "verify.harness.layout",
    "Network": "language.network",
    "cell": "language.declaring",
    "check_gradient": "verify",
    "check_jax": "verify.adapters",
    "check_model": "verify.diagnosis",
    "check_tensorflow": "verify.adapters",
    "check_torch": "verify.adapters",
    "check_torch_double": "verify.adapters",
    "check_vjp": "verify",
    "derive": "api",
    "generate": "api",
    "gradient_case": "verify.cases",
    "layers": "api",
    "load": "api",
    "prove": "api",
    "record": "verify.recording",
    "render": "api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value  # looked up once
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
