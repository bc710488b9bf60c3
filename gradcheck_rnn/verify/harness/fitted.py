"""A layout for given sizes: values of the definition to the user's arrays, gradients back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...language.network import Network

__all__ = ["Declared", "Fitted", "Placed"]

Array = NDArray[Any]
Indices = NDArray[np.intp]


class Declared(Protocol):
    """What a `Layout` says by the user's names."""

    @property
    def parameters(self) -> Mapping[str, str]: ...
    @property
    def inputs(self) -> Mapping[str, str]: ...
    @property
    def outputs(self) -> Mapping[str, str]: ...
    @property
    def adjoints(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class Placed:
    """One value of the definition inside one array of the user.

    ``index`` has the definition's shape and holds flat positions in the user's array.
    """

    name: str
    index: Indices
    sign: float = 1.0
    transposed: bool = False


@dataclass(frozen=True)
class Fitted:
    """A layout for given sizes: shapes of the user's arrays and the pieces they hold."""

    network: Network
    layout: Declared
    shapes: Mapping[str, tuple[int, ...]]
    pieces: Mapping[str, tuple[Placed, ...]]
    of_definition: Mapping[str, tuple[int, ...]]
    arguments: tuple[str, ...]
    outputs: tuple[str, ...]
    labels: Mapping[str, Placed] = field(default_factory=dict)
    formats: Mapping[str, str] = field(default_factory=dict)

    def unpack(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The definition's values (or outputs) from the user's arrays, in their widest dtype."""
        out: dict[str, Array] = {}
        shared = self._shared
        for user, array in arrays.items():
            flat = np.asarray(array).reshape(-1)
            for piece in self.pieces[user]:
                part = flat[piece.index]
                part = part.astype(np.float64) if part.dtype.kind in "bi" else part
                part = part if piece.sign > 0 else -part
                summed = piece.name in out and piece.name in shared
                out[piece.name] = out[piece.name] + part if summed else part
            if user in self.labels:
                piece = self.labels[user]
                classes = self.of_definition[piece.name][-1]
                out.setdefault(piece.name, np.eye(classes)[flat[piece.index]])
        return out

    @property
    def renamed(self) -> dict[str, str]:
        """The definition's name → that of the array that holds it alone, where that is another."""
        alone = {u: self.pieces[u][0].name for u in self.arguments if len(self.pieces[u]) == 1}
        return {name: user for user, name in alone.items() if name != user}

    @property
    def _shared(self) -> set[str]:
        """Values of which several arrays hold a part; data are whole in each of theirs."""
        inputs = self.network.inputs
        data = {n for n, r in inputs.items() if r.kind in ("data", "static_data")}
        return {p.name for user in self.arguments for p in self.pieces[user]} - data

    def pack(self, values: Mapping[str, Array], rng: np.random.Generator) -> dict[str, Array]:
        """The user's arguments from the definition's values.

        A value that several arrays hold a part of is shared out at random, so that each part is
        looked at by itself.
        """
        holders: dict[str, int] = {}
        shared = self._shared
        for user in self.arguments:
            for piece in self.pieces[user]:
                holders[piece.name] = holders.get(piece.name, 0) + 1
        left = {n: np.array(values[n], dtype=np.float64) for n in holders}
        out = {}
        for user in self.arguments:
            flat = np.zeros(math.prod(self.shapes[user]))
            if user in self.labels:
                piece = self.labels[user]
                flat[piece.index] = np.argmax(values[piece.name], axis=-1)
            for piece in self.pieces[user]:
                holders[piece.name] -= 1
                part = left[piece.name]
                if holders[piece.name] and piece.name in shared:
                    part = part * rng.uniform(0.2, 0.8, size=part.shape)
                    left[piece.name] = left[piece.name] - part
                flat[piece.index] = piece.sign * part
            out[user] = flat.reshape(self.shapes[user]).astype(self.formats.get(user, np.float64))
        return out

    def inside(self, moved: Mapping[str, Array], arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Moved arrays with every value in its domain again.

        Labels, one-hot vectors, masks and probabilities are as they were in ``arrays``; what lies
        in an interval is cut off at its ends.
        """
        domains = self.network.domains
        shared = self._shared
        out = {}
        for user, array in moved.items():
            flat = np.array(array).reshape(-1)
            given = np.asarray(arrays[user])
            if user in self.labels or user in self.formats:
                out[user] = given
                continue
            for piece in self.pieces[user]:
                domain = domains.get(piece.name)
                if domain is None:
                    continue
                if domain.fixed:
                    flat[piece.index] = given.reshape(-1)[piece.index]
                elif piece.name not in shared or self._whole(piece.name):
                    flat[piece.index] = piece.sign * domain.clip(piece.sign * flat[piece.index])
            out[user] = flat.reshape(given.shape)
        return out

    def _whole(self, name: str) -> bool:
        held = [p for user in self.arguments for p in self.pieces[user] if p.name == name]
        return len(held) == 1

    def pull(self, user: str, gradients: Mapping[str, Array], *, absolute: bool = False) -> Array:
        """The gradient of one of the user's arrays from those of the definition's values.

        ``absolute`` leaves the signs out: for magnitudes.
        """
        given = [p for p in self.pieces[user] if p.name in gradients]
        dtype = np.result_type(np.float64, *(gradients[p.name].dtype for p in given))
        flat = np.zeros(math.prod(self.shapes[user]), dtype)
        for piece in given:
            sign = 1.0 if absolute else piece.sign
            flat[piece.index] += sign * gradients[piece.name]
        return flat.reshape(self.shapes[user])

    def place(self, user: str, values: Mapping[str, Array]) -> Array:
        """An output as the user hands it out; zeros where the definition's are not given."""
        given = [p for p in self.pieces[user] if p.name in values]
        dtype = np.result_type(*(values[p.name] for p in given)) if given else np.float64
        flat = np.zeros(math.prod(self.shapes[user]), dtype)
        for piece in given:
            flat[piece.index] = piece.sign * values[piece.name]
        return flat.reshape(self.shapes[user])

    @property
    def names(self) -> set[str]:
        """The definition's values that the arguments hold."""
        held = {p.name for user in self.arguments for p in self.pieces[user]}
        return held | {p.name for p in self.labels.values()}
