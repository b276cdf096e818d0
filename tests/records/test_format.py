"""The contract on disk: the page in the docs, the schema in the code, and what readers do with other versions."""

import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from theodolite.errors import RunError
from theodolite.records import Run, RunWriter, schema

PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")


def change(folder, *statements):
    connection = sqlite3.connect(folder / "run.db")
    for statement, *values in statements:
        connection.execute(statement, values)
    connection.commit()
    connection.close()


@pytest.fixture
def folder(tmp_path):
    with RunWriter(tmp_path / "first") as writer:
        writer.scalars(1, {"loss": 1.0})
    return tmp_path / "first"


def test_the_program_on_the_page_writes_a_run(tmp_path):
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(program.strip().splitlines()) <= 30
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "first")], check=True)
    run = Run(tmp_path / "first")
    assert run.num_steps == 100
    assert run.is_complete
    assert not run.is_live
    assert run.series("loss").values.tolist() == [2.0 / step for step in range(1, 101)]
    assert run.series("learning_rate").values.tolist() == [0.1] * 100
    assert len(run.series("validation_loss")) == 0
    RunWriter(tmp_path / "first").close()
    assert Run(tmp_path / "first.1").num_steps == 100


def test_the_page_lists_the_series_of_the_schema():
    section = PAGE.split("## Series")[1].split("Arrays by step")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    listed = [(name, row[1], row[2]) for row in rows for name in re.findall(r"`(\w+)`", row[0])]
    assert listed == [(quantity.name, quantity.unit, quantity.when) for quantity in schema.SERIES]


def test_the_page_lists_the_tables_and_columns():
    section = PAGE.split("## Tables")[1].split("All seven tables")[0]
    for table, columns in schema.TABLES.items():
        assert f"| `{table}` |" in section
        text = section.split(f"| `{table}` |")[1].split("\n| `")[0]
        for column in columns.split(", "):
            assert f"`{column.split()[0]}`" in text, (table, column)


def test_the_page_names_arrays_events_and_version():
    for name in (*schema.ARRAY_NAMES, *schema.EVENT_KINDS):
        assert f"`{name}`" in PAGE
    assert f"version {schema.FORMAT[0]}.{schema.FORMAT[1]}" in PAGE.splitlines()[0]


def test_a_newer_minor_version_is_read(folder):
    change(
        folder,
        ("UPDATE metadata SET value = ? WHERE key = 'format'", '{"major": 1, "minor": 7, "patch": 2}'),
        ("CREATE TABLE holograms (id INTEGER)",),
        ("ALTER TABLE scalars ADD COLUMN device TEXT",),
        ("INSERT INTO events VALUES (9, 1, 0.0, 'teleported', '{}')",),
    )
    assert Run(folder).series("loss").values.tolist() == [1.0]
    assert Run(folder).events()[0].kind == "teleported"


def test_a_newer_major_version_is_refused(folder):
    change(folder, ("UPDATE metadata SET value = ? WHERE key = 'format'", '{"major": 2, "minor": 0}'))
    with pytest.raises(RunError, match=r"has 2.*newer theodolite"):
        Run(folder)


@pytest.mark.parametrize("value", ["[1, 0]", "1", '{"major": "1"}', "{}", "NaN", "{"])
def test_a_run_without_a_sound_version_is_refused(folder, value):
    change(folder, ("UPDATE metadata SET value = ? WHERE key = 'format'", value))
    with pytest.raises(RunError):
        Run(folder)


def test_a_result_of_the_future_is_refused_and_the_rest_is_read(folder):
    record = json.dumps({"$record": "Hologram", "version": [1, 0], "fields": {}})
    change(folder, ("INSERT INTO results VALUES (1, 'Hologram', NULL, ?)", record))
    with pytest.raises(RunError, match="Update theodolite"):
        Run(folder).result("Hologram")
    assert Run(folder).num_steps == 1


@pytest.mark.parametrize("table", schema.TABLES)
def test_a_missing_table_is_named(folder, table):
    change(folder, (f"DROP TABLE {table}",))
    with pytest.raises(RunError, match=rf"tables \['{table}'\]"):
        Run(folder)


def test_a_view_in_the_place_of_a_table_is_refused(folder):
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i id, i step FROM n"
    change(folder, ("DROP TABLE scalars",), (f"CREATE VIEW scalars AS {endless}",))
    with pytest.raises(RunError, match=r"tables \['scalars'\]"):
        Run(folder)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE scalars SET value = x'0102'",
        "UPDATE scalars SET value = 'text'",
        "UPDATE scalars SET step = 'one'",
        "UPDATE layout SET names = '3'",
        "UPDATE layout SET names = '[['",
        "INSERT INTO events VALUES (1, 1, 'noon', 'note', '{}')",
        "INSERT INTO events VALUES (1, 1, 0.0, 'note', 'x')",
        "INSERT INTO arrays VALUES (1, 'a', 1, '|O8', '[1]', x'00')",
        "INSERT INTO arrays VALUES (1, 'a', 1, '<f8', '[2]', x'00')",
        "INSERT INTO arrays VALUES (1, 'a', 1, '<f8', '{}', x'00')",
        "INSERT INTO arrays VALUES (1, 'a', 1, 3, '[1]', x'00')",
        "INSERT INTO results VALUES (1, 'Line', NULL, x'ff')",
        "INSERT INTO metadata VALUES ('x', x'ff')",
        "INSERT INTO metadata VALUES ('x', CAST(x'ff' AS TEXT))",
    ],
)
def test_cells_that_make_no_sense_are_refused(folder, statement):
    change(folder, (statement,))
    with pytest.raises(RunError):
        Run(folder).series("loss"), Run(folder).events(), Run(folder).result("Line"), Run(folder).array("a")


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="must exist"):
        Run(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"must have the file .*run\.db"):
        Run(tmp_path)
    text = tmp_path / "run.db"
    text.write_text("route,distance\n" * 100)
    with pytest.raises(RunError, match="must be an SQLite database"):
        Run(tmp_path)
    text.unlink()
    change(tmp_path, ("CREATE TABLE marathons (seconds INTEGER)",))
    with pytest.raises(RunError, match="must have the tables"):
        Run(tmp_path / "run.db")
    text.write_bytes(b"")
    with pytest.raises(RunError, match=r"none yet.*try again"):
        Run(tmp_path)
