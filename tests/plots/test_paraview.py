"""Does a strict reader of VTK's XML files get back every point, loss and line?

The reader follows "VTK file formats", section "XML file formats", and fails at whatever that does not name.
"""

import base64
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from theodolite.errors import SettingError
from theodolite.plots import save_figure, scene_plane, scene_projection
from theodolite.plots.paraview import write_surface, write_ways

TYPES = {"Float64": "<f8", "Int64": "<i8", "UInt8": "<u1"}


def array(node, count=None):
    """One DataArray, checked."""
    assert node.tag == "DataArray"
    assert set(node.attrib) == {"type", "Name", "NumberOfComponents", "format"}
    assert node.attrib["format"] == "binary"
    raw = base64.b64decode(node.text, validate=True)
    length = int.from_bytes(raw[:8], "little")  # header_type UInt64
    assert len(raw) == 8 + length
    width = int(node.attrib["NumberOfComponents"])
    values = np.frombuffer(raw[8:], TYPES[node.attrib["type"]]).reshape(-1, width)
    assert count is None or len(values) == count
    return values if width > 1 else values[:, 0]


def named(section, count=None):
    return {node.attrib["Name"]: array(node, count) for node in section}


def read(path, kind):
    root = ElementTree.parse(path).getroot()
    assert root.tag == "VTKFile"
    assert root.attrib == {"type": kind, "version": "1.0", "byte_order": "LittleEndian", "header_type": "UInt64"}
    (grid,) = root
    assert grid.tag == kind
    (piece,) = grid
    assert piece.tag == "Piece"
    return grid, piece, {section.tag: section for section in piece}


def surface(path):
    grid, piece, sections = read(path, "StructuredGrid")
    assert set(sections) == {"PointData", "Points"}
    assert grid.attrib["WholeExtent"] == piece.attrib["Extent"]
    x0, x1, y0, y1, z0, z1 = map(int, piece.attrib["Extent"].split())
    assert (x0, y0, z0, z1) == (0, 0, 0, 0)
    count = (x1 + 1) * (y1 + 1)
    data = named(sections["PointData"], count)
    return {name: values.reshape(y1 + 1, x1 + 1) for name, values in data.items()}, array(sections["Points"][0], count)


def test_a_surface_returns_with_x_fastest(made, tmp_path):
    plane = made["plane"]()
    data, points = surface(write_surface(scene_plane(plane, scale="linear"), tmp_path / "a.vts"))
    np.testing.assert_array_equal(data["loss J"], plane.losses)
    grid = points.reshape(5, 9, 3)
    np.testing.assert_array_equal(grid[2, :, 0], plane.x)
    np.testing.assert_array_equal(grid[:, 3, 1], plane.y)
    np.testing.assert_array_equal(grid[..., 2], plane.losses)
    np.testing.assert_array_equal(data["vtkGhostType"], 0)


def test_on_a_logarithmic_scale_heights_are_powers_of_ten_and_losses_stay(made, tmp_path):
    plane = made["plane"]()
    data, points = surface(write_surface(scene_plane(plane, scale="log"), tmp_path / "a.vts"))
    np.testing.assert_allclose(points[:, 2], np.log10(plane.losses).ravel())
    np.testing.assert_array_equal(data["loss J"], plane.losses)


def test_what_is_not_finite_is_hidden_and_has_a_place(made, tmp_path):
    losses = made["plane"]().losses.copy()
    losses[1, 2] = np.nan
    data, points = surface(write_surface(scene_plane(made["plane"](losses=losses)), tmp_path / "a.vts"))
    assert np.isfinite(points).all()
    assert np.argwhere(data["vtkGhostType"] == 2).tolist() == [[1, 2]]
    assert np.isnan(data["loss J"][1, 2])


def test_ways_return_as_lines_at_their_own_height(made, tmp_path):
    scene = scene_plane(made["plane"](), scale="linear")
    _, piece, sections = read(write_ways(scene, tmp_path / "a.vtp"), "PolyData")
    assert (piece.attrib["NumberOfPoints"], piece.attrib["NumberOfLines"]) == ("3", "1")
    points, lines = array(sections["Points"][0], 3), named(sections["Lines"])
    np.testing.assert_array_equal(points[:, 2], scene.flights[0].z)
    np.testing.assert_array_equal(lines["connectivity"], [0, 1, 2])
    np.testing.assert_array_equal(lines["offsets"], [3])
    data = named(sections["PointData"], 3)
    np.testing.assert_array_equal(data["surface"], scene.flights[0].foot)
    assert set(data) == {"loss J", "surface", "nearness", "way"}


def test_the_lines_across_a_projection_are_a_curved_grid(made, tmp_path):
    record = made["projection"]()
    data, points = surface(save_figure(record, tmp_path / "deep" / "a.vts"))
    np.testing.assert_array_equal(data["loss J"], record.surface)
    np.testing.assert_array_equal(points.reshape(7, 13, 3)[:, 0, 0], record.progress[1:-1])
    assert scene_projection(record).surfaces


def test_what_is_not_there_is_refused(made, tmp_path):
    bare = replace(scene_plane(made["plane"](tracks=())), surfaces=())
    with pytest.raises(SettingError, match="needs a surface"):
        write_surface(bare, tmp_path / "a.vts")
    with pytest.raises(SettingError, match="needs a way"):
        write_ways(bare, tmp_path / "a.vtp")
