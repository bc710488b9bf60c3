"""Verdicts as workflow commands of GitHub Actions, so that a failure shows beside its line.

Source: "Workflow commands for GitHub Actions", setting an error or warning message.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..notebook import file_of

__all__ = ["annotation", "misuse", "on_github"]

#: An annotation is read in a narrow box; the whole report is in the log.
MOST_ROWS = 6
#: What a message about a file begins with.
PLACE = re.compile(r"(?P<file>[^:\n]+\.(?:py|ipynb)):(?P<line>\d+): ")


def on_github(asked: bool | None = None) -> bool:
    """Whether to write annotations: as asked, or else inside a workflow run."""
    return os.environ.get("GITHUB_ACTIONS") == "true" if asked is None else asked


def annotation(
    report: Mapping[str, Any], *, file: str | None = None, line: int | None = None,
    warn: bool = False, replay: str = "",
) -> str | None:  # fmt: skip
    """The workflow command for a report that did not pass.

    Parameters
    ----------
    report : mapping
        `Report.to_json()`; plain data, because reports come from other processes too.
    file, line : str, int, optional
        Where the annotation is shown; relative to the workspace, or to the repository, where it
        lies inside. Without a line that is looked for in what the report says of the file.
    warn : bool
        Whether an undecided report is a warning only.
    replay : str, optional
        The command that repeats the check.

    Returns
    -------
    str or None
        One line, ``::error file=…,line=…,title=…::message``; None for a report that passed.
    """
    verdict = report["verdict"]
    if verdict == "pass":
        return None
    bad = [row for row in report["rows"] if row["verdict"] != "pass"]
    wrong = [_line(line) for line in report.get("lines", ()) if line["verdict"] == "wrong"][:1]
    sentence = report.get("sentence", "")
    told = wrong or [sentence] * bool(sentence)
    if len(bad) > 1 or not sentence:  # of one row it says all
        told += [f"{row['name']}: {_said(row)}" for row in bad[:MOST_ROWS]]
    if len(bad) > MOST_ROWS:
        told.append(f"… and {len(bad) - MOST_ROWS} more")
    told += [f["message"] for f in report["findings"] if f["fatal"] and f["message"] != sentence]
    told += [f"repeat: {replay}"] * bool(replay)
    if line is None and told and (found := PLACE.match(told[0])) and found["file"] == file:
        line = int(found["line"])
    place: dict[str, Any] = {"file": None if file is None else _relative(file), "line": line}
    if file is not None and file_of(file) != file:  # lines of a cell are not those of its notebook
        told.append(f"in {_relative(file)}, line {line}")
        place = {"file": _relative(file_of(file)), "line": None}
    place["title"] = f"{report['title']}: gradient {verdict}"
    level = "warning" if verdict == "undecided" and warn else "error"
    return _command(level, place, "\n".join(told))


def misuse(message: str) -> str:
    """The workflow command for what could not be checked at all, such as a file with an error.

    Parameters
    ----------
    message : str
        As on stderr; a file and a line that it begins with are where the annotation is shown.
    """
    found = PLACE.match(message)
    place = {"file": _relative(found["file"]), "line": found["line"]} if found else {}
    return _command("error", {**place, "title": "gradcheck-rnn"}, message)


def _command(level: str, place: Mapping[str, Any], text: str) -> str:
    properties = ",".join(f"{k}={_property(str(v))}" for k, v in place.items() if v is not None)
    return f"::{level} {properties}::{_message(text)}"


def _said(row: Mapping[str, Any]) -> str:
    if row["reason"]:
        return str(row["reason"])
    ratio = "" if row["ratio"] is None else f", error ÷ bound {row['ratio']:.2g}"
    return f"{row['verdict']} at {row['worst']}{ratio}"


def _line(line: Mapping[str, Any]) -> str:
    """The first wrong line of a backward pass that hands its adjoints over."""
    at = f" (first at t = {line['first_step']})" if line["first_step"] else ""
    here = line["mistake"] or line["fit"]
    return f"{line['name']} is wrong{at}: the line is {line['derived']}; here: {here}"


def _relative(file: str) -> str:
    """As the workflow knows it: from the workspace, or else from the repository."""
    path = Path(file).resolve()
    workspace = os.environ.get("GITHUB_WORKSPACE", "")
    roots = [Path(workspace).resolve()] if workspace else []
    roots += [folder for folder in path.parents if (folder / ".git").exists()][:1]
    for root in [*roots, Path.cwd()]:
        if path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return file


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
