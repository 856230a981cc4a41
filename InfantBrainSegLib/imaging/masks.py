"""What a file given as a brain mask says: which voxels are inside, and a warning where it is not plainly a mask."""

import numpy as np
import SimpleITK as sitk

from ..core.errors import InputError
from .resample import on_grid_of

_SCALES = (1.0, 100.0, 255.0)  # what full certainty is in most maps of probabilities; in others it is the highest value
_OVERSHOOT = 1.05  # of a resampled map
_UNDERSHOOT = 0.2
_MAP_VALUES = 64  # more than labels of anatomy are in use at once, fewer than an 8-bit map has
_UNSURE = 0.25  # of full certainty, from 0 and from 1: few voxels of a map lie between, and many labels do
_MOST_UNSURE = 0.5  # of the sure ones
_SAMPLED = 3  # every third voxel along each axis tells the kind of values
_INVERTED_EDGE = 0.9  # of the voxels on the image's six faces
_HOLE = 0.02  # of the image: what an inverted mask leaves out is at least a brain


def to_mask(image: sitk.Image, name: str) -> tuple[sitk.Image, list[str]]:
    """Tell what is inside a mask: what is above 0, or in a map of probabilities what is above half.

    Parameters
    ----------
    image : sitk.Image of finite numbers
    name : what messages call it

    Returns
    -------
    sitk.Image of uint8, 0 or 1, on the same grid; and warnings

    Raises
    ------
    InputError
        If the mask is inverted, or is a map that nowhere reaches half.
    """
    values = sitk.GetArrayViewFromImage(image)  # (K, J, I)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and all(bool(((plane == 0) | (plane == high)).all()) for plane in values):
        inside, warnings = values > 0, []
    else:
        scale = _scale(values, low, high)
        if scale is not None:
            inside = values >= scale / 2
            warnings = [
                f"{name} is no plain mask but a map from {low:.3g} to {high:.4g}: what is {scale / 2:g} or more was taken as the brain; "
                "look at it, or give a mask of 0 and 1."
            ]
            if not inside.any():
                raise InputError(
                    f"{name} is a map that nowhere reaches {scale / 2:g}, at most {high:.3g}; wanted a mask of 0 and 1: make one."
                )
        else:
            inside, kind = values > 0, "negative voxels" if low < 0 else "several values, as labels have"
            warnings = [f"{name} has {kind}: all above 0 was taken as the brain; wanted a mask of 0 and 1: look at it."]
    _check_not_inverted(inside, name, low < 0)
    return on_grid_of(image, inside.astype(np.uint8)), warnings


def _scale(values: np.ndarray, low: float, high: float) -> float | None:
    """Give what stands for certainty in a map of probabilities, or None where the values are labels or distances."""
    scale = next((scale for scale in _SCALES if (scale / 2 < high or scale == 1) and high <= _OVERSHOOT * scale), high)
    if high <= 0 or low < -_UNDERSHOOT * scale:
        return None
    if scale == 1:
        return scale
    sample = values[::_SAMPLED, ::_SAMPLED, ::_SAMPLED]
    if len(np.unique(sample)) <= _MAP_VALUES:
        return None
    sure = np.count_nonzero(sample >= (1 - _UNSURE) * scale)
    unsure = np.count_nonzero(sample > _UNSURE * scale) - sure
    return scale if scale in _SCALES or unsure < _MOST_UNSURE * sure else None


def _check_not_inverted(inside: np.ndarray, name: str, signed: bool) -> None:
    faces = [face for axis in range(3) for face in (inside.take(0, axis), inside.take(-1, axis))]
    edge = sum(np.count_nonzero(face) for face in faces) / sum(face.size for face in faces)
    if edge > _INVERTED_EDGE and np.count_nonzero(inside) < (1 - _HOLE) * inside.size:
        found = (
            "is negative in the middle and positive at the image's edge" if signed else "covers the image's edge and leaves out its middle"
        )
        raise InputError(f"{name} {found}; wanted voxels above 0 in the brain and 0 outside: it seems inverted, so invert it.")
