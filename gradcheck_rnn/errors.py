"""The exception family: one root, so that a door can turn any user mistake into one line.

Messages name the thing (cell, parameter, shape, file, line) and the way out.
"""

from __future__ import annotations

import contextlib

__all__ = [
    "DefinitionError",
    "DimensionError",
    "GradcheckError",
    "MissingRule",
    "NotationError",
    "Signalled",
    "UnsupportedOperation",
    "UsageError",
    "UserCodeError",
    "blame",
    "is_blamed",
    "moved_out",
    "of_domain",
    "of_users_code",
    "tell_moved",
]


class GradcheckError(Exception):
    """Root of every error this package raises for a user's mistake or an unsupported request."""


class DefinitionError(GradcheckError):
    """A cell or network definition is malformed: an unassigned state, an unused parameter."""


class DimensionError(DefinitionError):
    """Named dims or array shapes do not fit together; the message names operands and dims."""


class UnsupportedOperation(DefinitionError):
    """The definition uses an operation the language does not have."""


class UnsupportedAttribute(UnsupportedOperation, AttributeError):
    """The definition asks a value for an attribute or method that it does not have."""


class MissingRule(GradcheckError):
    """A node of an expression has no rule in the family asked for; never answered with zero."""


class NotationError(GradcheckError):
    """A notation file names an unknown symbol or cannot be read."""


class UsageError(GradcheckError):
    """A request that cannot be met as asked: unknown cell, unwritable path, unknown option."""


class UserCodeError(GradcheckError):
    """Code under test misbehaves in a way that no number shows: it exits, or keeps state.

    ``kind`` is that of the finding that a report makes of it.
    """

    def __init__(self, message: str, kind: str = "misbehaves") -> None:
        super().__init__(message)
        self.kind = kind


class Signalled(BaseException):
    """A signal asks this process to end: nothing catches it on the way out, users' code apart."""


#: The attribute by which an exception says that it came up in a call of the user's function.
_BLAMED = "_gradcheck_blamed"


def blame(error: BaseException) -> None:
    """Remember of an exception that it was raised when a check called the user's function.

    Its frames need not show it: a library raises it for a backward pass with too few gradients.
    """
    with contextlib.suppress(AttributeError):  # a class with __slots__
        setattr(error, _BLAMED, True)


def is_blamed(error: BaseException) -> bool:
    """Whether `blame` was called with it."""
    return getattr(error, _BLAMED, False) is True


def of_users_code(error: BaseException) -> bool:
    """Whether code under test raised it, or has given what it must not; all others are our own."""
    return is_blamed(error) or isinstance(error, GradcheckError)


def of_domain(error: BaseException) -> bool:
    """Whether an exception is one by which functions refuse numbers that they have no value at."""
    return isinstance(error, ValueError | ArithmeticError | AssertionError)


#: How the note of an exception begins that a point beside the given one has raised.
_MOVED = "the check moved "


def tell_moved(error: Exception, names: str, step: float) -> None:
    """Note on an exception that a function raises `step` from the point given, and not there."""
    if of_domain(error) and not moved_out(error):
        error.add_note(
            f"{_MOVED}{names} by {step:.1g} from the point given, where the function runs: a "
            "gradient needs values on all sides. Choose a point inside of what the function takes "
            "(steps reach a tenth of a parameter's size, more where the gradient is wrong), or "
            "check it in a variable without bounds (z, for a number 1/(1 + exp(-z)) in [0, 1])"
        )


def moved_out(error: BaseException) -> str:
    """The note of `tell_moved`, '' where there is none."""
    return next((n for n in getattr(error, "__notes__", ()) if n.startswith(_MOVED)), "")
