"""Definitions and names as a reader should see them: no constants of our files, no tags."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from typing import Any

from ..language.cell import Cell

__all__ = ["definition_of", "labelled", "titled"]

#: Names of systems are lower case; these words are not.
_WORDS = {
    word.lower(): word
    for word in (
        "LSTM", "GRU", "MGU", "RNN", "ELMo", "IndRNN", "sLSTM", "mLSTM", "Elman", "QRNN", "SRU",
        "LRU", "S4D", "HGRN2", "coRNN", "LTC", "CfC", "NTM", "Householder", "Titans",
    )
} | {
    "rwkv4": "RWKV-4", "rwkv6": "RWKV-6", "rwkv7": "RWKV-7", "mamba2": "Mamba-2",
    "lif": "Leaky integrate-and-fire",
}  # fmt: skip
#: Names that are not written word by word.
_NAMES = {
    "gru_d": "GRU-D", "min_gru": "minGRU", "min_lstm": "minLSTM", "rg_lru": "RG-LRU",
    "delta_net": "DeltaNet", "gated_delta_net": "Gated DeltaNet",
}  # fmt: skip
_WIDTH = 76
_TOOLS = re.compile(r"\s*# (?:fmt|noqa|type|ruff|pragma)\b.*$")


def titled(name: str) -> str:
    """``lstm_layer_norm`` as ``LSTM layer norm``; names that are not the zoo's stay as they are.

    What follows a comma or a colon (the file of weights, a scan) is left alone.
    """
    head = re.split(r"[,:]", name, maxsplit=1)[0]
    rest = name[len(head) :]
    if head in _NAMES:
        return _NAMES[head] + rest
    if not re.fullmatch(r"[a-z][a-z0-9_]*", head):
        return name
    words = [_WORDS.get(word, word) for word in head.split("_")]
    if words[0] == words[0].lower():
        words[0] = words[0].capitalize()
    return " ".join(words) + rest


def labelled(name: str) -> str:
    """A label of a comparison: `titled` where it is a cell's name, else as its author wrote it."""
    head = re.split(r"[,:]", name, maxsplit=1)[0]
    return titled(name) if any(word in _WORDS for word in head.split("_")) else name


def definition_of(cell: Cell) -> str:
    """The Python source of a cell, with the values of what its declaration refers to.

    Parameters
    ----------
    cell : Cell
        Of the zoo or of a user.

    Returns
    -------
    str
        Decorator and function, without citation and docstring, which the report gives as text;
        empty where there is no file, as in an interactive session.
    """
    function = inspect.unwrap(cell.function)
    try:
        text = textwrap.dedent(inspect.getsource(function))
        tree = ast.parse(text).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return ""
    if not isinstance(tree, ast.FunctionDef):
        return ""
    known = {**function.__globals__, **inspect.getclosurevars(function).nonlocals}
    head = [line for d in tree.decorator_list for line in _decorator(d, known, text)]
    lines = [_TOOLS.sub("", line) for line in text.splitlines()]
    first, body = tree.lineno - 1, tree.body
    if ast.get_docstring(tree) is not None and len(body) > 1:
        signature = lines[first : body[0].lineno - 1]
        return "\n".join([*head, *signature, *lines[body[0].end_lineno or 0 :]]).rstrip()
    return "\n".join([*head, *lines[first:]]).rstrip()


def _decorator(node: ast.expr, known: dict[str, Any], source: str) -> list[str]:
    if not isinstance(node, ast.Call):
        return [f"@{ast.unparse(node)}"]
    words = [ast.unparse(a) for a in node.args]
    for k in node.keywords:
        if k.arg in ("source", "what", "name"):
            continue
        words.append(f"{k.arg}={_value(k.value, known, source)}")
    one = f"@{ast.unparse(node.func)}({', '.join(words)})"
    if len(one) <= _WIDTH and "\n" not in one:
        return [one]
    inner = [f"    {line}" for word in words for line in f"{word},".split("\n")]
    return [f"@{ast.unparse(node.func)}(", *inner, ")"]


def _value(node: ast.expr, known: dict[str, Any], source: str) -> str:
    """A keyword's text; a reference to a string becomes the string, cut where it is long."""
    text = ast.get_source_segment(source, node) or ast.unparse(node)
    try:
        found = eval(compile(ast.Expression(node), "<declaration>", "eval"), dict(known))
    except Exception:  # refers to what only existed while it was declared
        return text
    if not isinstance(found, str):
        return text
    if len(found) <= _WIDTH - 16:
        return _quoted(found)
    parts = [p + "; " for p in found.split("; ")]
    parts[-1] = parts[-1][:-2]
    rows, row = [], ""
    for part in parts:
        if row and len(row) + len(part) > _WIDTH - 16:
            rows.append(row)
            row = ""
        row += part
    body = "\n".join(f"    {_quoted(r)}" for r in (*rows, row))
    return f"(\n{body}\n)"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
