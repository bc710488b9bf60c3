"""Input sequences: texts, tables, random draws that do not depend on the order of asking."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gradcheck_rnn import Network, cell, cells
from gradcheck_rnn.dynamics.inputs import Given, OneHot, RandomInputs, from_file, loss_data
from gradcheck_rnn.dynamics.model_source import model_of
from gradcheck_rnn.errors import DimensionError, UsageError
from gradcheck_rnn.language import dot, tanh
from gradcheck_rnn.language.domains import parse_domain


def test_a_text_is_one_hot_with_the_next_character_as_target(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("abcab")
    made = from_file(path)
    assert made["x"].block(0, 4).argmax(axis=1).tolist() == [0, 1, 2, 0]
    assert made["target"].block(0, 4).argmax(axis=1).tolist() == [1, 2, 0, 1]
    assert made["x"].steps == 4
    assert made["x"].width == 3
    with pytest.raises(UsageError, match="3 different characters, the model's input has 2"):
        from_file(path, width=2)
    assert from_file(path, width=9)["x"].block(0, 1).shape == (1, 9)


def test_a_table(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("time,price\n1,5\n2,5\n3,5\n")
    made = from_file(path)
    rows = np.concatenate([made["x"].block(0, 2), made["target"].block(1, 2)])
    np.testing.assert_allclose(rows.mean(axis=0), 0.0, atol=1e-15)
    assert rows[:, 0].std() == pytest.approx(1.0)
    assert not rows[:, 1].any()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,2\n3\n", "a.csv:2: 1 columns, the rows before have 2"),
        ("1,2\n3,x\n", "a.csv:2: column 2 is 'x'"),
        ("1,2\n3,nan\n", "a.csv:2: column 2 is 'nan'"),
        ("a,b\n", "no rows of numbers"),
        ("1,2\n", "one row"),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=words):
        from_file(path)


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no input file"):
        from_file(tmp_path / "none.txt")
    with pytest.raises(UsageError, match=r"not '\.pdf'"):
        from_file(tmp_path / "a.pdf")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UsageError, match="at least two"):
        from_file(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8"):
        from_file(tmp_path / "b.txt")


def test_random_inputs_do_not_depend_on_how_they_are_asked_for() -> None:
    for domain in (None, parse_domain("one-hot", "x"), parse_domain("0/1", "x")):
        source = RandomInputs(3, seed=4, domain=domain)
        whole = source.block(0, 700)
        np.testing.assert_array_equal(whole[250:530], source.block(250, 530))
    above = parse_domain(">= 1", "x")
    assert (RandomInputs(2, domain=above).block(0, 50) >= 1.0).all()


def test_given_sequences_are_checked() -> None:
    with pytest.raises(DimensionError, match=r"\(T, d\)"):
        Given(np.zeros(3))
    with pytest.raises(UsageError, match="first at step 1"):
        Given(np.array([[0.0], [np.nan]]))


def test_an_embedding_that_came_with_the_weights_feeds_the_characters(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("abca")
    table = np.arange(10.0).reshape(5, 2)
    parameters = {"U": np.ones((3, 2)), "W": np.eye(3), "b_i": np.zeros(3)}
    model = model_of(
        cells.get("elman_hidden"),
        parameters=parameters,
        others={"embedding.weight": table},
        inputs=path,
    )
    np.testing.assert_array_equal(model.sources["x"].block(0, 3), table[[0, 1, 2]])


def test_a_text_sets_the_dims_and_the_targets_of_a_language_model(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("to be or not to be " * 10)
    model = model_of(cells.get("char_rnn"), inputs=path)
    assert model.sizes["v"] == 7
    assert isinstance(model.sources["target"], OneHot)
    with pytest.raises(UsageError, match="no input sequence"):
        model_of(cells.get("autonomous"), inputs=path)


def test_targets_are_what_only_the_loss_reads_whatever_they_are_called(tmp_path: Path) -> None:
    @cell(inputs="target: d", data="wanted: d", states="h: d", params="W: d d", outputs="h loss")
    def follower(h, target, wanted, W):
        h = tanh(W @ h + target)
        e = wanted - h
        loss = dot(e, e)
        return h, loss

    network = Network("follower")
    signal, wanted = network.input("target", "d"), network.input("wanted", "d", data=True)
    made = network.scan(follower, target=signal, wanted=wanted)
    network.loss(made.loss)
    network.output(h=made.h)
    assert loss_data(network) == ["wanted"]
    assert loss_data(cells.get("char_rnn")) == ["target"]
    assert loss_data(cells.get("elman_zoneout")) == []
    path = tmp_path / "a.txt"
    path.write_text("to be or not to be " * 10)
    sources = model_of(network, inputs=path).sources
    steps = [sources[n].block(0, 20).argmax(axis=1).tolist() for n in ("target", "wanted")]
    assert steps[0][1:] == steps[1][:-1]  # the next character is wanted
