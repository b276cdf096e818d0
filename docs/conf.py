"""How the documents are built: Markdown pages, and the reference from the docstrings of the public names."""

import re
import sys
from importlib.metadata import version as _version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for formulas

project = "Theodolite"
author = "The Theodolite authors"
copyright = "2026, the Theodolite authors"
version = release = _version("theodolite")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "formulas"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes of a dataclass are described once, in its docstring
napoleon_custom_sections = ["Cost", "Limits", "Source"]

html_theme = "furo"
html_title = "Theodolite"

_LITERAL = re.compile(r"(``.*?``)")


def _keep_bars(app, what, name, obj, options, lines):
    """Let |λ| be a modulus: in reStructuredText the bars would name a substitution. Code is left as it is."""
    for number, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            parts = _LITERAL.split(line)
            lines[number] = "".join(part if part.startswith("``") else part.replace("|", r"\|") for part in parts)


def setup(app):
    """Run before napoleon reads the sections."""
    app.connect("autodoc-process-docstring", _keep_bars, priority=400)
