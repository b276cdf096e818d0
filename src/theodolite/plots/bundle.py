"""How does plotly stand inside a page: compressed, and run only if its sum is the one that the page states?

A page holds :func:`packed_plotly` as a text of the kind ``text/plain`` with the id ``plotly``, then :func:`unpacker` as
a script, then a script of its own that awaits ``unpackPlotly()``; its policy is :func:`policy` of its scripts.
"""

import base64
import gzip
import hashlib
from functools import cache
from importlib.resources import files

from plotly.offline import get_plotlyjs


@cache
def packed_plotly() -> str:
    """Plotly's code, compressed, as text that nothing in HTML needs to escape.

    Returns:
        Base64 of gzip. The same plotly gives the same text.

    Cost: 1.9 MB instead of 4.8 MB in the page; a third of a second, once.
    Limits: browsers unpack it since 2023.
    """
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


@cache
def unpacker() -> str:
    """The script that defines ``unpackPlotly()``, which unpacks plotly and runs it.

    Returns:
        JavaScript, to stand between the tags of a script as it is.
    """
    return files("theodolite.plots").joinpath("unpack.js").read_text(encoding="utf-8").strip()


def policy(*scripts: str) -> str:
    """A content security policy: plotly, its unpacker and these scripts run, no other, and nothing is loaded.

    Args:
        scripts: What stands between the tags of the other scripts of the page, to the byte.

    Returns:
        The content of the policy's ``meta`` element.
    """
    sums = [_sum(get_plotlyjs()), *map(_sum, (unpacker(), *scripts))]
    return (
        f"default-src 'none'; script-src {' '.join(sums)}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _sum(script: str) -> str:
    """The name of a script in a policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
