"""The first half of cerebrum extraction: where the brain's parts lie, at 3 mm, whatever the header says of the head's pose."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..core.labels import BACKGROUND, INFRATENTORIAL, LEFT_CEREBRUM, RIGHT_CEREBRUM
from ..imaging.resample import voxel_mm3
from ..imaging.space import ras_grid
from ..networks.predictor import Predictor
from ..networks.sliding_window import SlidingWindowConfig
from ..preparation import foreground as quality
from .head import Head, as_image, images_on
from .pose import Pose, find_pose, shows_below

LOCATE_MM = 3.0
MIN_CONFIDENCE = 0.94  # mean probability in the brain above which the header is believed; chosen by Testing/benchmarks/measure_axes.py
MIN_GAIN = 0.015  # by which another order of the axes must beat the header's
MIN_GAIN_OF_BACK = 0.014  # by which a stripped brain with front and back exchanged must; chosen there too
LOCATE_WINDOW = SlidingWindowConfig(patch_voxels=80, plan="overlap", batch_size=1)  # 24 cm: a whole head at once


@dataclass(frozen=True)
class Located:
    """Where the brain lies.

    Attributes
    ----------
    parts : sitk.Image of uint8
        At 3 mm: left cerebrum, right cerebrum, infratentorial; 0 elsewhere.
    pose : Pose
    confidence : float
        Mean probability of the parts.
    """

    parts: sitk.Image
    pose: Pose
    confidence: float


def locate(heads: dict[str, Head], reference: Head, predictor: Predictor, on_progress: Callable[[float], None]) -> Located:
    """Find the parts of the brain, and how it lies.

    The network knows heads turned by up to some 45 degrees. Where it is unsure, or what it finds lies as no head does, the header may be
    wrong: then the other ways in which axes can be exchanged are tried, and the one that looks most like a head is taken. Of a stripped
    brain without its lower part only front and back are compared.
    """
    grid = ras_grid(reference.corners_mm(), LOCATE_MM, 0.0)
    search = _Search(grid, images_on(heads, grid), predictor)
    best = search.attempt(_HEADERS, lambda share: on_progress(share / 2))
    front_is_back = False
    if is_stripped(reference, best.parts):
        if not shows_below(best.parts):
            turned = search.attempt(_HALF_TURN, lambda share: on_progress((1 + share) / 2))
            front_is_back = 0 < best.score <= turned.score - MIN_GAIN_OF_BACK
            best = turned if front_is_back else best
    elif best.score < MIN_CONFIDENCE:
        orders = [order for order in _orders() if order != _HEADERS]
        tried = [
            search.attempt(order, lambda share, n=n: on_progress((1 + (n + share) / len(orders)) / 2))  # type: ignore[misc]
            for n, order in enumerate(orders)
        ]
        other = max(tried, key=lambda one: one.score)
        best = other if other.score >= best.score + MIN_GAIN else best
    parts, confidence = search.with_mirror(best)
    on_progress(1.0)
    return Located(parts, find_pose(parts, front_is_back), confidence)


def is_stripped(head: Head, parts: sitk.Image) -> bool:
    """Tell a skull-stripped scan: its background is exact and most of its signal is brain."""
    return head.stripped and volume_ml(parts) >= quality.STRIPPED_SHARE * head.signal_ml()


def volume_ml(parts: sitk.Image) -> float:
    """Volume of all parts."""
    return float(np.count_nonzero(sitk.GetArrayViewFromImage(parts))) * voxel_mm3(parts) / 1000


@dataclass(frozen=True)
class _Attempt:
    """What the network found with the axes in one order."""

    order: "_Order"
    probabilities: np.ndarray  # (4, X', Y', Z')
    parts: sitk.Image
    score: float


class _Search:
    """The network on one head, with the axes in any order."""

    def __init__(self, grid: sitk.Image, inputs: np.ndarray, predictor: Predictor):
        self._grid, self._inputs, self._predictor = grid, inputs, predictor  # inputs (2, X, Y, Z)
        self._network = predictor.networks.get("locate")

    def attempt(self, order: "_Order", on_progress: Callable[[float], None]) -> _Attempt:
        """How sure the network is; less by 1 where what it finds lies as no head does."""
        probabilities = self._predictor.predict_array(self._network, order.there(self._inputs), None, LOCATE_WINDOW, on_progress)
        parts = _whole_parts(probabilities)  # (X', Y', Z')
        upright = find_pose(as_image(parts, ras_grid(np.zeros((3, 1)), LOCATE_MM, 0.0)))  # where it lies does not matter, but how
        confidence = _mean_within(parts, probabilities)
        return _Attempt(order, probabilities, self._image(order, parts), confidence if upright.plausible else confidence - 1)

    def with_mirror(self, attempt: _Attempt) -> tuple[sitk.Image, float]:
        """Parts by the mean of an attempt and of what the network finds in the mirrored head, and their mean probability."""
        mirrored = attempt.order.there(self._inputs)[:, ::-1]
        other = self._predictor.predict_array(self._network, mirrored, None, LOCATE_WINDOW, lambda share: None)[:, ::-1]
        probabilities = (attempt.probabilities + other[[BACKGROUND, RIGHT_CEREBRUM, LEFT_CEREBRUM, INFRATENTORIAL]]) / 2
        parts = _whole_parts(probabilities)
        return self._image(attempt.order, parts), _mean_within(parts, probabilities)

    def _image(self, order: "_Order", parts: np.ndarray) -> sitk.Image:
        return as_image(order.back(parts[None])[0], self._grid)


@dataclass(frozen=True)
class _Order:
    """One of the 24 ways in which a head can lie along the axes."""

    axes: tuple[int, ...]
    signs: tuple[int, ...]

    def there(self, values: np.ndarray) -> np.ndarray:
        """(C, X, Y, Z) with its axes exchanged and mirrored."""
        moved = values.transpose(0, *(1 + axis for axis in self.axes))
        return moved[(slice(None), *(slice(None, None, sign) for sign in self.signs))]

    def back(self, values: np.ndarray) -> np.ndarray:
        """What `there` came from."""
        unmirrored = values[(slice(None), *(slice(None, None, sign) for sign in self.signs))]
        return unmirrored.transpose(0, *(1 + int(axis) for axis in np.argsort(self.axes)))


_HEADERS = _Order((0, 1, 2), (1, 1, 1))
_HALF_TURN = _Order((0, 1, 2), (-1, -1, 1))  # about the vertical


def _orders() -> list[_Order]:
    """All that turn a head and do not mirror it."""
    ways = itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))
    return [_Order(axes, signs) for axes, signs in ways if np.linalg.det(np.eye(3)[list(axes)] * np.array(signs)[:, None]) > 0]


def _whole_parts(probabilities: np.ndarray) -> np.ndarray:
    """Most likely parts (X, Y, Z) of (4, X, Y, Z): the largest piece of the cerebrum and of what lies below it."""
    parts = probabilities.argmax(0).astype(np.uint8)
    cerebrum = largest_piece((parts == LEFT_CEREBRUM) | (parts == RIGHT_CEREBRUM))
    return np.where(cerebrum | largest_piece(parts == INFRATENTORIAL), parts, 0).astype(np.uint8)


def _mean_within(parts: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of the highest probability in all parts."""
    brain = parts > 0
    return float(probabilities.max(0)[brain].mean()) if brain.any() else 0.0


def largest_piece(mask: np.ndarray) -> np.ndarray:
    """Keep the largest connected piece of a 3D bool array."""
    pieces, count = ndimage.label(mask)
    if count <= 1:
        return mask
    return pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()
