"""From the scans as given to what the tissue networks see: align, extract the cerebrum, correct the bias, prepare, check."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import SimpleITK as sitk

from ..checks.input_checks import CheckedScans, inspect
from ..core.check import PASS, STOP, WARN, Check, CheckCode, make_check
from ..core.contract import STEP_ENDS, Step
from ..core.errors import AlignmentError
from ..core.progress import Progress, silent
from ..extraction.extract import OFF, Extraction, extract, left_as_given, set_upright
from ..extraction.pose import UPRIGHT_DEGREES
from ..imaging.files import check_image
from ..imaging.masks import to_mask
from ..networks.device import resolve_device
from ..networks.predictor import Predictor
from ..preparation import registration as align
from ..preparation.bias import correct_pair, wants_correction
from ..preparation.normalisation import Prepared, ScanPair, pair_scans, prepare
from ..preparation.registration import Alignment, align_pair
from .options import SegmentOptions
from .report import Steps

HEAD_CONFIDENCE = 0.93  # of 46 synthetic heads 14 were below it, among them all 5 whose mask, its border uncorrected, had a Dice under 0.96
STRIPPED_CONFIDENCE = 0.80  # ten real newborns have 0.88 to 0.95, with T1 alone 0.84 to 0.91, with T2 alone 0.79 to 0.92


@dataclass(frozen=True)
class PreparedScans:
    """Scans that are ready, and what was done to them.

    Attributes
    ----------
    alignment : Alignment
    extraction : Extraction
    pair : ScanPair
        On the grid of T1, or of T2 when it is alone.
    prepared : Prepared
    bias_corrected : bool
    checks : tuple of Check
    mask_warnings : tuple of str
        What is odd about the mask as given.
    """

    alignment: Alignment
    extraction: Extraction
    pair: ScanPair
    prepared: Prepared
    bias_corrected: bool
    checks: tuple[Check, ...]
    mask_warnings: tuple[str, ...] = ()


def prepare_scans(
    scans: tuple[sitk.Image | None, sitk.Image | None, sitk.Image | None], options: SegmentOptions, predictor: Predictor, steps: Steps
) -> PreparedScans:
    """Make scans ready.

    Parameters
    ----------
    scans : T1, T2 and mask, 3D sitk.Image or None
    options : SegmentOptions
    predictor : Predictor
    steps : Steps

    Raises
    ------
    InfantBrainSegError
        If the scans cannot be used.
    """
    t1, t2, mask = scans
    doubts: list[str] = []
    if mask is not None:
        mask, doubts = to_mask(check_image(mask, "The brain mask"), "The brain mask")
    with steps(Step.ALIGN):
        alignment = align_pair(t1, t2, mask, options.align)
    with steps(Step.EXTRACT) as inside:
        extraction = _extract((t1, alignment.t2, mask), options.extract, predictor, lambda share: inside(Step.EXTRACT, share))
    with steps(Step.PREPARE):
        pair = pair_scans(extraction.t1, extraction.t2, extraction.mask)
        corrected = wants_correction(options.bias_correction, t1, t2, extraction.mask)
        prepared = prepare(correct_pair(pair) if corrected else pair, extraction.rotation)
        seen = inspect(CheckedScans(extraction.t1, extraction.t2, pair, prepared), options.age_months)
        checks = (*_extraction_checks(extraction), *seen)
    return PreparedScans(alignment, extraction, pair, prepared, corrected, checks, tuple(doubts))


def _extract(
    scans: tuple[sitk.Image | None, sitk.Image | None, sitk.Image | None],
    choice: str,
    predictor: Predictor,
    on_progress: Callable[[float], None],
) -> Extraction:
    t1, t2, mask = scans
    if choice == OFF:
        return left_as_given(t1, t2, mask, "The extraction was switched off.")
    if mask is not None:
        return set_upright(t1, t2, mask, predictor, on_progress)
    return extract(t1, t2, predictor, on_progress)


def check_scans(
    scans: tuple[sitk.Image | None, sitk.Image | None, sitk.Image | None], options: SegmentOptions, progress: Progress = silent
) -> tuple[Check, ...]:
    """Check the scans of one brain as `segment` does before its tissue networks run, the cerebrum taken out first.

    Parameters
    ----------
    scans : T1, T2 and mask, 3D sitk.Image or None
    options : SegmentOptions
    progress : Progress

    Raises
    ------
    InfantBrainSegError
        If the scans cannot be used at all.
    """
    predictor = Predictor(resolve_device(options.device), options.device, options.window, False)
    steps = Steps(lambda step, share: progress(step, min(share / STEP_ENDS[Step.PREPARE], 1.0)))
    try:
        checks = prepare_scans(scans, options, predictor, steps).checks
    except AlignmentError as error:
        checks = prepare_scans(scans, replace(options, align=align.OFF), predictor, steps).checks
        refused = Check(CheckCode.ALIGNMENT, STOP, error.found, error.wanted, error.remedy)
        checks = tuple(refused if check.code == CheckCode.ALIGNMENT else check for check in checks)
    progress(Step.DONE, 1.0)
    return checks


def _extraction_checks(extraction: Extraction) -> tuple[Check, ...]:
    """What the extraction found, as rows of the table; none where it did not look."""
    report = extraction.report
    if not report.has_pose:
        return ()
    if report.front_is_back:
        lies = "front and back exchanged, set upright"
    elif report.upside_down:
        lies = "upside down, set upright"
    elif report.rotation_degrees is None:
        lies = "cannot be determined"
    else:
        lies = f"turned by {report.rotation_degrees:.0f} degrees{', set upright' if report.rotated else ''}"
    unsure = report.orientation_told is False and report.rotation_degrees is not None
    pose = make_check(
        CheckCode.POSE,
        PASS if report.rotation_degrees is not None and not report.rotated and not unsure else WARN,
        f"{lies}; which way is up and which is front could not be confirmed" if unsure else lies,
        f"up to {UPRIGHT_DEGREES:.0f} degrees",
        "if the head was not turned in the scanner, repair the header's orientation"
        + ("; look whether top and front are where the header says" if unsure else ""),
    )
    if report.found is None or report.confidence is None:
        return (pose,)
    wanted = STRIPPED_CONFIDENCE if report.stripped else HEAD_CONFIDENCE
    cerebrum = make_check(
        CheckCode.CEREBRUM,
        PASS if extraction.mask is None or report.confidence >= wanted else WARN,
        f"{report.found.rstrip('.')}; mean probability {report.confidence:.2f}",
        f"{wanted:g} or more",
        "look at the mask in all planes; correct it and give it with --mask, or as the brain mask in Slicer",
    )
    return cerebrum, pose
