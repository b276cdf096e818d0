"""The synthetic runs, one of each kind for the whole session."""

import pytest

import synthetic
from theodolite.records.run import Run


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    return {kind: Run(write(folder / kind)) for kind, write in synthetic.KINDS.items()}
