"""After the run: may the result be used, and where should a person look first.

The limits leave room round six real subjects: the stages agree by 0.90 or more, the mean confidence is 0.78 or more, there are up to
1.3 islands a ml, and at most 33 % of any 15 mm cube is in doubt. None of this replaces a look: a network can be sure and wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from ..core.check import STOP, Check, Reason, SignCode, inside_of
from ..core.labels import GM, TISSUES, WM
from ..imaging.space import WorkingSpace
from .growth import gray_to_white_range
from .label_intensity import Mislabelled

ACCEPT, LOOK, DO_NOT_USE = "accept", "look", "do not use"
AGREEMENT_LOOK, AGREEMENT_BAD = 0.80, 0.50  # Dice of the first and the second stage
CONFIDENCE_LOOK, CONFIDENCE_BAD = 0.70, 0.50
FRACTION_LOOK, FRACTION_BAD = 0.03, 0.01  # in infants' labels CSF, the least, is at 5 % or more
ISLANDS_LOOK_PER_ML = 5.0
DOUBTFUL_CONFIDENCE = 0.5
PLACE_MM = 15  # side of the cube in which doubt is counted
PLACE_DOUBT = 0.40
MAX_PLACES = 5
MISLABELLED_LOOK_ML = 1.0  # real pairs and the sample have 0
MISLABELLED_BAD_SHARE = 0.10  # of the tissue; ventricles widened by 6 to 14 mm and called WM are 30 to 77 % of it


@dataclass(frozen=True)
class Place:
    """Where to look.

    Attributes
    ----------
    slice_index : int
        Of the third axis of T1's grid (T2's when it is alone), from 0.
    ras_mm : three floats
        The middle of the doubtful place, in the head as given.
    doubtful_share : float
        Of the voxels round it: unsure, or labelled otherwise by the first stage.
    """

    slice_index: int
    ras_mm: tuple[float, float, float]
    doubtful_share: float


@dataclass(frozen=True)
class Outcome:
    """What a run gave, in the working space.

    Attributes
    ----------
    first : (X, Y, Z) uint8 array or None
        The first stage's labels where there was a second.
    last : (X, Y, Z) uint8 array
        The last stage's labels, before the clean-up.
    confidence : (X, Y, Z) float array
        Probability of each voxel's label.
    mask : (X, Y, Z) bool array
    space : WorkingSpace
    fractions : dict
        Each tissue's share of the result, by its short name.
    islands_removed : int
    mislabelled : sequence of Mislabelled
    fluid : (X, Y, Z) bool array or None
        What the networks called GM or WM and became CSF by its intensities.
    age_months : float or None
    """

    first: np.ndarray | None
    last: np.ndarray
    confidence: np.ndarray
    mask: np.ndarray
    space: WorkingSpace
    fractions: dict[str, float]
    islands_removed: int
    mislabelled: Sequence[Mislabelled] = ()
    fluid: np.ndarray | None = None
    age_months: float | None = None


@dataclass(frozen=True)
class Verdict:
    """The judgement.

    Attributes
    ----------
    decision : "accept", "look" or "do not use"
    message : str
        One line for a person.
    reasons : tuple of Reason
        Those that forbid the use first.
    places : tuple of Place
        The most doubtful ones first; none when all is well.
    fractions, agreement : dict
        By tissue; agreement is the Dice coefficient of the two stages, empty without a second one.
    mean_confidence : float
    islands_removed : int
    """

    decision: str
    message: str
    reasons: tuple[Reason, ...]
    places: tuple[Place, ...]
    fractions: dict[str, float]
    agreement: dict[str, float]
    mean_confidence: float
    islands_removed: int

    def as_dict(self) -> dict[str, Any]:
        """Give plain values for a report."""
        reasons = [reason.as_dict() for reason in self.reasons]
        return {**asdict(self), "reasons": reasons, "places": [asdict(place) for place in self.places]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Verdict":
        """Read what `as_dict` gave."""
        places = [Place(place["slice_index"], tuple(place["ras_mm"]), place["doubtful_share"]) for place in values["places"]]
        return cls(**{**values, "reasons": tuple(map(Reason.from_dict, values["reasons"])), "places": tuple(places)})


def judge(outcome: Outcome, checks: Sequence[Check]) -> Verdict:
    """Judge a run by its own signs and by the checks of its images."""
    agreement = {} if outcome.first is None else _agreement(outcome)
    confidence = float(outcome.confidence[outcome.mask].mean(dtype=np.float64))
    islands_per_ml = outcome.islands_removed / max(np.count_nonzero(outcome.mask) / 1000, 1.0)  # 1 mm voxels
    bad: list[Reason] = []
    doubts: list[Reason] = []
    for check in checks:
        if not check.passes:
            (bad if check.status == STOP else doubts).append(Reason(check.code, f"{check.name}: {check.found}", check.remedy))
    measures = [
        (SignCode.TISSUE_FRACTION, f"{name} is {100 * value:.1f} % of the result", value, FRACTION_LOOK, FRACTION_BAD)
        for name, value in outcome.fractions.items()
    ]
    measures += [
        (SignCode.STAGE_AGREEMENT, f"the stages agree on {name} by {100 * value:.0f} % only", value, AGREEMENT_LOOK, AGREEMENT_BAD)
        for name, value in agreement.items()
    ]
    measures.append(
        (SignCode.CONFIDENCE, f"the mean confidence is {100 * confidence:.0f} % only", confidence, CONFIDENCE_LOOK, CONFIDENCE_BAD)
    )
    for code, said, value, look, worst in measures:
        if value < look:
            (bad if value < worst else doubts).append(Reason(code, said))
    if islands_per_ml > ISLANDS_LOOK_PER_ML:
        doubts.append(Reason(SignCode.ISLANDS, f"{outcome.islands_removed} islands were removed"))
    doubts += _gray_to_white(outcome)
    doubts += _fluid(outcome)
    odd_places = []
    for odd in outcome.mislabelled:
        if odd.volume_ml >= MISLABELLED_LOOK_ML:
            text = f"{odd.volume_ml:.0f} ml labelled {odd.own.short_name} look like {odd.other.short_name}"
            (bad if odd.share >= MISLABELLED_BAD_SHARE else doubts).append(Reason(SignCode.LABEL_INTENSITY, text))
            ras_mm, index = outcome.space.place_to_scan(odd.middle)
            odd_places.append(Place(round(index[2]), ras_mm, 1.0))
    places = _doubtful_places(outcome)
    found = tuple(odd_places) + tuple(place for place in places if place.doubtful_share > PLACE_DOUBT)
    doubtful = len(found) - len(odd_places)
    if doubtful:
        text = f"{doubtful} {'place is' if doubtful == 1 else 'places are'} in doubt"
        doubts.append(Reason(SignCode.DOUBTFUL_PLACES, text))
    decision = DO_NOT_USE if bad else LOOK if doubts else ACCEPT
    shown = found or (places[:3] if decision == LOOK else ())
    reasons = (*bad, *doubts)
    message = _message(decision, reasons, shown)
    return Verdict(decision, message, reasons, shown, outcome.fractions, agreement, confidence, outcome.islands_removed)


def _message(decision: str, reasons: Sequence[Reason], places: Sequence[Place]) -> str:
    if decision == ACCEPT:
        return "Accept: no sign of trouble was found; look at the overview all the same."
    why = "; ".join(reason.text for reason in reasons)
    if decision == DO_NOT_USE:
        return f"Do not use: {why}."
    first_of = {place.slice_index: place.ras_mm for place in reversed(places)}
    named = [f"{index} (RAS {', '.join(f'{round(mm)}' for mm in first_of[index])} mm)" for index in sorted(first_of)]
    return (
        f"Look at {'slice ' if len(named) == 1 else 'slices '}{'; '.join(named)} before use: {why}."
        if named
        else f"Look before use: {why}."
    )


def _agreement(outcome: Outcome) -> dict[str, float]:
    agreement = {}
    for tissue in TISSUES:
        if tissue.short_name not in outcome.fractions:
            continue
        one, other = outcome.first == tissue.value, outcome.last == tissue.value
        both = np.count_nonzero(one) + np.count_nonzero(other)
        agreement[tissue.short_name] = float(2 * np.count_nonzero(one & other) / both) if both else 1.0
    return agreement


def _gray_to_white(outcome: Outcome) -> list[Reason]:
    """Doubt a ratio that no real brain of that age has: thin blades of white matter may be called gray."""
    wanted, white = gray_to_white_range(outcome.age_months), outcome.fractions[WM.short_name]
    if wanted is None or not white:
        return []
    ratio = outcome.fractions[GM.short_name] / white
    if inside_of(ratio, wanted):
        return []
    text = f"there is {ratio:.2f} times as much GM as WM; wanted {wanted[0]:.2f} to {wanted[1]:.2f} at {outcome.age_months:g} months"
    remedy = "look whether thin white matter inside the gyri is called gray, and whether the age is right"
    return [Reason(SignCode.GRAY_TO_WHITE, text, remedy)]


def _fluid(outcome: Outcome) -> list[Reason]:
    """Doubt fluid that the networks did not know as such: what lies round it may be wrong too."""
    volume_ml = 0.0 if outcome.fluid is None else np.count_nonzero(outcome.fluid) / 1000  # 1 mm voxels
    if volume_ml < MISLABELLED_LOOK_ML:
        return []
    text = f"{volume_ml:.0f} ml that the networks called GM or WM have the intensities of CSF and became CSF"
    return [Reason(SignCode.FLUID, text, "look at the walls of the ventricles, and whether this is fluid")]


def _doubtful_places(outcome: Outcome) -> tuple[Place, ...]:
    """Find the places of most doubt, each at least one cube away from the others."""
    doubt = outcome.mask & (outcome.confidence < DOUBTFUL_CONFIDENCE)
    if outcome.first is not None:
        doubt |= outcome.mask & (outcome.first != outcome.last)
    brain = ndimage.uniform_filter(outcome.mask.astype(np.float32), PLACE_MM)
    share = ndimage.uniform_filter(doubt.astype(np.float32), PLACE_MM) / np.maximum(brain, 1e-6)
    share[~outcome.mask | (brain < 0.5)] = 0  # at the rim a few voxels would decide
    places: list[Place] = []
    while len(places) < MAX_PLACES:
        peak = np.unravel_index(share.argmax(), share.shape)
        if not share[peak] > 0:
            break
        ras_mm, index = outcome.space.place_to_scan(tuple(map(float, peak)))
        places.append(Place(round(index[2]), ras_mm, round(float(share[peak]), 3)))
        share[tuple(slice(max(index - PLACE_MM, 0), index + PLACE_MM + 1) for index in peak)] = 0
    return tuple(places)
