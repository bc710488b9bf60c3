"""The documentation site: ``make docs`` builds it, without a network, into docs/_build/html."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))

import reference

from gradcheck_rnn import __version__

project = "gradcheck_rnn"
author = "The gradcheck_rnn developers"
project_copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "adr/template.md"]
html_theme = "furo"
html_title = "gradcheck_rnn"
highlight_language = "text"  # of blocks that name none, such as pictures in text
html_static_path = ["_static"]
html_css_files = ["phone.css"]
html_show_sphinx = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
# Pictures in mermaid are drawn where the repository is hosted, and shown as text here.
suppress_warnings = ["misc.highlighting_failure"]


def setup(app: Any) -> None:
    """Write the pages that are made from the code."""
    app.connect("builder-inited", lambda app: reference.write(Path(app.srcdir) / "reference"))
