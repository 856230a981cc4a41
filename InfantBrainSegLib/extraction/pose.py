"""How a head lies: told by where its hemispheres and its cerebellum and brainstem were found, whatever the header says."""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ..core.labels import INFRATENTORIAL, LEFT_CEREBRUM, RIGHT_CEREBRUM
from ..imaging.resample import voxel_mm3
from ..imaging.space import ras_position, rotation_about

UPRIGHT_DEGREES = 20.0  # heads that lie straight differ by up to 15 degrees in pitch; the tissue networks learned heads turned up to 15
DOWN_RAS = (0.0, -0.37, -0.93)  # from the middle of the cerebrum to that of cerebellum and brainstem: mean of 13 adult maps
MAX_ROTATION_DEGREES = 60.0  # more than a head turns in a coil: the header is wrong, or the parts are
MIN_APART_MM = 20.0  # middles of the hemispheres; maps shrunk to a newborn's size have 34
MIN_BELOW_SHARE = 0.04  # of the cerebrum: real newborns have 0.08, adults 0.16; less may be an error and does not tell where down is
MAX_UNEVEN = 2.0  # one hemisphere against the other
LEFT_RIGHT, FRONT_BACK, VERTICAL = range(3)  # axes of half turns
_HALF_TURNS = tuple(2 * np.outer(axis, axis) - np.eye(3) for axis in np.eye(3))


@dataclass(frozen=True)
class Pose:
    """How a head lies.

    Attributes
    ----------
    rotation : sitk.Euler3DTransform or None
        From a point of the upright head to its point in the head as given (LPS, mm); None where it lies straight, or cannot be determined.
    degrees : float or None
        Angle between the header's axes and the head's; None where it cannot be determined.
    message : str
    front_is_back, upside_down : bool
        Whether a stripped brain was found turned by half a turn about the vertical, or about another axis, against the header.
    told : bool
        Whether it can be told which way a stripped brain lies; where it cannot, the header is believed.
    """

    rotation: sitk.Euler3DTransform | None
    degrees: float | None
    message: str
    front_is_back: bool = False
    upside_down: bool = False
    told: bool = True

    @property
    def half_turned(self) -> bool:
        """Whether a stripped brain was found turned by half a turn."""
        return self.front_is_back or self.upside_down

    @property
    def plausible(self) -> bool:
        """Whether the head lies as a head does in a scanner whose header is right."""
        return self.degrees is not None and self.degrees <= MAX_ROTATION_DEGREES


def find_pose(parts: sitk.Image, half_turn: int | None = None, told: bool = True) -> Pose:
    """Tell how a head lies.

    Parameters
    ----------
    parts : sitk.Image of uint8
        Left cerebrum, right cerebrum, infratentorial (`labels`); 0 elsewhere.
    half_turn : int, optional
        The axis about which a stripped brain had to be turned by half a turn for its parts to be found: `LEFT_RIGHT`, `FRONT_BACK` or
        `VERTICAL`.
    told : bool
        Whether its parts tell which way it lies.
    """
    array = sitk.GetArrayViewFromImage(parts)  # (K, J, I)
    volumes_ml = np.bincount(array.ravel(), minlength=INFRATENTORIAL + 1) * voxel_mm3(parts) / 1000
    left_ml, right_ml = volumes_ml[LEFT_CEREBRUM], volumes_ml[RIGHT_CEREBRUM]
    if min(left_ml, right_ml) * MAX_UNEVEN < max(left_ml, right_ml) or min(left_ml, right_ml) == 0:
        return Pose(None, None, "The head's pose cannot be determined: one hemisphere was found far smaller than the other.")
    left, right = (_middle_ras(array == part, parts) for part in (LEFT_CEREBRUM, RIGHT_CEREBRUM))
    if np.linalg.norm(right - left) < MIN_APART_MM:
        return Pose(None, None, "The head's pose cannot be determined: left and right were not found apart.")
    middle = (left + right) / 2
    down = _middle_ras(array == INFRATENTORIAL, parts) - middle if shows_below(parts) else None
    lateral = right - left
    if down is None and lateral[0] < 0:
        lateral = -lateral  # the two halves of a brain without its lower part are easily taken for each other
    to_upright = _to_upright(lateral, down)  # (3, 3), RAS
    if half_turn is not None and down is None:
        to_upright = _HALF_TURNS[half_turn] @ to_upright
    degrees = float(np.rad2deg(np.arccos(np.clip((np.trace(to_upright) - 1) / 2, -1, 1))))
    unsure = "" if told else " Which way is up and which is front could not be confirmed."
    if degrees < UPRIGHT_DEGREES:
        return Pose(None, degrees, f"The head lies straight, within {max(degrees, 1):.0f} degrees.{unsure}", told=told)
    if half_turn is not None and down is not None and degrees <= MAX_ROTATION_DEGREES:
        half_turn = None  # the lower part was found where the header says
    message = f"The head was turned by {degrees:.0f} degrees against its header"
    if half_turn == VERTICAL:
        message = "The brain's front was found where the header says back: it is turned by half a turn, or mirrored"
    elif half_turn is not None:
        message = "The brain was found upside down against its header"
    front_is_back, upside_down = half_turn == VERTICAL, half_turn in (LEFT_RIGHT, FRONT_BACK)
    message = f"{message}; it was set upright for the networks.{unsure}"
    return Pose(rotation_about(middle, to_upright), degrees, message, front_is_back, upside_down, told)


def shows_below(parts: sitk.Image) -> bool:
    """Tell whether enough of cerebellum and brainstem was found to know where down is."""
    return below_share(parts) >= MIN_BELOW_SHARE


def below_share(parts: sitk.Image) -> float:
    """Volume of cerebellum and brainstem as a share of the cerebrum's."""
    counts = np.bincount(sitk.GetArrayViewFromImage(parts).ravel(), minlength=INFRATENTORIAL + 1)
    return float(counts[INFRATENTORIAL] / max(counts[LEFT_CEREBRUM] + counts[RIGHT_CEREBRUM], 1))


def _middle_ras(inside: np.ndarray, image: sitk.Image) -> np.ndarray:
    """Give the mean RAS position of a (K, J, I) mask, mm."""
    return ras_position(image, np.argwhere(inside).mean(axis=0)[::-1])


def _to_upright(lateral: np.ndarray, down: np.ndarray | None) -> np.ndarray:
    """Give the rotation that takes left-to-right to +x and, where it is known, down to `DOWN_RAS`: (3, 3)."""
    if down is None:
        return _shortest(lateral / np.linalg.norm(lateral), np.array([1.0, 0.0, 0.0]))
    return _frame(np.array([1.0, 0.0, 0.0]), np.array(DOWN_RAS)) @ _frame(lateral, down).T


def _frame(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Orthonormal columns: along the first vector, along the second's rest, and across both."""
    one = first / np.linalg.norm(first)
    rest = second - (second @ one) * one
    two = rest / np.linalg.norm(rest)
    return np.column_stack([one, two, np.cross(one, two)])


def _shortest(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Give the smallest rotation from one unit vector to another (Rodrigues' formula)."""
    axis, cosine = np.cross(start, end), float(start @ end)
    if cosine < -1 + 1e-9:
        return _HALF_TURNS[VERTICAL]
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + skew + skew @ skew / (1 + cosine)
