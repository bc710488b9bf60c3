"""Training with generated kernels: the loss falls, and the parts do what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from examples import train_chars
from examples.train_chars import Model, Text, clip

RHYME = "row, row, row your boat, gently down the stream. " * 40


@pytest.mark.parametrize("system", ["char_lstm", "char_rnn"])
def test_the_loss_falls_on_a_text_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], system: str
) -> None:
    path = tmp_path / "rhyme.txt"
    path.write_text(RHYME, encoding="utf-8")
    history = train_chars.main(
        ["--text", str(path), "--system", system, "--units", "24", "--batch", "4", "--steps", "16",
         "--seconds", "1.5", "--sample", "40"]
    )  # fmt: skip
    distinct = len(set(RHYME))
    assert history.over(slice(0, 1)) == pytest.approx(np.log2(distinct), rel=0.2)
    assert history.over(slice(-20, None)) < 0.5 * np.log2(distinct)
    out = capsys.readouterr().out
    assert f"{distinct} different ones" in out
    assert len(out.partition("the network writes:\n")[2].rstrip("\n").replace("\n", "")) <= 40


def test_windows_follow_each_other_in_every_stream() -> None:
    text = Text.cut("abcdefghijklmnopqrstuvwxyz", 2)
    windows = text.windows(4)
    numbers, targets, anew = next(windows)
    assert anew
    letters = np.array(text.characters)
    assert ["".join(row) for row in letters[numbers].T] == ["abcd", "nopq"]
    assert ["".join(row) for row in letters[targets].T] == ["bcde", "opqr"]
    numbers, _, anew = next(windows)
    assert not anew
    assert ["".join(row) for row in letters[numbers].T] == ["efgh", "rstu"]


def test_states_are_carried_and_forget_gates_start_open() -> None:
    model = Model("char_lstm", vocabulary=5, units=3)
    assert np.all(model.parameters["b_f"] == 1)
    assert not np.any(model.parameters["b_i"])
    numbers = np.array([[1, 2], [3, 4], [0, 1]])
    outputs, _ = model.kernel.forward(
        model.parameters, model.inputs(numbers, numbers, model.start(2))
    )
    carried = model.carry(outputs)
    assert sorted(carried) == ["c0", "h0"]
    assert np.array_equal(carried["c0"], outputs["c_final"])
    assert carried["h0"].dtype == np.float32


def test_clipping_keeps_the_direction() -> None:
    gradients = {"a": np.array([3.0, 0.0]), "b": np.array([[4.0]])}
    assert clip(gradients, 10.0) == 5.0
    assert gradients["a"][0] == 3.0
    assert clip(gradients, 1.0) == 5.0
    assert gradients["a"][0] == pytest.approx(0.6)
    assert gradients["b"][0, 0] == pytest.approx(0.8)


def test_a_text_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="cannot read"):
        train_chars.main(["--text", str(tmp_path / "nothing.txt")])
    (tmp_path / "short.txt").write_text("too short", encoding="utf-8")
    with pytest.raises(SystemExit, match="9 characters"):
        train_chars.main(["--text", str(tmp_path / "short.txt")])


def test_the_default_text_is_english_and_large() -> None:
    text = train_chars.help_texts()
    assert len(text) > 200_000
    assert text.count(" the ") > 1000
