"""Kernels are written in the forms that are fast: what their texts must and must not have."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest

from gradcheck_rnn import api
from gradcheck_rnn.codegen.backends.c import print_files
from gradcheck_rnn.codegen.backends.expressions import number_text
from gradcheck_rnn.derivation import derive


def loop(text: str, function: str) -> str:
    """The lines of the innermost loop over steps of a function of a NumPy module."""
    body = text.split(f"def {function}(")[1]
    start = re.search(r"^( *)for t in .*\n", body, re.M)
    assert start is not None
    inside = re.match(rf"(?:{start[1]}    .*\n)*", body[start.end() :])
    assert inside is not None
    return inside[0]


def test_sums_over_units_are_products_of_matrices() -> None:
    text = api.generate("lstm_layer_norm", "numpy")
    assert "np.sum(" not in text
    assert loop(text, "forward").count("row_dots(") == loop(text, "backward").count("row_dots(")
    assert loop(text, "forward").count(", ones_") == loop(text, "backward").count(", ones_") == 2


def test_a_loop_divides_by_nothing_that_it_does_not_change() -> None:
    """What is left are means, by a number, of what the loop makes."""
    divided = re.findall(r"(?:np\.divide\(.*?, | /= )(\S+)", loop(
        api.generate("lstm_layer_norm", "numpy"), "backward"
    ))  # fmt: skip
    assert divided
    assert {d.strip("(),") for d in divided} == {"p", "4"}


@pytest.mark.parametrize("name", ["linear_attention", "delta_net", "multihead_retention"])
def test_a_matrix_times_a_vector_goes_to_the_blas(name: str) -> None:
    text = api.generate(name, "numpy")
    assert not re.search(r'einsum\(\s*"t?bh?(?:ij|ji),t?bh?j->', text)
    assert "[..., None, :]" in text


def test_blocks_have_fewer_rows_where_they_have_more_arrays() -> None:
    rows = [int(re.findall(r"^ROWS = (\d+)", api.generate(n, "numpy"), re.M)[0])
            for n in ("lstm", "lstm_layer_norm")]  # fmt: skip
    assert rows == [512, 128]


@pytest.mark.parametrize("name", ["lstm_layer_norm", "linear_attention", "ntm_head"])
def test_sums_in_c_are_made_in_vectors(name: str) -> None:
    text = print_files(derive(api.load(name)))[f"{name}.c"]
    lines = text.split("\n")
    found = (re.match(r" *(total\w*) \+=", line) for line in lines)
    adding = [(i, m[1]) for i, m in enumerate(found) if m]
    assert adding
    for i, total in adding:
        innermost = next(k for k in range(i, 0, -1) if "for (" in lines[k])
        assert re.fullmatch(rf" *LANES_ADD\((.*, )?{total}(, .*)?\)", lines[innermost - 1])


def test_c_makes_in_the_loop_what_one_step_needs() -> None:
    """All steps have what forward saves and what products over all steps read; no adjoint does."""
    text = print_files(derive(api.load("lstm_layer_norm")))["lstm_layer_norm.c"]
    body = text.split("int NAME(backward)(")[1].split("NAME(workspace)")[0]
    held = dict(re.findall(r"\*const (\w+) = take\(&next, (.*)\);", body))
    timed = {n for n, count in held.items() if "T" in count and "4 * p" in count}
    assert timed == {"centred", "centred_1", "d_s_h", "d_s_x"}
    assert held["d_h_2"] == held["d_c_2"] == "2 * B * p"  # adjoints of two steps
    assert held["d_a"] == "4 * p"  # of one row


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(-(10**30)), "-1e+30"), (Fraction(7), "7"), (Fraction(2**53 + 1), str(2**53 + 1)),
        (Fraction(1, 10**5), "1e-05"), (Fraction(1, 3), "1 / 3"),
    ],
)  # fmt: skip
def test_numbers_are_printed_as_arrays_hold_them(value: Fraction, text: str) -> None:
    assert number_text(value) == text
    assert "/" in text or float(text) == float(value)
