"""`torch.autograd.Function` and JAX `custom_vjp` functions, checked as forward and backward pairs.

The differences are those of the forward pass that the user wrote; the backward pass is what the
framework calls when it differentiates. Neither library is imported unless it is used.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from ..checks import check_function
from ..errors import UsageError
from .factories import Shapes
from .guard import fails_on_misbehaviour
from .jax_coarse import check_jax_pair
from .jax_pair import JaxPair
from .outcome import Report
from .tensorflow_pair import TensorFlowPair
from .torch_buffers import doubt_updated_buffers
from .torch_coarse import check_torch_pair
from .torch_double import DoublePair
from .torch_pair import TorchPair
from .vjp import check_pairs

__all__ = ["check_jax", "check_tensorflow", "check_torch", "check_torch_double"]


@fails_on_misbehaviour(lambda title: Report(title, []))
def check_torch(
    function: Any,
    inputs: Any,
    *,
    reference: Callable[..., Any] | None = None,
    surrogate: Callable[..., Any] | None = None,
    shapes: Shapes | None = None,
    **options: Any,
) -> Report:
    """Check the backward pass of a `torch.autograd.Function`, a module, or a function of tensors.

    Beside what `check_vjp` does: undefined (None) gradients of outputs that are not used, a second
    pass through one graph, gradients that are not contiguous. Random numbers are drawn from the
    same seed in every call, so that masks stay the same.

    Parameters
    ----------
    function : subclass of torch.autograd.Function, torch.nn.Module, or callable
        Returns tensors in any nesting. The parameters of a module that ask for gradients are
        checked as inputs by their names; its buffers are as given at every call.
    inputs : sequence, dict or tensor
        Arguments in order, or by name. Tensors, in any nesting, are perturbed where they are
        floating-point and dense; anything else (None, numbers, integer, complex or sparse tensors)
        is passed on as it is. Float64 tensors give the sharpest check.
    reference : callable, optional
        For code that computes in bfloat16 or float16 (its tensors, or autocast): a function of the
        same arguments that computes the same in float64, by default the code itself. It is checked
        by differences, and the gradient compared with its; what rounding explains is measured.
    surrogate : callable, optional
        The function whose derivative a backward is by intent, if not that of forward.
    shapes : dict, optional
        For inputs that are a function of sizes, as in `check_vjp`.
    **options
        Of `check_vjp`: outputs, time_axis, mode, seed, budget, select, title.

    Returns
    -------
    Report
        Rows are named ``output -> input``: outputs by position or key, inputs by the names in the
        signature (``[0] -> W``).

    Raises
    ------
    UsageError
        PyTorch is not installed, no input is a floating-point tensor, the function returns no
        tensor, or complex or sparse ones. A gradient of None counts as zeros, as in PyTorch.
    """
    torch = _library("torch", "check_torch")
    if reference is not None:
        check_function(reference, "check_torch: the reference")
    named = getattr(function, "__name__", type(function).__name__)
    options.setdefault("title", named)

    def check(pair: TorchPair, **given: Any) -> Report:
        report = check_torch_pair(pair, reference, **given)
        doubt_updated_buffers(report, pair, lambda p: check_torch_pair(p, reference, **given))
        return report

    with torch.inference_mode(False), torch.enable_grad():
        return check_pairs(
            lambda made: TorchPair(torch, function, made, surrogate),
            inputs, shapes, "check_torch", check=check, **options,
        )  # fmt: skip


@fails_on_misbehaviour(lambda title: Report(title, []))
def check_torch_double(
    function: Any,
    inputs: Any,
    *,
    reference: Callable[..., Any] | None = None,
    shapes: Shapes | None = None,
    **options: Any,
) -> Report:
    """Check the second derivative: the backward pass of a function, differentiated once more.

    As ``torch.autograd.gradgradcheck``, with a bound for every entry. The gradients that backward
    gives are compared, as functions of inputs and cotangents, with their own differences: a
    backward that has lost its graph (``detach``, ``.data``, NumPy, a cell of its own in a
    compiled kernel) has a second derivative of zero, and fails where it is not zero. Whether the
    gradients themselves are right is for `check_torch`.

    Parameters
    ----------
    function, inputs, shapes
        As in `check_torch`.
    reference : callable, optional
        As in `check_torch`, for code that computes in bfloat16 or float16: it is differentiated
        twice in float64.
    **options
        Of `check_vjp`: outputs, mode, seed, budget, select, title.

    Returns
    -------
    Report
        Rows are named ``dx -> W``, the derivative of the gradient of x with respect to W, and
        ``dx -> d[0]``, with respect to the cotangent of output ``[0]``.

    Raises
    ------
    UsageError
        As `check_torch`; and a backward marked ``once_differentiable``, or an operation of which
        PyTorch has no second derivative.
    """
    torch = _library("torch", "check_torch_double")
    if reference is not None:
        check_function(reference, "check_torch_double: the reference")
    named = getattr(function, "__name__", type(function).__name__)
    options.setdefault("title", f"second derivative of {named}")

    def check(pair: TorchPair, **given: Any) -> Report:
        return check_torch_pair(pair, reference, **given)

    with torch.inference_mode(False), torch.enable_grad():
        return check_pairs(
            lambda made: DoublePair(torch, function, made), inputs, shapes, "check_torch_double",
            check=check, **options,
        )  # fmt: skip


@fails_on_misbehaviour(lambda title: Report(title, []))
def check_jax(
    function: Callable[..., Any],
    inputs: Any,
    *,
    jit: bool = True,
    surrogate: Callable[..., Any] | None = None,
    shapes: Shapes | None = None,
    **options: Any,
) -> Report:
    """Check the reverse-mode derivative of a JAX function, one with ``custom_vjp`` above all.

    Beside what `check_vjp` does: a custom rule that is not compiled, tracing it again, and, with
    ``symbolic_zeros=True``, outputs that are not used and inputs that are not differentiated.

    Parameters
    ----------
    function : callable
        Maps arrays, in any pytrees, to arrays in any pytree.
    inputs : sequence, dict or array
        Arguments in order, or by name: arrays or pytrees of them; those of integers are data. JAX
        computes in float32 unless ``jax_enable_x64`` is set, and a check in float32 sees less.
    jit : bool
        Compile; a function that cannot be compiled is run as it is.
    surrogate : callable, optional
        The function whose derivative a backward is by intent, if not that of `function`.
    shapes : dict, optional
        For inputs that are a function of sizes, as in `check_vjp`.
    **options
        Of `check_vjp`: outputs, time_axis, mode, seed, budget, select, title.

    Returns
    -------
    Report
        Rows are named ``output -> input``: outputs by position or key, inputs by the names in the
        signature.

    Raises
    ------
    UsageError
        JAX is not installed, or no input is a floating-point array.
    """
    jax = _library("jax", "check_jax")
    jnp = importlib.import_module("jax.numpy")
    options.setdefault("title", getattr(function, "__name__", "jax function"))
    return check_pairs(
        lambda made: JaxPair(jax, jnp, function, made, jit=jit, surrogate=surrogate),
        inputs, shapes, "check_jax", check=check_jax_pair, **options,
    )  # fmt: skip


@fails_on_misbehaviour(lambda title: Report(title, []))
def check_tensorflow(
    function: Any,
    inputs: Any,
    *,
    surrogate: Callable[..., Any] | None = None,
    shapes: Shapes | None = None,
    **options: Any,
) -> Report:
    """Check what `tf.GradientTape` gives for a function, one with ``tf.custom_gradient`` above all.

    Parameters
    ----------
    function : callable, tf.Module or Keras layer
        Returns tensors in any nesting. Trainable variables are checked as inputs by their names
        and have their values again afterwards.
    inputs : sequence, dict or tensor
        Arguments in order, or by name; tensors and arrays in any nesting. Float64 tensors give the
        sharpest check; those of integers, and what is no tensor, are passed on as they are.
    surrogate : callable, optional
        The function whose derivative a backward is by intent, if not that of `function`.
    shapes : dict, optional
        For inputs that are a function of sizes, as in `check_vjp`.
    **options
        Of `check_vjp`: outputs, time_axis, mode, seed, budget, select, title.

    Returns
    -------
    Report
        Rows are named ``output -> input``.

    Raises
    ------
    UsageError
        TensorFlow is not installed, no input is a floating-point tensor, or no tensor is returned.
        A gradient of None counts as zeros.
    """
    tf = _library("tensorflow", "check_tensorflow")
    options.setdefault("title", getattr(function, "__name__", type(function).__name__))
    made: list[TensorFlowPair] = []

    def pair(given: Any) -> TensorFlowPair:
        made.append(TensorFlowPair(tf, function, given, surrogate))
        return made[-1]

    try:
        return check_pairs(pair, inputs, shapes, "check_tensorflow", **options)
    finally:
        for one in made[:1]:  # those that follow found them moved
            one.restore()


def _library(name: str, door: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UsageError(f"{door}: the library {name} is not installed") from None
