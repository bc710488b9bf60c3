"""Train a character-level network with a generated kernel: truncated BPTT, clipping, Adagrad.

The kernel comes from the definition `char_lstm` (or `char_rnn`) of the zoo and is a plain module
of NumPy functions; everything else that training needs is in this file. The text is cut into B
streams that are read side by side in windows of T characters. The last states of a window are the
first of the next, but no gradient flows from one to the other: BPTT truncated to T steps.

    python -m examples.train_chars                         # 20 seconds on Python's own help texts
    python -m examples.train_chars --text novel.txt --seconds 600 --units 256
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from gradcheck_rnn import api
from gradcheck_rnn.language.running import array_shape

Arrays = dict[str, np.ndarray]
FLOAT = np.float32


def help_texts() -> str:
    """English text that comes with every CPython: the topics of `help()`."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))


def kernel_of(system: str) -> ModuleType:
    """Generate the NumPy kernel of a system of the zoo and load it."""
    module = ModuleType(f"{system}_kernel")
    exec(compile(api.generate(system, "numpy"), f"<generated for {system}>", "exec"), vars(module))
    return module


@dataclass
class Text:
    """A text as numbers, cut into streams of equal length."""

    characters: list[str]
    streams: np.ndarray  # (B, length)

    @classmethod
    def cut(cls, text: str, batch: int) -> Text:
        characters = sorted(set(text))
        number = {c: i for i, c in enumerate(characters)}
        length = len(text) // batch
        numbers = np.array([number[c] for c in text[: batch * length]])
        return cls(characters, numbers.reshape(batch, length))

    def windows(self, steps: int):
        """Endless (inputs, targets, whether the streams start anew), each (T, B)."""
        while True:
            for at in range(0, self.streams.shape[1] - steps, steps):
                part = self.streams[:, at : at + steps + 1].T
                yield part[:-1], part[1:], at == 0


@dataclass
class Model:
    """A network, its kernel and its parameters."""

    system: str
    vocabulary: int
    units: int
    seed: int = 0
    parameters: Arrays = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.network = api.load(self.system)
        self.kernel = kernel_of(self.system)
        rng = np.random.default_rng(self.seed)
        sizes = {"v": self.vocabulary, "p": self.units}
        for name, ref in self.network.parameters.items():
            shape = array_shape(ref, sizes, batch=1, lengths={})
            # Weights of the size that keeps the variance from layer to layer; biases zero, but for
            # the forget gate, which starts open so that the memory is carried from the beginning.
            weights = rng.uniform(-1, 1, shape) / np.sqrt(self.units)
            value = weights if len(shape) == 2 else np.full(shape, float(name == "b_f"))
            self.parameters[name] = value.astype(FLOAT)

    def one_hot(self, numbers: np.ndarray) -> np.ndarray:
        return np.eye(self.vocabulary, dtype=FLOAT)[numbers]

    def start(self, batch: int) -> Arrays:
        """Initial states of zeros."""
        starts = [n for n, ref in self.network.inputs.items() if ref.kind == "static"]
        return {n: np.zeros((batch, self.units), FLOAT) for n in starts}

    def carry(self, outputs: dict[str, Any]) -> Arrays:
        """The last states of a window as the first of the next."""
        return {n: np.array(outputs[f"{n.removesuffix('0')}_final"]) for n in self.start(1)}

    def inputs(self, numbers: np.ndarray, targets: np.ndarray, states: Arrays) -> Arrays:
        return {"x": self.one_hot(numbers), "target": self.one_hot(targets), **states}

    def sample(self, characters: list[str], length: int, temperature: float = 0.7) -> str:
        """Text drawn character by character from what the network predicts."""
        rng = np.random.default_rng(self.seed)
        number, states, drawn = np.array([[characters.index(" ")]]), self.start(1), []
        for _ in range(length):
            # The targets only matter for the loss, which sampling does not look at.
            outputs, _ = self.kernel.forward(self.parameters, self.inputs(number, number, states))
            scores = np.asarray(outputs["y"], dtype=float)[-1, 0] / temperature
            chances = np.exp(scores - scores.max())
            number = np.array([[rng.choice(len(characters), p=chances / chances.sum())]])
            states = self.carry(outputs)
            drawn.append(characters[int(number[0, 0])])
        return "".join(drawn)


def clip(gradients: Arrays, limit: float) -> float:
    """Scale all gradients together so that their norm is at most `limit`; gives the norm."""
    norm = float(np.sqrt(sum(np.vdot(g, g) for g in gradients.values())))
    if norm > limit:
        for g in gradients.values():
            g *= limit / norm
    return norm


@dataclass
class History:
    """Bits a character of every window."""

    bits: list[float] = field(default_factory=list)
    clipped: int = 0
    characters: int = 0
    seconds: float = 0.0

    def over(self, part: slice) -> float:
        return float(np.mean(self.bits[part]))


def train(model: Model, text: Text, args: argparse.Namespace, progress) -> History:
    """Gradient descent until the time is over."""
    history = History()
    memory = {n: np.full_like(w, 1e-8) for n, w in model.parameters.items()}
    batch = len(text.streams)
    states, start = model.start(batch), time.perf_counter()
    for numbers, targets, anew in text.windows(args.steps):
        if anew:
            states = model.start(batch)
        inputs = model.inputs(numbers, targets, states)
        outputs, saved = model.kernel.forward(model.parameters, inputs)
        # The kernel's loss is a sum over steps and sequences; its cotangent makes it a mean.
        # The last states get no cotangent: that is where BPTT is truncated.
        mean = np.asarray(1 / numbers.size, FLOAT)
        gradients = model.kernel.backward(model.parameters, inputs, saved, {"loss": mean})
        gradients = {n: gradients[n] for n in model.parameters}
        states = model.carry(outputs)
        history.clipped += clip(gradients, args.clip) > args.clip
        for n, g in gradients.items():
            memory[n] += g * g
            model.parameters[n] -= args.rate * g / np.sqrt(memory[n])
        history.bits.append(float(outputs["loss"]) / numbers.size / np.log(2))
        history.characters += numbers.size
        history.seconds = time.perf_counter() - start
        progress(history)
        if history.seconds >= args.seconds:
            return history
    raise RuntimeError("windows never end")


def options(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", type=Path, help="train on this file (UTF-8)")
    parser.add_argument("--system", choices=["char_lstm", "char_rnn"], default="char_lstm")
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16, help="streams read side by side")
    parser.add_argument("--steps", type=int, default=32, help="characters a window")
    parser.add_argument("--rate", type=float, default=0.1, help="learning rate of Adagrad")
    parser.add_argument("--clip", type=float, default=1.0, help="largest norm of the gradient")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to train")
    parser.add_argument("--sample", type=int, default=300, help="characters to write at the end")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> History:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    args = options(argv)
    try:
        source = help_texts() if args.text is None else args.text.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        sys.exit(f"error: cannot read {args.text}: {error}")
    if len(source) < 2 * args.batch * args.steps:
        sys.exit(f"error: {args.text} has {len(source)} characters; that is no window a stream")
    text = Text.cut(source, args.batch)
    model = Model(args.system, len(text.characters), args.units, args.seed)
    out = Console(highlight=False)
    weights = sum(w.size for w in model.parameters.values())
    out.print(
        f"{args.system}: {args.units} units, {weights:,} weights; {len(source):,} characters, "
        f"{len(text.characters)} different ones ({np.log2(len(text.characters)):.2f} bits)"
    )
    columns = (TextColumn("training"), BarColumn(), TextColumn("{task.description}"))
    marks = [args.seconds * k / 8 for k in range(1, 9)]
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task("", total=args.seconds)

        def progress(history: History) -> None:
            recent = history.over(slice(-20, None))
            bar.update(task, completed=history.seconds, description=f"{recent:.2f} bits/char")
            if len(history.bits) == 1 or (marks and history.seconds >= marks[0]):
                while marks and history.seconds >= marks[0]:
                    marks.pop(0)
                out.print(
                    f"{history.seconds:6.1f} s  window {len(history.bits):5}  loss "
                    f"{recent * np.log(2):.3f} nats  {recent:.3f} bits/char"
                )

        history = train(model, text, args, progress)
    rate = history.characters / history.seconds
    out.print(
        f"{history.over(slice(0, 1)):.2f} → {history.over(slice(-20, None)):.2f} bits/char, "
        f"{rate:,.0f} characters/s, {history.clipped} of {len(history.bits)} gradients clipped"
    )
    out.print("the network writes:")
    out.print(model.sample(text.characters, args.sample), markup=False)
    return history


if __name__ == "__main__":
    main()
