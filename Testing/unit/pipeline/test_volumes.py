import numpy as np
import pytest
import SimpleITK as sitk

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.pipeline.volumes import measure, to_csv


def labels(spacing_mm=(1.0, 2.0, 0.5)):
    image = sitk.GetImageFromArray(np.array([[[0, 1, 2, 2], [3, 3, 3, 2]]], np.uint8))
    image.SetSpacing(spacing_mm)
    return image


def test_volumes_are_voxels_times_the_voxel_s_size():
    csf, gm, wm = measure(labels((1.0, 2.0, 1.5)))[:3]
    assert [v.tissue for v in (csf, gm, wm)] == ["CSF", "GM", "WM"]
    assert [v.voxels for v in (csf, gm, wm)] == [1, 3, 3]
    assert [v.volume_mm3 for v in (csf, gm, wm)] == [3.0, 9.0, 9.0]
    assert gm.volume_ml == pytest.approx(0.009)
    assert [v.fraction for v in (csf, gm, wm)] == pytest.approx([1 / 7, 3 / 7, 3 / 7])
    assert csf.mean_confidence is None


def test_a_sheared_voxel_has_less_volume_than_its_edges_say():
    image = labels((1.0, 1.0, 1.0))
    image.SetDirection((1, 0.6, 0, 0, 0.8, 0, 0, 0, 1))
    assert measure(image)[0].volume_mm3 == pytest.approx(0.8)


def test_confidence_is_the_mean_over_the_tissue_s_voxels():
    image = labels()
    confidence = sitk.GetImageFromArray(np.array([[[0, 0.9, 0.5, 0.7], [1, 1, 0.7, 0.9]]], np.float32))
    confidence.CopyInformation(image)
    assert [v.mean_confidence for v in measure(image, confidence)[:3]] == pytest.approx([0.9, 0.7, 0.9])


def test_an_absent_tissue_has_no_confidence_and_no_volume():
    nothing = sitk.Image((2, 2, 2), sitk.sitkUInt8)
    for volume in measure(nothing, sitk.Cast(nothing, sitk.sitkFloat32)):
        assert (volume.voxels, volume.volume_ml, volume.fraction, volume.mean_confidence) == (0, 0.0, 0.0, None)


def test_a_confidence_map_on_another_grid_is_refused():
    with pytest.raises(InputError, match="another grid"):
        measure(labels(), sitk.Image((2, 2, 2), sitk.sitkFloat32))


def test_the_table_has_one_line_a_tissue():
    assert to_csv(measure(labels((1.0, 2.0, 1.5)))[:3]) == (
        "tissue,voxels,volume_mm3,volume_ml,fraction,mean_confidence\n"
        "CSF,1,3.0,0.003,0.1429,\n"
        "GM,3,9.0,0.009,0.4286,\n"
        "WM,3,9.0,0.009,0.4286,\n"
    )
