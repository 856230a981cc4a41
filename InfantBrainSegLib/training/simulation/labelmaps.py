"""Label maps in FreeSurfer codes, made ready for synthesis and packed into one file.

A map becomes four small arrays at 1 mm RAS: synthesis classes, the distance outside the brain's hull (for the CSF rim and
what lies beyond it), the depth inside white matter (for myelination) and the distance from the brain into CSF.
"""

import contextlib
import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ...core.errors import TrainingError
from ...core.labels import BACKGROUND, CLASS_COUNT, CSF, GM, WM
from ...imaging.files import read_image

AIR, OUTER_CSF, VENTRICLE, CORTEX, EARLY_DEEP_GM, LATE_DEEP_GM, WHITE = range(7)
SYNTHESIS_CLASSES = 7
SYNTHESIS_TO_LABEL = np.array([BACKGROUND, CSF.value, CSF.value, GM.value, GM.value, GM.value, WM.value], np.uint8)

# FreeSurfer's colour table. Choroid plexus (31, 63, and 136, 137, 163, 164 in the adult maps) lies in the ventricles and counts as they do.
_CODES = {
    OUTER_CSF: (24, 30, 62),
    VENTRICLE: (4, 43, 5, 44, 14, 72, 31, 63, 136, 137, 163, 164),
    CORTEX: (3, 42, 17, 53, 18, 54),  # hippocampus and amygdala look like cortex
    EARLY_DEEP_GM: (10, 49, 13, 52),  # thalamus, pallidum: myelinate first
    LATE_DEEP_GM: (11, 50, 12, 51, 26, 58),  # caudate, putamen, accumbens
    WHITE: (2, 41, 25, 57, 28, 60, 77, 78, 79, 85, 251, 252, 253, 254, 255),
}
_TISSUES_AS_CODES = np.array([0, 24, 3, 2])
_INFRATENTORIAL = (7, 8, 46, 47, 15, 16, 170, 171, 172, 173, 174, 175)  # cerebellum, brainstem, 4th ventricle: off, as in iSeg
_HULL_MM = 4.0  # closing that turns sulci into inside; half a wide sulcus
_OUTER_CSF_MM = 6.0  # no CSF further than this from the hull
_MARGIN_MM = 12
FIELD_UNIT_MM = 0.1  # distances are stored in bytes of 0.1 mm
FIELD_MAX = 255


@dataclass(frozen=True)
class LabelMap:
    """One label map, ready for synthesis; arrays (X, Y, Z) uint8 at 1 mm RAS.

    Attributes
    ----------
    name : str
    classes : synthesis classes, see `SYNTHESIS_TO_LABEL`
    outside : distance outside the brain's hull in 0.1 mm; 255 at and near cerebellum and brainstem
    depth : depth inside white matter in 0.1 mm
    gap : distance from the nearest brain voxel in 0.1 mm
    """

    name: str
    classes: np.ndarray
    outside: np.ndarray
    depth: np.ndarray
    gap: np.ndarray

    @property
    def kind(self) -> str:
        """Of whom it is, as its name begins: "adult" or "infant"."""
        return self.name.split("_")[0]

    @cached_property
    def counts(self) -> np.ndarray:
        """Voxels of each synthesis class: (7,) int64."""
        return np.bincount(self.classes.ravel(), minlength=SYNTHESIS_CLASSES)

    @cached_property
    def rim_counts(self) -> np.ndarray:
        """Voxels of outer CSF at each distance outside the hull in 0.1 mm: (256,) int64."""
        return np.bincount(self.outside[self.classes == OUTER_CSF], minlength=FIELD_MAX + 1)


_FIELDS = ("classes", "outside", "depth", "gap")
_MADE_OF = "made_of"  # the entry of a pack that names the files it was made of


def read_label_map(path: Path) -> LabelMap:
    """Read one map of FreeSurfer codes, or of our own labels 0 to 3.

    Parameters
    ----------
    path : Path
        A 3D image of codes, of 1 mm.

    Raises
    ------
    InputError
        If the file cannot be read.
    TrainingError
        If the file is not of 1 mm, or holds no cerebral white matter or cortex.
    """
    image, codes = read_codes(path)
    if not np.allclose(image.GetSpacing(), 1.0, atol=0.05):
        raise TrainingError(
            f"{path.name} has voxels of {image.GetSpacing()} mm; label maps of 1 mm are wanted: resample it first (nearest neighbour)."
        )
    if codes.max() < CLASS_COUNT:
        codes = _TISSUES_AS_CODES[codes]
    classes = synthesis_classes(codes)
    if not ((classes == WHITE).any() and (classes == CORTEX).any()):
        raise TrainingError(f"{path.name} holds no cerebral white matter (2, 41) or cortex (3, 42): a map of FreeSurfer codes is wanted.")
    brain = classes >= VENTRICLE
    box = _box(brain, codes.shape)
    classes, below = classes[box].copy(), infratentorial(codes[box])
    return with_fields(path.name.split(".")[0], classes, _nearer_to(below, classes >= VENTRICLE))


def read_codes(path: Path) -> tuple[sitk.Image, np.ndarray]:
    """Read a label map in RAS order: the image, and its codes as (X, Y, Z) int32.

    Raises
    ------
    InputError
        If the file cannot be read as an image.
    TrainingError
        If a value is negative.
    """
    image = sitk.DICOMOrient(read_image(path), "RAS")
    codes = sitk.GetArrayFromImage(image).transpose(2, 1, 0).astype(np.int32)  # (X, Y, Z)
    if codes.min() < 0:
        raise TrainingError(f"{path.name} holds the value {codes.min()}; wanted codes of 0 or more: a map of FreeSurfer codes.")
    return image, codes


def synthesis_classes(codes: np.ndarray) -> np.ndarray:
    """Synthesis classes of FreeSurfer codes; what is not cerebrum or its CSF is air.

    Parameters
    ----------
    codes : int array of any shape

    Returns
    -------
    uint8 array of that shape
    """
    classes = np.zeros(codes.shape, np.uint8)
    for synthesis_class, values in _CODES.items():
        classes[np.isin(codes, values)] = synthesis_class
    return classes


def infratentorial(codes: np.ndarray) -> np.ndarray:
    """Cerebellum, brainstem and fourth ventricle, of FreeSurfer codes."""
    return np.isin(codes, _INFRATENTORIAL)


def _box(brain: np.ndarray, shape) -> tuple[slice, ...]:
    found = ndimage.find_objects(brain.astype(np.uint8))[0]
    return tuple(slice(max(s.start - _MARGIN_MM, 0), min(s.stop + _MARGIN_MM, n)) for s, n in zip(found, shape, strict=True))


def _nearer_to(below: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """What lies below the cerebrum, and outside of it nearer to that than to it."""
    if not below.any():
        return below
    return below | (~brain & (ndimage.distance_transform_edt(~below) < ndimage.distance_transform_edt(~brain)))


def with_fields(name: str, classes: np.ndarray, elsewhere: np.ndarray) -> LabelMap:
    """Add the distances that synthesis needs.

    Parameters
    ----------
    name : str
    classes : (X, Y, Z) uint8 array
        Synthesis classes at 1 mm RAS, changed in place: CSF round the brain is grown where there is none, and cut off far from it.
    elsewhere : (X, Y, Z) bool array
        At and near cerebellum and brainstem, where there is no CSF of the cerebrum.
    """
    brain = classes >= VENTRICLE
    to_brain_mm = ndimage.distance_transform_edt(~brain)
    hull = ndimage.distance_transform_edt(to_brain_mm <= _HULL_MM) > _HULL_MM
    outside_mm = ndimage.distance_transform_edt(~(hull | brain))
    if np.count_nonzero(classes == OUTER_CSF) < 0.02 * np.count_nonzero(brain):  # the map has no CSF round the brain: grow it
        classes[(classes == AIR) & (outside_mm <= _OUTER_CSF_MM)] = OUTER_CSF
    classes[(classes == OUTER_CSF) & (elsewhere | (outside_mm > _OUTER_CSF_MM))] = AIR
    outside = np.minimum(_to_bytes(outside_mm), FIELD_MAX - 1)
    outside[elsewhere] = FIELD_MAX
    depth = _to_bytes(ndimage.distance_transform_edt(classes == WHITE))
    return LabelMap(name, classes, outside, depth, _to_bytes(to_brain_mm))


def _to_bytes(distance_mm: np.ndarray) -> np.ndarray:
    return np.clip(distance_mm / FIELD_UNIT_MM, 0, FIELD_MAX).astype(np.uint8)


def build_pack(folder: Path, pack: Path) -> list[str]:
    """Read every map below a folder and write them into one `.npz`.

    Parameters
    ----------
    folder : Path
        Holds `.nii.gz` files of FreeSurfer codes, in sub-folders or not.
    pack : Path
        The `.npz` to write.

    Returns
    -------
    list of str
        Names of the maps.
    """
    paths = sorted(folder.rglob("*.nii.gz"))
    if not paths:
        raise TrainingError(f"{folder} holds no .nii.gz label map; wanted a folder of FreeSurfer label maps.")
    maps = [read_label_map(path) for path in paths]
    write_pack(arrays_of(maps), checksums(folder), pack)
    return [label_map.name for label_map in maps]


def arrays_of(maps: Iterable[LabelMap]) -> dict[str, np.ndarray]:
    """The arrays of maps as a pack holds them."""
    return {f"{label_map.name}.{field}": getattr(label_map, field) for label_map in maps for field in _FIELDS}


def write_pack(arrays: dict[str, np.ndarray], made_of: dict[str, str], pack: Path) -> None:
    """Write the arrays of maps into one `.npz`, with what they were made of: names of files and their checksums."""
    pack.parent.mkdir(parents=True, exist_ok=True)
    temporary = pack.with_name("." + pack.name)  # savez keeps a name that ends in .npz
    told = {_MADE_OF: np.array(json.dumps(made_of))}
    try:
        np.savez_compressed(temporary, **arrays, **told)  # type: ignore[arg-type]
        temporary.replace(pack)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise TrainingError(f"The label-map pack {pack} cannot be written ({error.strerror or error}): choose another `pack`.") from error


def is_made_of(pack: Path, made_of: dict[str, str]) -> bool:
    """Tell whether a pack was made of exactly this; a pack that does not say what it was made of was not."""
    try:
        with open_pack(pack) as arrays:
            return bool(json.loads(str(arrays[_MADE_OF])) == made_of)
    except (TrainingError, KeyError, ValueError):
        return False


@contextlib.contextmanager
def open_pack(pack: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """Open a pack for reading.

    Raises
    ------
    TrainingError
        If the pack is absent or damaged, or what is read in the block is.
    """
    if not pack.is_file():
        raise TrainingError(f"There is no label-map pack {pack}: name the folder of its label maps with --label-maps, which makes it.")
    try:
        arrays = np.load(pack, allow_pickle=False)
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise ValueError("one array, no pack")
        with arrays:
            yield arrays
    except (OSError, EOFError, KeyError, ValueError, SyntaxError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise TrainingError(
            f"The label-map pack {pack} is damaged or of another kind ({reason}); wanted one that `train` made for this stage: "
            "remove it, and name the folder of its label maps with --label-maps, which makes it anew."
        ) from error


def read_fields(arrays: np.lib.npyio.NpzFile, name: str, fields: tuple[str, ...], classes: int) -> list[np.ndarray]:
    """Give the arrays of one map in an open pack: each (X, Y, Z) uint8, the first one below `classes`.

    Raises
    ------
    KeyError, ValueError
        If one is absent, or not like that.
    """
    found = [arrays[f"{name}.{field}"] for field in fields]
    if any(one.ndim != 3 or one.dtype != np.uint8 or one.shape != found[0].shape or not one.size for one in found):
        raise ValueError(f"{name} has arrays that do not go together")
    if found[0].max() >= classes:
        raise ValueError(f"{name} holds the class {found[0].max()}")
    return found


def names_in(arrays) -> list[str]:
    """Names of the maps in an open pack, sorted."""
    return sorted({key.split(".")[0] for key in arrays.files if key != _MADE_OF})


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of each map below a folder, by its path in there."""
    paths = sorted(folder.rglob("*.nii.gz"))
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def load_pack(pack: Path, keep=None) -> list[LabelMap]:
    """Label maps of a pack, sorted by name.

    Parameters
    ----------
    pack : Path
    keep : callable, optional
        Takes a name and tells whether that map is wanted.

    Raises
    ------
    TrainingError
        If the pack is absent or damaged, or nothing in it is wanted.
    """
    with open_pack(pack) as arrays:
        names = names_in(arrays)
        wanted = [name for name in names if keep is None or keep(name)]
        maps = [LabelMap(name, *read_fields(arrays, name, _FIELDS, SYNTHESIS_CLASSES)) for name in wanted]
    if not maps:
        raise TrainingError(none_wanted(pack, names))
    return maps


def none_wanted(pack: Path, names: list[str]) -> str:
    """Say that a pack has no map for a part of the run."""
    return (
        f"None of the maps in {pack} is wanted here; it holds {', '.join(names[:10]) or 'none'}: "
        "wanted one or more named in `held_out`, and one or more that are not."
    )
