"""Whole-head label maps for learning cerebrum extraction, packed into one file.

The adult maps hold, beside FreeSurfer's codes, codes from 500 on for what lies round the brain. What each of these shows was found by
looking at slices.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from ...core.errors import TrainingError
from ...core.labels import INFRATENTORIAL, LEFT_CEREBRUM, RIGHT_CEREBRUM
from .labelmaps import (
    AIR,
    OUTER_CSF,
    WHITE,
    checksums,
    infratentorial,
    names_in,
    none_wanted,
    open_pack,
    read_codes,
    read_fields,
    synthesis_classes,
    write_pack,
)

CEREBELLAR_CORTEX, CEREBELLAR_WHITE, BRAINSTEM, LOWER_CSF, SOFT, EYE, MUCOSA, ARTERY, SINUS, SKIN, SKULL, MARROW, NERVE = range(7, 20)
HEAD_CLASSES = 20  # those of `labelmaps` first
_CODES = {
    CEREBELLAR_CORTEX: (8, 47, 172, 173, 174),
    CEREBELLAR_WHITE: (7, 46, 171),
    BRAINSTEM: (16, 170, 175),
    LOWER_CSF: (15,),
    SOFT: (507,),
    EYE: (506,),
    MUCOSA: (509,),
    ARTERY: (502,),
    SINUS: (514,),
    SKIN: (511,),  # with the fat below it
    SKULL: (515,),
    MARROW: (516,),
    NERVE: (508, 512, 530, 85),  # optic nerves and chiasm, spinal cord
}
_LEFT = (2, 3, 4, 5, 10, 11, 12, 13, 17, 18, 26, 28, 30, 31, 78)
_RIGHT = (41, 42, 43, 44, 49, 50, 51, 52, 53, 54, 58, 60, 62, 63, 79)
_CSF_MM = 10.0  # fluid further than this from the brain is the spinal canal's
_MARGIN_MM = 8
_FIELDS = ("classes", "target")


@dataclass(frozen=True)
class HeadMap:
    """A head, ready for synthesis; arrays (X, Y, Z) uint8 at 1 mm RAS.

    Attributes
    ----------
    name : str
    classes : what is where, below `HEAD_CLASSES`
    target : parts of the brain that extraction tells apart, see `labels`
    """

    name: str
    classes: np.ndarray
    target: np.ndarray


def read_head(path: Path) -> HeadMap:
    """Read one whole-head map.

    Raises
    ------
    TrainingError
        If the map holds no skull (515), or no hemispheres.
    """
    _, codes = read_codes(path)
    if not (codes == 515).any() or not np.isin(codes, _LEFT).any() or not np.isin(codes, _RIGHT).any():
        raise TrainingError(f"{path.name} holds no skull (515) or no hemispheres (2, 41); wanted a map of a whole head.")
    box = tuple(
        slice(max(part.start - _MARGIN_MM, 0), part.stop + _MARGIN_MM) for part in ndimage.find_objects((codes > 0).astype(np.uint8))[0]
    )
    codes = codes[box]
    classes = synthesis_classes(codes)
    for head_class, values in _CODES.items():
        classes[np.isin(codes, values)] = head_class
    unknown = (classes == AIR) & (codes > 0)
    classes[unknown] = SOFT
    target = _parts(codes, classes)
    classes[(classes == OUTER_CSF) & (target != LEFT_CEREBRUM) & (target != RIGHT_CEREBRUM)] = LOWER_CSF
    return HeadMap(path.name.split(".")[0], classes, target)


def _parts(codes: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Left and right cerebrum and what lies below the tentorium, each with the fluid nearest to it."""
    target = np.zeros(codes.shape, np.uint8)
    target[np.isin(codes, _LEFT)] = LEFT_CEREBRUM
    target[np.isin(codes, _RIGHT)] = RIGHT_CEREBRUM
    target[infratentorial(codes)] = INFRATENTORIAL
    distance_mm, nearest = ndimage.distance_transform_edt(target == 0, return_indices=True)
    rest = (target == 0) & (classes >= OUTER_CSF) & (classes <= WHITE) & (distance_mm <= _CSF_MM)
    target[rest] = target[tuple(axis[rest] for axis in nearest)]
    return target


def build_head_pack(folder: Path, pack: Path) -> list[str]:
    """Read every whole-head map of a folder and write them into one `.npz`; maps without a skull are left out.

    Returns
    -------
    list of str
        Names of the maps.
    """
    arrays: dict[str, np.ndarray] = {}
    names = []
    for path in sorted(folder.rglob("*.nii.gz")):
        try:
            head = read_head(path)
        except TrainingError:
            continue
        arrays |= {f"{head.name}.classes": head.classes, f"{head.name}.target": head.target}
        names.append(head.name)
    if not names:
        raise TrainingError(f"{folder} holds no whole-head label map (.nii.gz with the code 515 for skull); wanted one or more.")
    write_pack(arrays, checksums(folder), pack)
    return names


def load_heads(pack: Path, keep=None) -> list[HeadMap]:
    """Heads of a pack, sorted by name.

    Parameters
    ----------
    pack : Path
    keep : callable, optional
        Takes a name and tells whether that head is wanted.

    Raises
    ------
    TrainingError
        If the pack is absent or damaged, or nothing in it is wanted.
    """
    with open_pack(pack) as arrays:
        names = names_in(arrays)
        wanted = [name for name in names if keep is None or keep(name)]
        heads = [HeadMap(name, *read_fields(arrays, name, _FIELDS, HEAD_CLASSES)) for name in wanted]
    if not heads:
        raise TrainingError(none_wanted(pack, names))
    return heads
