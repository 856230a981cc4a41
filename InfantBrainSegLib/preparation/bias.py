"""N4 bias correction on a shrunken grid inside the brain mask.

N. J. Tustison et al., "N4ITK: improved N3 bias correction", IEEE Transactions on Medical Imaging 29(6), 2010. The field is smooth, so it is
found on voxels of about 4 mm and evaluated on the scan's own.
"""

from dataclasses import replace

import numpy as np
import SimpleITK as sitk

from ..core.errors import InputError
from ..imaging.resample import on_grid_of, voxel_mm3
from . import foreground as quality
from .normalisation import ScanPair

AUTO, ON, OFF = "auto", "on", "off"
CHOICES = (AUTO, ON, OFF)
MIN_POSITIVE_SHARE = 0.95  # of the brain: the logarithm of the rest does not exist
_SHRUNKEN_MM = 4.0
_ITERATIONS = (50, 50, 30)  # a level each, the spline's mesh twice as fine each time


def wants_correction(choice: str, t1: sitk.Image | None, t2: sitk.Image | None, mask: sitk.Image | None) -> bool:
    """Tell whether a pair is to be corrected.

    Parameters
    ----------
    choice : "auto", "on" or "off"
    t1, t2 : sitk.Image or None
    mask : sitk.Image or None, as given

    Returns
    -------
    bool; with "auto" True for raw scans: with a mask, and each without an exact background or with more signal than a stripped brain's.
    """
    if choice != AUTO:
        return choice == ON
    return mask is not None and all(_is_raw(scan, mask) for scan in (t1, t2) if scan is not None)


def _is_raw(scan: sitk.Image, mask: sitk.Image) -> bool:
    """Tell a whole head, also one whose air was set to 0, by how much of its signal the mask leaves out."""
    array = sitk.GetArrayViewFromImage(scan)
    background = quality.background_value(array)
    if background is None:
        return True
    signal_mm3 = np.count_nonzero(array != background) * voxel_mm3(scan)
    return bool(np.count_nonzero(sitk.GetArrayViewFromImage(mask) > 0) * voxel_mm3(mask) < quality.STRIPPED_SHARE * signal_mm3)


def correct_pair(pair: ScanPair) -> ScanPair:
    """Take the bias field out of each scan of a pair.

    Raises
    ------
    InputError
        If a scan has no positive values, as z-scores have not.
    """
    t1 = None if pair.t1 is None else correct(pair.t1, pair.mask, "T1")
    return replace(pair, t1=t1, t2=None if pair.t2 is None else correct(pair.t2, pair.mask, "T2"))


def correct(scan: sitk.Image, mask: sitk.Image, name: str) -> sitk.Image:
    """Divide a scan by its bias field; the mean logarithm over the brain stays.

    Parameters
    ----------
    scan : 3D sitk.Image
    mask : sitk.Image of uint8 on its grid, 1 in the brain
    name : what to call it in an error

    Returns
    -------
    sitk.Image of float32

    Raises
    ------
    InputError
        If too much of the brain is not above 0.
    """
    image = sitk.Cast(scan, sitk.sitkFloat32)
    inside = sitk.GetArrayViewFromImage(mask) > 0  # (K, J, I)
    positive = inside & (sitk.GetArrayViewFromImage(image) > 0)
    share = int(np.count_nonzero(positive)) / max(int(np.count_nonzero(inside)), 1)
    if share < MIN_POSITIVE_SHARE:
        raise InputError(
            f"{100 * (1 - share):.0f} % of {name}'s brain is not above 0; wanted {100 * (1 - MIN_POSITIVE_SHARE):.0f} % or less for "
            "bias correction: give the scan as the scanner made it, or switch the correction off (--bias-correction off)."
        )
    factors = [max(1, round(_SHRUNKEN_MM / spacing)) for spacing in image.GetSpacing()]
    filter_ = sitk.N4BiasFieldCorrectionImageFilter()
    filter_.SetNumberOfThreads(1)
    filter_.SetMaximumNumberOfIterations(_ITERATIONS)
    usable = on_grid_of(scan, positive.astype(np.uint8))
    filter_.Execute(sitk.Shrink(image, factors), sitk.Shrink(usable, factors))
    field = sitk.GetArrayFromImage(filter_.GetLogBiasFieldAsImage(image))  # (K, J, I)
    field -= field[positive].mean(dtype=np.float64)
    np.clip(field, -2.0, 2.0, out=field)  # beyond the brain the spline is free to run away
    return on_grid_of(scan, (sitk.GetArrayViewFromImage(image) / np.exp(field)).astype(np.float32))
