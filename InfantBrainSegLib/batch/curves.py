"""Volumes against age: percentiles of this cohort, who lies far outside, and both as SVG."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PERCENTILES = (5, 50, 95)
MIN_FOR_CURVE = 10  # scans; fewer give no percentiles worth a line
NEAREST_SHARE = 0.4  # of the scans count at each age, the nearer the more
OUTLIER_DEVIATIONS = 3.5  # robust standard deviations from the cohort's median at that age
_MAD_TO_DEVIATION = 1.4826  # of a normal distribution
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _EDGE = 460, 250, 52, 36, 14  # pixels


@dataclass(frozen=True)
class Measure:
    """One number of each scan.

    Attributes
    ----------
    title : str
        With its unit.
    names : tuple of str
        Of the scans.
    ages : (N,) float array
        Months; NaN where unknown.
    values : (N,) float array
        NaN where unknown.
    """

    title: str
    names: tuple[str, ...]
    ages: np.ndarray
    values: np.ndarray

    @property
    def has_ages(self) -> bool:
        """Whether enough scans have an age; else all are taken as of one age."""
        return int((np.isfinite(self.ages) & np.isfinite(self.values)).sum()) >= MIN_FOR_CURVE

    @property
    def known(self) -> np.ndarray:
        """(N,) bool: scans that count."""
        return np.isfinite(self.values) & (np.isfinite(self.ages) if self.has_ages else True)

    @property
    def places(self) -> np.ndarray:
        """(N,) where each scan lies on the axis of ages."""
        return self.ages if self.has_ages else np.zeros(len(self.values))


def percentiles_at(measure: Measure, ages: np.ndarray) -> np.ndarray:
    """Give the cohort's percentiles at some ages, from the scans near each, the nearer the more.

    They lie round a local line as in Cleveland's LOWESS (Journal of the American Statistical Association 74:829, 1979).

    Parameters
    ----------
    measure : Measure
    ages : (M,) float array

    Returns
    -------
    (M, 3) float array, NaN where there are too few scans
    """
    known = measure.known
    places, values = measure.places[known], measure.values[known]
    if len(values) < MIN_FOR_CURVE:
        return np.full((len(ages), len(PERCENTILES)), np.nan)
    count = max(MIN_FOR_CURVE, int(np.ceil(NEAREST_SHARE * len(values))))
    found = np.empty((len(ages), len(PERCENTILES)))
    for row, age in enumerate(ages):
        offsets = places - age
        reach = max(np.partition(np.abs(offsets), count - 1)[count - 1] * 1.001, 1e-6)
        weights = np.clip(1 - (np.abs(offsets) / reach) ** 3, 0, None) ** 3
        line = _line(offsets, values, weights)
        line = _line(offsets, values, weights * _trust(values - line[0] - line[1] * offsets, weights))
        residuals = values - line[0] - line[1] * offsets
        found[row] = line[0] + _weighted_quantiles(residuals, weights, np.array(PERCENTILES) / 100)
    return found


def _line(offsets: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Give the height at offset 0 and the slope of the line that fits best; a flat one where all offsets are the same."""
    mean_offset, mean = np.average(offsets, weights=weights), np.average(values, weights=weights)
    spread = np.average((offsets - mean_offset) ** 2, weights=weights)
    slope = 0.0 if spread < 1e-9 else np.average((offsets - mean_offset) * (values - mean), weights=weights) / spread
    return np.array([mean - slope * mean_offset, slope])


def _trust(residuals: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Give less weight to what lies far from a line (Tukey's biweight of six median deviations)."""
    scale = 6 * _weighted_quantiles(np.abs(residuals), weights, np.array([0.5]))[0]
    return np.ones_like(residuals) if scale <= 0 else np.clip(1 - (residuals / scale) ** 2, 1e-6, None) ** 2


def _weighted_quantiles(values: np.ndarray, weights: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    order = np.argsort(values)
    shares = weights[order]
    return np.interp(quantiles, (np.cumsum(shares) - shares / 2) / shares.sum(), values[order])


def outliers(measure: Measure) -> list[str]:
    """Name the scans far from the median of the cohort at their age.

    Returns
    -------
    list of str, the farthest first
    """
    known = measure.known
    if known.sum() < MIN_FOR_CURVE:
        return []
    medians = percentiles_at(measure, measure.places[known])[:, 1]
    residuals = measure.values[known] - medians
    deviation = _MAD_TO_DEVIATION * float(np.median(np.abs(residuals - np.median(residuals))))
    if deviation == 0:
        return []
    names = np.array(measure.names)[known]
    scores = np.abs(residuals) / deviation
    return [str(names[index]) for index in np.argsort(-scores) if scores[index] > OUTLIER_DEVIATIONS]


def draw(measure: Measure) -> str:
    """Draw a measure against age as SVG; each point says its scan's name to the page by `data-scan`.

    Returns
    -------
    str, empty where there is nothing to draw
    """
    known = measure.known
    if not known.any():
        return ""
    places, values = measure.places[known], measure.values[known]
    names, far = np.array(measure.names)[known], set(outliers(measure))
    x_axis = _Axis(places, _LEFT, _WIDTH - _EDGE)
    y_axis = _Axis(values, _HEIGHT - _BOTTOM, _EDGE + 12)
    parts = [f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(measure.title)}">']
    parts.append(f'<text class="title" x="{_LEFT}" y="14">{html.escape(measure.title)}</text>')
    for value in y_axis.ticks:
        y = y_axis.at(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _EDGE}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    if measure.has_ages:
        for value in x_axis.ticks:
            parts.append(f'<text x="{x_axis.at(value):.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{value:g}</text>')
        axis = "age in months"
    else:
        axis = "all scans, in the order of the table: fewer than ten have an age"
        x_axis = _Axis(np.arange(len(places)), _LEFT, _WIDTH - _EDGE)
        places = np.arange(len(places))
    parts.append(f'<text x="{(_LEFT + _WIDTH) / 2:.0f}" y="{_HEIGHT - 4}" text-anchor="middle">{axis}</text>')
    for name, place, value in zip(names, places, values, strict=True):
        kind = "point far" if name in far else "point"
        title = f"{html.escape(str(name))}: {value:.4g}"
        shape = (
            f'<circle class="{kind}" data-scan="{html.escape(str(name))}" cx="{x_axis.at(place):.1f}" cy="{y_axis.at(value):.1f}" r="3.5">'
        )
        parts.append(f"{shape}<title>{title}</title></circle>")
    parts += _curves(measure, x_axis, y_axis)  # over the points, which would hide them
    return "".join([*parts, "</svg>"])


class _Axis:
    """From numbers to pixels."""

    def __init__(self, values: Sequence[float] | np.ndarray, start: float, end: float):
        low, high = float(np.min(values)), float(np.max(values))
        room = 0.05 * (high - low) or max(abs(low), 1.0) * 0.05
        self.low, self.high = low - room, high + room
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        """Give the pixel of a number."""
        return self._start + (value - self.low) / (self.high - self.low) * (self._end - self._start)

    @property
    def ticks(self) -> list[float]:
        """Give about five round numbers."""
        rough = (self.high - self.low) / 5
        unit = 10 ** np.floor(np.log10(rough))
        step = float(unit * min((1, 2, 5, 10), key=lambda factor: abs(factor * unit - rough)))
        return [round(step * index, 10) for index in range(int(np.ceil(self.low / step)), int(np.floor(self.high / step)) + 1)]


def _curves(measure: Measure, x_axis: _Axis, y_axis: _Axis) -> list[str]:
    if measure.has_ages:
        places = measure.places[measure.known]
        ages = np.linspace(places.min(), places.max(), 40)
    else:
        ages = np.array([0.0, 0.0])
    found = percentiles_at(measure, ages)
    if not np.isfinite(found).all():
        return []
    across = ages if measure.has_ages else np.array([x_axis.low, x_axis.high])
    lines = []
    for column, percentile in enumerate(PERCENTILES):
        points = " ".join(f"{x_axis.at(x):.1f},{y_axis.at(y):.1f}" for x, y in zip(across, found[:, column], strict=True))
        lines.append(f'<polyline class="percentile p{percentile}" points="{points}"><title>{percentile}th percentile</title></polyline>')
    return lines
