"""The whole tool in under a minute; `make demo` runs it.

Every step is a command as it would be typed, run in this process, and every step has an expected
exit code: the broken gradient is expected to fail. The demonstration ends with 0 when all went as
expected and with 1 otherwise.
"""

from __future__ import annotations

import argparse
import difflib
import os
import shlex
import sys
import time
from pathlib import Path

from examples import train_chars
from gradcheck_rnn.cli import main as run_command

HERE = Path(__file__).resolve().parent
HAND_WRITTEN = ("char_rnn.py", "lstm_caches.py", "batched_gru.py")
#: The slip: the gradient that runs back along the memory forgets to pass the forget gate.
RIGHT, WRONG = "    dprev_c = dc * f\n", "    dprev_c = dc\n"


class Demo:
    """Runs the steps and remembers what did not go as expected."""

    def __init__(self, folder: Path) -> None:
        from rich.console import Console

        self.folder = folder
        self.out = Console(highlight=False)
        self.surprises: list[str] = []
        self.steps = 0

    def title(self, text: str) -> None:
        self.steps += 1
        self.out.print()
        self.out.rule(f"[bold]{self.steps}. {text}", align="left")

    def say(self, text: str) -> None:
        self.out.print(text, markup=False, soft_wrap=True)

    def command(self, *words: str, expected: int = 0) -> None:
        """Run a command of the tool and compare its exit code."""
        line = shlex.join(["gradcheck-rnn", *words])
        self.out.print(f"[bold]$ {line}", soft_wrap=True)
        start = time.perf_counter()
        code = run_command(words)
        sys.stdout.flush()
        self.say(f"(exit code {code}, {time.perf_counter() - start:.1f} s)\n")
        self.expect(code == expected, f"{line}: exit code {code}, expected {expected}")

    def expect(self, fulfilled: bool, otherwise: str) -> None:
        if not fulfilled:
            self.surprises.append(otherwise)

    def path(self, path: Path) -> str:
        """A path as one would type it here."""
        near = os.path.relpath(path)
        return str(path) if near.startswith(os.pardir) else near


def derive_and_generate(demo: Demo) -> str:
    demo.title("An LSTM, from its definition to BPTT")
    demo.command("derive", "lstm")
    demo.title("The same as a NumPy module")
    kernel = demo.folder / "lstm_kernel.py"
    demo.command("generate", "lstm", "-o", demo.path(kernel))
    if kernel.is_file():
        text = kernel.read_text(encoding="utf-8")
        imports = sorted({w.split()[1] for w in text.splitlines() if w.startswith("import ")})
        demo.say(f"{demo.path(kernel)}: {len(text.splitlines())} lines, imports {imports}")
    demo.title("Is the generated gradient that of the definition?")
    demo.say(
        "Finite differences of the definition, which know their own error, against the module;\n"
        "each output has its cotangent alone, the last states included."
    )
    demo.command("verify", demo.path(kernel))
    return demo.path(kernel)


def verify_by_hand(demo: Demo) -> None:
    demo.title("Gradients written by hand")
    for name in HAND_WRITTEN:
        demo.command("verify", demo.path(HERE / name))


def break_one(demo: Demo) -> str:
    """Write a copy of an example with one wrong line and verify that."""
    demo.title("One of them broken on purpose, and the wrong term named")
    good = (HERE / "lstm_caches.py").read_text(encoding="utf-8")
    if good.count(RIGHT) != 1:
        raise RuntimeError("examples/lstm_caches.py has changed: the line to break is not there")
    bad = demo.folder / "broken_lstm.py"
    bad.write_text(good.replace(RIGHT, WRONG), encoding="utf-8")
    diff = difflib.unified_diff(
        good.splitlines(), bad.read_text(encoding="utf-8").splitlines(),
        "examples/lstm_caches.py", demo.path(bad), lineterm="", n=1,
    )  # fmt: skip
    demo.say("\n".join(diff))
    demo.command("verify", demo.path(bad), expected=1)
    return demo.path(bad)


def train(demo: Demo, seconds: float) -> None:
    demo.title("A character-level LSTM trained with a generated kernel")
    demo.out.print(f"[bold]$ python -m examples.train_chars --seconds {seconds:g}")
    history = train_chars.main(["--seconds", f"{seconds:g}"])
    first, last = history.over(slice(0, 1)), history.over(slice(-20, None))
    demo.expect(last < 0.75 * first, f"the loss fell from {first:.2f} to {last:.2f} bits only")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to train")
    parser.add_argument("--folder", type=Path, default=HERE.parent / "demo_output")
    args = parser.parse_args(argv)
    args.folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    demo = Demo(args.folder)
    kernel = derive_and_generate(demo)
    verify_by_hand(demo)
    broken = break_one(demo)
    train(demo, args.seconds)
    demo.title("What to look at")
    demo.say(
        f"{kernel}: the generated module, its equations in the docstring\n"
        f"{broken}: the broken gradient; mend the line and verify it again\n"
        f"{demo.path(HERE)}/: the gradients written by hand; each ends with its gradient case\n"
        "derivations/: the derived equations of every system\n"
        "\n"
        "gradcheck-rnn cells                              the systems there are\n"
        "gradcheck-rnn derive gru --steps                 every rule applied, with its source\n"
        "gradcheck-rnn derive elman --form kronecker      vec and Kronecker Jacobians\n"
        "gradcheck-rnn prove lstm                         proved, entry by entry\n"
        "gradcheck-rnn verify your_file.py                your own loss and gradient\n"
        "python -m examples.train_chars --text your.txt --seconds 600"
    )
    for surprise in demo.surprises:
        demo.out.print(f"not as expected: {surprise}", style="bold red", markup=False)
    verdict = "not all as expected" if demo.surprises else "all as expected"
    demo.say(f"\n{verdict}, {time.perf_counter() - start:.0f} s")
    return 1 if demo.surprises else 0


if __name__ == "__main__":
    sys.exit(main())
