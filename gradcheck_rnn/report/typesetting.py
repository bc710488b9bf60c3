"""From a manuscript to a file: typst compiles one source to HTML or to PDF, in memory."""

from __future__ import annotations

import contextlib
import os
import tempfile
from importlib import resources
from pathlib import Path

from ..errors import UsageError
from .manuscript import Manuscript

__all__ = ["SUFFIXES", "check_output", "compiled", "need_extra", "write"]

SUFFIXES = (".html", ".pdf", ".typ")
_EXTRA = "reports need typst and matplotlib: pip install 'gradcheck-rnn[report]'"


def need_extra() -> None:
    """Raise UsageError, with what to install, where the packages for reports are missing."""
    from importlib.util import find_spec

    if find_spec("typst") is None or find_spec("matplotlib") is None:
        raise UsageError(_EXTRA)


def check_output(path: str | os.PathLike[str]) -> Path:
    """Say before any work that a report cannot be written there.

    Raises
    ------
    UsageError
        Another suffix, a folder, a folder that is missing or write-protected.
    """
    out = Path(path)
    if out.suffix.lower() not in SUFFIXES:
        known = ", ".join(SUFFIXES[:-1]) + f" or {SUFFIXES[-1]}"
        found = f"the suffix is {out.suffix!r}" if out.suffix else "it has no suffix"
        raise UsageError(f"cannot write a report to {out}: {found}, give {known}")
    if out.is_dir():
        raise UsageError(f"cannot write {out}: it is a folder; give a file name")
    folder = out.resolve().parent
    if not folder.is_dir():
        raise UsageError(f"cannot write {out}: there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK) or (out.exists() and not os.access(out, os.W_OK)):
        raise UsageError(f"cannot write {out}: permission denied")
    return out


def compiled(manuscript: Manuscript, kind: str) -> bytes:
    """The document as ``html`` or ``pdf``; ``typ`` is the source with its style in front.

    Raises
    ------
    UsageError
        The packages for reports are not installed.
    """
    style = _asset("house.typ")
    if kind == "typ":
        body = manuscript.source().partition("\n")[2]
        return f"{style}\n{body}".encode()
    try:
        import typst
    except ImportError as error:
        raise UsageError(_EXTRA) from error
    files = {
        "main.typ": manuscript.source().encode(),
        "house.typ": style.encode(),
        **manuscript.files,
    }
    # Without a time stamp equal reports are equal files.
    made: bytes = typst.compile(files, format=kind, ignore_system_fonts=True, timestamp=0)
    return made if kind == "pdf" else _dressed(made.decode()).encode()


#: Combining accents as typst writes them, and the spacing ones that browsers centre.
_ACCENTS = {"\u0303": "~", "\u0302": "^", "\u0304": "\u00af", "\u0307": "\u02d9"}


def _dressed(html: str) -> str:
    """Accents that stand above their letter, and our style sheet in the head."""
    for combining, spacing in _ACCENTS.items():
        html = html.replace(f"<mo>{combining}</mo>", f'<mo stretchy="false">{spacing}</mo>')
    html = html.replace("0.2222222222222222em", "0.22em").replace("0.2777777777777778em", "0.28em")
    return html.replace("</head>", f"<style>{_asset('house.css')}</style></head>", 1)


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def write(manuscript: Manuscript, path: str | os.PathLike[str]) -> Path:
    """Compile and write in one step: the file is whole or as it was.

    Raises
    ------
    UsageError
        As `check_output`, and where the system refuses to write.
    """
    out = check_output(path)
    content = compiled(manuscript, out.suffix.lower()[1:])
    target = Path(os.path.realpath(out))
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    return out
