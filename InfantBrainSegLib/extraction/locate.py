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
from .pose import FRONT_BACK, LEFT_RIGHT, VERTICAL, Pose, below_share, find_pose

LOCATE_MM = 3.0
MIN_CONFIDENCE = 0.94  # mean probability in the brain above which the header is believed; chosen by Testing/benchmarks/measure_axes.py
MIN_GAIN = 0.015  # by which another order of the axes must beat the header's
MIN_GAIN_OF_BACK = 0.014  # by which a stripped brain with front and back exchanged must; chosen there too
# Of stripped brains, the limits below were chosen on ten real newborns, with and without cerebellum, and four older infants:
MIN_GAIN_OF_UPSIDE_DOWN = 0.005  # right headers have less than -0.01, wrong ones more than 0.01, but for T2 alone, which does not tell
MIN_APART = 0.003  # of the best two ways a brain can lie, for the best to be told
CLEAR_BELOW_SHARE = 0.07  # as `MIN_BELOW_SHARE`: upright ones with a cerebellum have 0.085 or more, turned ones 0.05 or less
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
    wrong: then the other ways in which axes can be exchanged are tried, and the one that looks most like a head is taken. A stripped
    brain is compared with itself turned by half a turn about each axis, unless its lower part is seen where the header says.
    """
    grid = ras_grid(reference.corners_mm(), LOCATE_MM, 0.0)
    search = _PoseSearch(grid, images_on(heads, grid), predictor)
    best = search.attempt(_HEADERS, lambda share: on_progress(share / 2))
    half_turn, told = None, True
    if is_stripped(reference, best.parts):
        if best.score < MIN_CONFIDENCE or below_share(best.parts) < CLEAR_BELOW_SHARE:
            turned = {
                axis: search.attempt(order, lambda share, n=n: on_progress((1 + (n + share) / len(_HALF_TURNS)) / 2))  # type: ignore[misc]
                for n, (axis, order) in enumerate(_HALF_TURNS.items())
            }
            half_turn, told = choose_half_turn(best, turned, "T1" in heads)
            best = best if half_turn is None else turned[half_turn]
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
    return Located(parts, find_pose(parts, half_turn, told), confidence)


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


def choose_half_turn(header: _Attempt, turned: dict[int, _Attempt], with_t1: bool) -> tuple[int | None, bool]:
    """Tell which way a stripped brain lies.

    Parameters
    ----------
    header : _Attempt
        As the header says.
    turned : dict of _Attempt
        Turned by half a turn, by axis.
    with_t1 : bool
        T2 alone, without a cerebellum, does not tell up from down.

    Returns
    -------
    axis : int or None
        To turn about; None to believe the header.
    told : bool
        Whether the brain tells it.
    """
    if header.score <= 0:
        return None, False
    if not with_t1 and below_share(header.parts) >= CLEAR_BELOW_SHARE:  # T2's other ways are at times likelier by 0.04
        return None, True
    ways: list[tuple[int | None, _Attempt]] = [(None, header), *turned.items()]
    second, best = sorted(one.score for _, one in ways)[-2:]
    below = {axis: below_share(one.parts) for axis, one in ways if one.score >= best - MIN_APART}
    if max(below.values()) >= CLEAR_BELOW_SHARE:
        return max(below, key=lambda way: below[way]), True
    axis = max(turned, key=lambda one: turned[one].score)
    told = with_t1 and best - second >= MIN_APART
    gain = turned[axis].score - header.score
    if gain >= MIN_GAIN_OF_BACK if axis == VERTICAL else (gain >= MIN_GAIN_OF_UPSIDE_DOWN and with_t1):
        return axis, told
    return None, told and gain < 0


class _PoseSearch:
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
_HALF_TURNS = {
    VERTICAL: _Order((0, 1, 2), (-1, -1, 1)),
    LEFT_RIGHT: _Order((0, 1, 2), (1, -1, -1)),
    FRONT_BACK: _Order((0, 1, 2), (-1, 1, -1)),
}


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
