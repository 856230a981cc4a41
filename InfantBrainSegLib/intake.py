"""From the scans as given to what the tissue networks see: align, extract the cerebrum, correct the bias, prepare, check."""

from dataclasses import dataclass

import SimpleITK as sitk

from .align import Alignment, align_pair
from .bias import correct_pair, wants_correction
from .checks import Check
from .extract import OFF, Extraction, extract, left_as_given
from .gatekeeper import Scans, inspect
from .options import SegmentOptions
from .prepare import Prepared, ScanPair, pair_scans, prepare
from .report import Steps
from .runner import Runner
from .weights import BUNDLED_DIR


@dataclass(frozen=True)
class Intake:
    """Scans that are ready, and what was done to them.

    Attributes
    ----------
    reference : sitk.Image
        T1 as given, or T2 when it is alone: its grid is the result's.
    alignment : Alignment
    extraction : Extraction
    pair : ScanPair
        On the reference's voxels; its geometry is that of the upright head where `extraction.turn` is one.
    prepared : Prepared
    bias_corrected : bool
    checks : tuple of Check
    """

    reference: sitk.Image
    alignment: Alignment
    extraction: Extraction
    pair: ScanPair
    prepared: Prepared
    bias_corrected: bool
    checks: tuple[Check, ...]


def take_in(
    scans: tuple[sitk.Image | None, sitk.Image | None, sitk.Image | None], options: SegmentOptions, runner: Runner, steps: Steps
) -> Intake:
    """Make scans ready.

    Parameters
    ----------
    scans : T1, T2 and mask, 3D sitk.Image or None
    options : SegmentOptions
    runner : Runner
    steps : Steps

    Returns
    -------
    Intake

    Raises
    ------
    InfantBrainSegError
        If the scans can not be used.
    """
    t1, t2, mask = scans
    with steps("align"):
        alignment = align_pair(t1, t2, mask, options.align)
    with steps("extract") as inside:
        if mask is not None:
            extraction = left_as_given(t1, alignment.t2, mask, "A mask was given: nothing was extracted.")
        elif options.extract == OFF or not (BUNDLED_DIR / 'refine.pt').is_file():  # INTERIM
            extraction = left_as_given(t1, alignment.t2, None, "The extraction was switched off.")
        else:
            extraction = extract(t1, alignment.t2, runner.predict_once, lambda share: inside("extract", share))
    with steps("prepare"):
        pair = pair_scans(extraction.t1, extraction.t2, extraction.mask)
        corrected = wants_correction(options.bias_correction, t1, t2, extraction.mask)
        prepared = prepare(correct_pair(pair) if corrected else pair)
        checks = inspect(Scans(extraction.t1, extraction.t2, pair, prepared), options.age_months)
    reference = t1 if t1 is not None else t2
    assert reference is not None
    return Intake(reference, alignment, extraction, pair, prepared, corrected, checks)
