"""The one place where rooms are wired; every door (shell, pytest, notebook) goes through it.

Rooms are imported inside the functions: what a caller does not use is not paid for.
"""

from .analysis import decay, report, report_plain
from .c_files import write_c
from .definitions import (
    Backend,
    Form,
    Format,
    Layout,
    catalogue,
    derive,
    generate,
    layers,
    load,
    names,
    prove,
    render,
)
from .equations import check_equations, write_note_report
from .exchange import judge_results, vectors, write_vectors
from .plans import verify_many
from .showing import describe_cell, layout_source, layouts
from .verification import Undecided, kernel_of, subject_of, verify

__all__ = [
    "Backend",
    "Form",
    "Format",
    "Layout",
    "Undecided",
    "catalogue",
    "check_equations",
    "decay",
    "derive",
    "describe_cell",
    "generate",
    "judge_results",
    "kernel_of",
    "layers",
    "layout_source",
    "layouts",
    "load",
    "names",
    "prove",
    "render",
    "report",
    "report_plain",
    "subject_of",
    "vectors",
    "verify",
    "verify_many",
    "write_c",
    "write_note_report",
    "write_vectors",
]
