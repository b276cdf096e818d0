"""The synthetic runs and one page, made once; a browser that may not load anything."""

import pytest

import synthetic
from theodolite.pages import report
from theodolite.records.run import Run


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    return {kind: Run(write(folder / kind)) for kind, write in synthetic.KINDS.items()}


@pytest.fixture(scope="session")
def page(runs, tmp_path_factory):
    """The file of a full page."""
    return report(runs["stuck"], tmp_path_factory.mktemp("pages") / "stuck.html", diagnosis=synthetic.diagnosis())
