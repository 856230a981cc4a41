import numpy as np
import phantoms
import pytest
import SimpleITK as sitk

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.core.labels import CSF, WM
from InfantBrainSegLib.outputs.overview import GAP_PIXELS, HEADER_PIXELS, PANEL_PIXELS, draw_overview, write_overview
from InfantBrainSegLib.pipeline.volumes import measure


def drawn(direction=phantoms.LPS, spacing_mm=(1.0, 1.0, 1.0)):
    """The overview of the phantom, with its labels opaque enough to find their colours again."""
    grid = phantoms.grid(spacing_mm, direction, shift_mm=(0, 0, 0))
    labels = phantoms.draw(grid)
    images = phantoms.draw(grid, phantoms.T1_LEVELS), phantoms.draw(grid, phantoms.T2_LEVELS)
    return draw_overview(*images, labels, measure(labels))


def panel(picture, row, column):
    top, left = (offset + index * (PANEL_PIXELS + GAP_PIXELS) for offset, index in ((HEADER_PIXELS, row), (GAP_PIXELS, column)))
    return picture[top : top + PANEL_PIXELS, left : left + PANEL_PIXELS].astype(int)


def center_of(tissue, view):
    """(down, right) of a tissue's middle, from the centre of its panel, by the tint over T1."""
    red, _, blue = np.moveaxis(view, -1, 0)
    tinted = blue - red > 25 if tissue is CSF else red - blue > 12
    bright = view.sum(-1) > 480 if tissue is WM else tinted
    return np.argwhere(tinted & bright).mean(0) - PANEL_PIXELS / 2


@pytest.mark.parametrize("direction", [phantoms.LPS, phantoms.RAS, phantoms.PERMUTED, phantoms.OBLIQUE])
def test_slices_hang_as_a_radiologist_wants_them_whatever_the_grid(direction):
    picture = drawn(direction)
    down, right = center_of(CSF, panel(picture, 0, 2))  # the fluid lies left and posterior
    assert down > 20
    assert right > 20
    down, right = center_of(WM, panel(picture, 1, 2))  # the white matter lies right and superior
    assert down < 0
    assert right < 0
    down, right = center_of(WM, panel(picture, 2, 2))  # and anterior, at the left of a sagittal slice
    assert down < 0
    assert right < 0


def test_t1_t2_and_labels_fill_their_columns():
    picture = drawn()
    for row in range(3):
        t1, t2, labels = (panel(picture, row, column) for column in range(3))
        middle = slice(PANEL_PIXELS // 4, 3 * PANEL_PIXELS // 4)
        assert all((view[middle, middle] > 40).any() for view in (t1, t2, labels))
        assert np.array_equal(t1[..., 0], t1[..., 2])  # gray
        assert not np.array_equal(labels[..., 0], labels[..., 2])  # coloured


def test_the_volumes_are_written_below():
    assert (drawn()[-60:] > 200).any(-1).sum() > 300


def test_an_anisotropic_grid_keeps_the_brains_proportions():
    isotropic, anisotropic = (np.argwhere(panel(drawn(spacing_mm=s), 1, 0).sum(-1) > 200) for s in ((1.0, 1.0, 1.0), (1.0, 1.0, 2.0)))
    assert np.abs(np.ptp(isotropic, 0) - np.ptp(anisotropic, 0)).max() < 12  # pixels of 0.3 mm


def test_an_empty_result_is_drawn_too():
    grid = phantoms.grid((2.0, 2.0, 2.0))
    t1 = phantoms.draw(grid, phantoms.T1_LEVELS)
    assert draw_overview(t1, t1, grid, measure(grid)).shape[2] == 3


def test_a_written_picture_reads_back_the_same(tmp_path):
    picture = drawn()
    write_overview(picture, tmp_path / "overview.png")
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "overview.png"))), picture)


def test_a_picture_that_can_not_be_written_is_reported(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        write_overview(np.zeros((2, 2, 3), np.uint8), tmp_path / "none" / "overview.png")


def test_an_absent_scans_panel_is_black_and_the_labels_lie_over_the_other():
    grid = phantoms.grid(shift_mm=(0, 0, 0))
    labels, t2 = phantoms.draw(grid), phantoms.draw(grid, phantoms.T2_LEVELS)
    picture = draw_overview(None, t2, labels, measure(labels))
    alone = draw_overview(t2, None, labels, measure(labels))
    middle = slice(PANEL_PIXELS // 4, 3 * PANEL_PIXELS // 4)
    assert not panel(picture, 0, 0)[middle, middle].any()
    assert np.array_equal(panel(picture, 0, 1), panel(alone, 0, 0))
    assert np.array_equal(panel(picture, 0, 2), panel(alone, 0, 2))
