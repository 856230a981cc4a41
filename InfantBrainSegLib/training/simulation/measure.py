"""Test subjects whose gray and white matter look as alike as iSeg's do."""

from dataclasses import replace

import numpy as np

from ...checks.growth import typical_brain_ml
from ...core.errors import TrainingError
from ...core.labels import GM, WM
from .artefacts import ArtefactConfig
from .contrast import ContrastConfig
from .labelmaps import CORTEX, LabelMap
from .synthesis import SIX_MONTHS, Simulator, SimulatorConfig, Synthesized

MEASURED_OVERLAPS = (0.70, 0.87, 0.615)  # T1, T2, both of iSeg-2017, published; SD 0.05, 0.04 and 0.03
OVERLAP_TOLERANCES = (0.06, 0.05, 0.04)
SIX_MONTHS_GM_WM = (1.4, 1.7)  # 29 real six-month-olds: 1.39 to 1.68
_MAX_DRAWS = 200
_CEREBRUM_SHARE = 0.9  # of the brain; cerebellum and brainstem are off
_SCALE_TOLERANCE = 0.05  # 15 % of the volume
_CORTEX = (1.15, 1.5)  # of white matter's volume, and
_RIM_MM = (1.5, 3.5)  # so much fluid round it: then 25, 43 and 31 % are CSF, GM and WM (iSeg-2017: 22, 47, 31)
_CSF_T2 = (1.3, 1.7)
_BIAS = 0.06  # a bias field of 2 to 4 % is left in the real images of the data folder


def histogram_overlap(a: np.ndarray, b: np.ndarray, bins: int = 100) -> float:
    """Sum of the bin-wise minimum of two normalised histograms: 1 where they are equal, 0 where they are apart.

    Parameters
    ----------
    a, b : (N,), (M,) arrays
    bins : int
        Over the range from the 0.1 to the 99.9 percentile of both.
    """
    span = np.percentile(np.concatenate([a, b]), [0.1, 99.9])
    first, second = (np.histogram(values, bins, span)[0] / values.size for values in (a, b))
    return float(np.minimum(first, second).sum())


def joint_overlap(a: np.ndarray, b: np.ndarray, bins: int = 50) -> float:
    """As `histogram_overlap`, of the joint histograms of T1 and T2; at most the smaller of the two overlaps, but for the bins.

    Parameters
    ----------
    a, b : (2, N), (2, M) arrays
        T1 and T2 of the voxels of two tissues.
    bins : int
        An axis.
    """
    spans = np.percentile(np.concatenate([a, b], axis=1), [0.1, 99.9], axis=1).T
    first, second = (np.histogramdd(values.T, bins, spans)[0] / values.shape[1] for values in (a, b))
    return float(np.minimum(first, second).sum())


def gm_wm_overlaps(synthesized: Synthesized) -> tuple[float, float, float]:
    """Histogram overlap of gray and white matter on T1, on T2 and on both together."""
    labels, images = synthesized.labels.cpu().numpy(), synthesized.images.cpu().numpy()
    gm, wm = images[:, labels == GM.value], images[:, labels == WM.value]
    return histogram_overlap(gm[0], wm[0]), histogram_overlap(gm[1], wm[1]), joint_overlap(gm, wm)


def isointense_subject(label_map: LabelMap, seed: int) -> tuple[Synthesized, tuple[float, float, float]]:
    """Draw subjects from a map, none of whom moved, until one's overlaps are the measured ones.

    Adult maps that are larger are brought to the size of six months first, infant maps have their own; all are brought to iSeg's shares.

    Returns
    -------
    synthesized : Synthesized
    overlaps : tuple of float
        T1, T2, both.

    Raises
    ------
    TrainingError
        If none was found in 200 draws.
    """
    simulator = Simulator([label_map], _config(label_map))
    for draw in range(_MAX_DRAWS):
        synthesized = simulator.subject(label_map, np.random.default_rng([seed, draw]), "isointense")
        overlaps = gm_wm_overlaps(synthesized)
        if all(abs(o - m) <= t for o, m, t in zip(overlaps, MEASURED_OVERLAPS, OVERLAP_TOLERANCES, strict=True)):
            return synthesized, overlaps
    raise TrainingError(
        f"No subject with GM/WM overlaps near {MEASURED_OVERLAPS} came of {_MAX_DRAWS} draws from {label_map.name}: widen the contrast."
    )


def widened_subject(label_map: LabelMap, wider_mm: float, seed: int) -> Synthesized:
    """Draw an isointense subject whose ventricles are wider by so much; with one seed it is the same brain at every width."""
    config = replace(_config(label_map), wide_share=1.0, wide_mm=(wider_mm, wider_mm), one_sided_share=0.0)
    return Simulator([label_map], config).subject(label_map, np.random.default_rng(seed), "isointense")


def six_month_subject(label_map: LabelMap, seed: int) -> Synthesized:
    """Draw isointense subjects of the simulation "six months", none of whom moved, until one has as much GM to WM as real six-month-olds.

    Raises
    ------
    TrainingError
        If none was found in 200 draws.
    """
    config = replace(SIX_MONTHS, wide_share=0.0, artefacts=replace(SIX_MONTHS.artefacts, motion_share=0.0, bias=_BIAS))
    simulator = Simulator([label_map], config)
    for draw in range(_MAX_DRAWS):
        synthesized = simulator.subject(label_map, np.random.default_rng([seed, draw]), "isointense")
        gm, wm = (int((synthesized.labels == tissue.value).sum()) for tissue in (GM, WM))
        if SIX_MONTHS_GM_WM[0] <= gm / max(wm, 1) <= SIX_MONTHS_GM_WM[1]:
            return synthesized
    raise TrainingError(
        f"No subject with {SIX_MONTHS_GM_WM[0]} to {SIX_MONTHS_GM_WM[1]} times as much GM as WM came of {_MAX_DRAWS} draws from "
        f"{label_map.name}: wanted a map of cortex and WM that can be thinned to that."
    )


def _config(label_map: LabelMap) -> SimulatorConfig:
    tissue_ml = np.count_nonzero(label_map.classes >= CORTEX) / 1000
    scale = min((_CEREBRUM_SHARE * typical_brain_ml(6) / tissue_ml) ** (1 / 3), 1.0)
    return SimulatorConfig(
        adult_scale=(scale * (1 - _SCALE_TOLERANCE), scale * (1 + _SCALE_TOLERANCE)),
        cortex=_CORTEX,
        rim_mm=_RIM_MM,
        contrast=ContrastConfig(isointense_csf_t2=_CSF_T2),
        artefacts=ArtefactConfig(motion_share=0.0, bias=_BIAS),
    )
