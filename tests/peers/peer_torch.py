"""Layers of torch.nn, with all their options, against the cells of the zoo."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gradcheck_rnn import Layout, Network, cell, check_model, layers, load
from gradcheck_rnn.language import name
from gradcheck_rnn.verify.harness.ready import definition, ready

MODULES = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"bias": False},
    {"batch_first": True},
    {"num_layers": 2},
    {"bidirectional": True},
    {"num_layers": 2, "bidirectional": True, "bias": False, "batch_first": True},
]


def words(kind: str, options: dict[str, Any]) -> str:
    return " ".join([f"pytorch {kind}", *(f"{n}={v}" for n, v in options.items())])


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: " ".join(o) or "plain")
@pytest.mark.parametrize("kind", list(MODULES))
def test_options_of_layers(kind: str, options: dict[str, Any]) -> None:
    name = words(kind, options)
    shape = {n: v for n, v in options.items() if n in ("num_layers", "bidirectional")}
    target = layers(definition(name), **shape) if shape else load(definition(name))
    report = check_model(target, module=MODULES[kind](2, 3, **options), layout=name, plan="point")
    assert report.passed, str(report)


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}])
def test_projections(options: dict[str, Any]) -> None:
    name = words("lstm", {"projected": True, **options})
    target = layers("lstm_projected", **options) if options else load("lstm_projected")
    module = torch.nn.LSTM(2, 4, proj_size=3, **options)
    report = check_model(target, module=module, layout=name, plan="point")
    assert report.passed, str(report)


@cell(inputs="h: p", data="m: 1", outputs="y")
def shown(h: Any, m: Any) -> Any:
    """Zeros where a sequence has ended."""
    return name(m * h, "y")


def padded(kind: str, reverse: bool) -> tuple[Network, Layout]:
    """A layer over packed sequences: states are held, outputs are zeros, where the mask is 0."""
    known = f"pytorch {kind}"
    network = Network(f"packed_{kind}", "a layer over packed sequences", "")
    x, mask = network.input("x", "d"), network.input("m", "1", data=True, domain="0/1")
    made = network.scan(load(definition(known)).scans[0].cell, x=x, mask=mask, reverse=reverse)
    network.output(network.scan(shown, h=made.h, m=mask).y)
    network.output(*(made.final(s) for s in (["h", "c"] if kind == "lstm" else ["h"])))
    plain = ready(known)
    layout = Layout(
        plain.parameters,
        {**plain.inputs, "mask": "m: T B"},
        {**plain.outputs, "output": "y: T B n"},
    )
    return network, layout


def flipped(x: Any, lengths: Any) -> Any:
    """Each sequence turned around within its own steps."""
    columns = [torch.cat([x[:n, b].flip(0), x[n:, b]]) for b, n in enumerate(lengths.tolist())]
    return torch.stack(columns, 1)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", list(MODULES))
def test_packed_sequences(kind: str, reverse: bool) -> None:
    network, layout = padded(kind, reverse)

    def run(input: Any, h_0: Any, mask: Any, c_0: Any = None, **weights: Any) -> Any:  # noqa: A002
        module = MODULES[kind](2, 3).to(input.dtype)
        # steps that count come first in each sequence, as packing wants; empty ones are held
        order = torch.argsort(1 - mask, dim=0, stable=True)
        lengths = mask.sum(0).long()
        some = lengths > 0
        states = [h_0] if c_0 is None else [h_0, c_0]
        out, ends = (
            torch.zeros_like(input[..., :1]).expand(*mask.shape, 3),
            [s.clone() for s in states],
        )
        if some.any():
            front = torch.gather(input, 0, order[..., None].expand_as(input))[:, some]
            if reverse:  # torch runs each sequence by itself
                front = flipped(front, lengths[some])
            packed = torch.nn.utils.rnn.pack_padded_sequence(
                front, lengths[some], enforce_sorted=False
            )
            own = tuple(s[:, some] for s in states)
            found, last = torch.func.functional_call(
                module, weights, (packed, own if c_0 is not None else own[0])
            )
            back, _ = torch.nn.utils.rnn.pad_packed_sequence(found, total_length=len(input))
            if reverse:
                back = flipped(back, lengths[some])
            whole = torch.zeros(*mask.shape, 3, dtype=input.dtype).index_copy(
                1, torch.nonzero(some)[:, 0], back
            )
            out = torch.zeros_like(whole).scatter(0, order[..., None].expand_as(whole), whole)
            last = last if c_0 is not None else (last,)
            ends = [
                s.index_copy(1, torch.nonzero(some)[:, 0], e)
                for s, e in zip(states, last, strict=True)
            ]
        return (out, *ends)

    names = [*layout.inputs, *layout.parameters]
    source = f"lambda {', '.join(names)}: run({', '.join(f'{n}={n}' for n in names)})"
    report = check_model(
        network, module=eval(source, {"run": run}), layout=layout, shapes={"d": 2, "p": 3},
        plan="point",
    )  # fmt: skip
    assert report.passed, str(report)
