"""Long lines of generated code broken the way a formatter would."""

from __future__ import annotations

__all__ = ["WIDTH", "wrap"]

WIDTH = 100
_OPEN, _CLOSE = "([{", ")]}"
_OPERATORS = (" + ", " - ", " * ", " / ", " @ ")


def wrap(line: str) -> list[str]:
    """The line, or several of at most `WIDTH` columns as far as there is a place to break."""
    if len(line) <= WIDTH or line.lstrip().startswith("#"):
        return [line]
    indent = line[: len(line) - len(line.lstrip())]
    head, content, tail = _bracket(line)
    if not content:
        left, equals, right = line.partition(" = ")
        if not equals or not _pieces(right, _OPERATORS)[1:]:
            return [line]
        head, content, tail = f"{left} = (", right, ")"
    called, dot, method = head[:-1].rpartition(").")
    if len(head) > WIDTH and dot and method.isidentifier():
        # Of a call of a method of a call the inner one is broken.
        *lines, last = _arguments(*_bracket(f"{called})"), indent)
        return [*lines, f"{last}.{method}({content})"]
    return _arguments(head, content, tail, indent)


def _arguments(head: str, content: str, tail: str, indent: str) -> list[str]:
    """What stands between brackets on lines of its own."""
    inner = indent + "    "
    if len(inner + content) <= WIDTH:
        return [head, inner + content, indent + tail]
    parts = _pieces(content, (", ",))
    if len(parts) > 1:
        body = [inner + p.removesuffix(",") + "," for p in parts]
    else:
        body = [inner + p for p in _filled(_pieces(content, _OPERATORS), WIDTH - len(inner))]
    return [head, *(x for b in body for x in wrap(b)), indent + tail]


def _bracket(line: str) -> tuple[str, str, str]:
    """Split at the outermost bracket that ends the line: ``f(``, inside, ``)``."""
    if line[-1] not in _CLOSE:
        return line, "", ""
    depth = 0
    for i in range(len(line) - 1, -1, -1):
        depth += (line[i] in _CLOSE) - (line[i] in _OPEN)
        if depth == 0:
            before = line[:i].split(" = ")[-1]
            if _pieces(before, _OPERATORS)[1:]:
                return line, "", ""
            return line[: i + 1], line[i + 1 : -1], line[-1]
    return line, "", ""


def _pieces(text: str, separators: tuple[str, ...]) -> list[str]:
    """Split outside brackets and quotes; an operator stays in front of what follows it."""
    out, depth, start, quote = [], 0, 0, ""
    for i, c in enumerate(text):
        if quote:
            quote = "" if c == quote else quote
        elif c in "\"'":
            quote = c
        elif c in _OPEN:
            depth += 1
        elif c in _CLOSE:
            depth -= 1
        elif depth == 0 and i > start and any(text.startswith(s, i) for s in separators):
            out.append(text[start:i])
            start = i + 1
        elif depth == 0 and c == "," and ", " in separators:
            out.append(text[start : i + 1])
            start = i + 1
    return [p.strip() for p in [*out, text[start:]] if p.strip()]


def _filled(parts: list[str], width: int) -> list[str]:
    """Join neighbours while they fit."""
    out = [parts[0]]
    for p in parts[1:]:
        if len(out[-1]) + 1 + len(p) <= width:
            out[-1] += f" {p}"
        else:
            out.append(p)
    return out
