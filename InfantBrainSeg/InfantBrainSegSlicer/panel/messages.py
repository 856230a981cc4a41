"""What the panel says: steps in words, times, warnings and the verdict as HTML."""

import html
import math
from collections.abc import Mapping

from slicer.i18n import tr as _

from InfantBrainSegLib.core.check import PASS, Check, inside_of
from InfantBrainSegLib.core.contract import Step

from ..scene.follow_up import FollowUp
from ..scene.provenance import Record
from ..scene.review import Review


def step_text(step: str) -> str:
    """Say what a step of the library does, in the user's words; a step without words of its own shows as it is."""
    texts = {
        Step.READ: _("Setting up: reading the scans"),
        Step.LOAD: _("Setting up: loading the networks"),
        Step.ALIGN: _("Setting up: aligning the scans"),
        Step.EXTRACT: _("Setting up: finding the cerebrum"),
        Step.PREPARE: _("Setting up: normalising and checking"),
        Step.STAGE_1: _("Stage 1: first network"),
        Step.CONTEXT: _("Context: distances to each tissue"),
        Step.STAGE_2: _("Stage 2: second network"),
        Step.CONTEXT_ROUND_2: _("Context: distances to each tissue, round 2"),
        Step.STAGE_2_ROUND_2: _("Stage 2: second network, round 2"),
        Step.CONTEXT_ROUND_3: _("Context: distances to each tissue, round 3"),
        Step.STAGE_2_ROUND_3: _("Stage 2: second network, round 3"),
        Step.CLEAN_UP: _("Clean-up: islands and holes"),
        Step.REFINE: _("Refining: second network near the edits"),
        Step.RESTORE: _("Clean-up: back to the T1w scan's grid"),
        Step.WRITE: _("Clean-up: writing the result"),
        Step.DONE: _("Loading the result"),
    }
    return texts.get(step, step) or _("Setting up")


def duration(seconds: float) -> str:
    """Write seconds as `m:ss`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"


def warnings_html(warnings: tuple[str, ...], title: str) -> str:
    """Set warnings as a list below a title; what comes from outside is escaped."""
    items = "".join(f'<li style="margin-bottom: 3px;">{html.escape(warning)}</li>' for warning in warnings)
    return f'<b>{html.escape(title)}</b><ul style="margin: 3px 0px 0px -24px;">{items}</ul>'


def sentence(text: str) -> str:
    """Begin with a capital."""
    return text[:1].upper() + text[1:]


def checks_title(checks: tuple[Check, ...]) -> str:
    """Name the section of the checks, with how they went."""
    if not checks:
        return _("Checks")
    failed = sum(check.status != PASS for check in checks)
    if not failed:
        return _("Checks: all {count} pass").format(count=len(checks))
    return _("Checks: {failed} of {count} to look at").format(failed=failed, count=len(checks))


def verdict_html(record: Record) -> str:
    """Set a verdict: what to do, and the reasons with their remedies."""
    title = {
        "accept": _("Accept: no sign of trouble was found. Look through the slices all the same."),
        "look": _("Look at these places before you use the result.") if record.places else _("Look through the result before you use it."),
        "do not use": _("Do not use this result."),
    }[record.decision]
    reasons = tuple(
        f"{sentence(reason.text)}. {sentence(reason.remedy)}." if reason.remedy else f"{sentence(reason.text)}."
        for reason in record.reasons
    )
    return warnings_html(reasons, title) if reasons else f"<b>{html.escape(title)}</b>"


def number(value: float, form: str) -> str:
    """Write a number; what rounds to 0 has no sign."""
    text = format(value, form)
    return text if text.strip("+-0.%") else text.lstrip("+-")


def place_text(ras_mm: tuple[float, float, float], doubtful_share: float) -> str:
    """Name a place by the axial slice through it, as the slice view does, and how much round it is in doubt."""
    side = "S" if ras_mm[2] >= 0 else "I"
    return _("Axial {side} {mm:.0f} mm, {percent:.0f} % in doubt").format(side=side, mm=abs(ras_mm[2]), percent=100 * doubtful_share)


def edited_html(changed_ml: Mapping[str, float]) -> str:
    """Say above a verdict that the segmentation is no longer the one that it judges, and what changed."""
    told = {name: _("removed") if math.isnan(change) else f"{number(change, '+.1f')} ml" for name, change in changed_ml.items()}
    changes = ", ".join(f"{name} {text}" for name, text in told.items())
    title = _("Edited since: the verdict is of the automatic result.")
    return f"<p><b>{html.escape(title)}</b> {html.escape(changes)}.</p>"


def norm_in_words(ratio: float, age_months: float | None) -> str:
    """Say which ratio of gray to white matter is known at an age and whether this one is outside, and that the volumes have no norm."""
    from InfantBrainSegLib.checks.growth import gray_to_white_range

    wanted = gray_to_white_range(age_months)
    if wanted is None:
        return NO_NORM
    outside = "" if math.isnan(ratio) or inside_of(ratio, wanted) else f" ({RATIO_OUTSIDE})"
    return f"{RATIO_RANGE.format(low=wanted[0], high=wanted[1])}{outside}; {NO_NORM}"


def norm_tip() -> str:
    """Say where the range is from."""
    from InfantBrainSegLib.checks.growth import GRAY_TO_WHITE_AGES_MONTHS

    return NORM_TIP.format(first=GRAY_TO_WHITE_AGES_MONTHS[0], last=GRAY_TO_WHITE_AGES_MONTHS[1])


def review_in_words(review: Review, edited_since: bool) -> str:
    """Say who looked a result through, and when."""
    text = _("by {name}, {when} UTC").format(name=review.by, when=review.utc[:16].replace("T", " "))
    return f"{text}. {_('Edited since.')}" if edited_since else text


def compared(found: FollowUp) -> str:
    """Say what a comparison is, and what it lacks."""
    texts = [TWO_PATIENTS] if found.two_patients else []
    missing = [] if found.months > 0 else [NO_AGE if math.isnan(found.months) else SAME_AGE]
    return " ".join((*texts, COMPARED, *missing))


def finished(record: Record, seconds: float) -> str:
    """Say that a run has a result, and of a refinement what it did."""
    if record.followed is None:
        return FINISHED.format(time=duration(seconds))
    fixed, changed = (f"{count:,}" for count in record.followed)
    return FOLLOWED.format(time=duration(seconds), fixed=fixed, changed=changed)


def not_in_verdict(failed: tuple[Check, ...], record: Record) -> tuple[Check, ...]:
    """Leave out the checks that the record has too, and so the verdict among its reasons."""
    shown = {check.code for check in record.checks}
    return tuple(check for check in failed if check.code not in shown)


NO_TORCH = _("PyTorch, the library that runs the networks, is not installed here: click Install PyTorch.")
NO_TORCH_EXTENSION = _(
    "Slicer's PyTorch extension is not installed: open the Extensions Manager (View menu), install the extension PyTorch, "
    "restart Slicer and come back here."
)
INSTALL_QUESTION = _(
    "Install PyTorch 2.2 or newer? It is downloaded from pytorch.org: some 0.3 GB, with an NVIDIA GPU some 3 GB (6 GB on the disk). "
    "That takes 2 to 20 minutes, during which Slicer does not respond."
)
INSTALL_FAILED = _(
    "PyTorch could not be installed ({error}). The whole output is in Slicer's error log (View, Error Log); "
    "docs/troubleshooting.md lists errors and remedies."
)
READY = _("Ready: click Segment.")
READY_WITH_WARNINGS = _("Ready, with warnings: look at them, then click Segment.")
WHOLE_HEAD = _("These look like whole heads: the cerebrum is taken out of them first.")
CHECKING = _("Looking at the scans ...")
NO_SCENE = _("The panel is not in use: open the module again.")
SEGMENT_TIP = _("Segment the scans into cerebrospinal fluid, gray matter and white matter.")
CANCEL_TIP = _("Stop the run. The scene stays as it was.")
BEFORE_RUN = _("Please look at this before you segment:")
AFTER_RUN = _("Please look at this before you use the result:")
NO_CHECKS = _("What can be checked before the networks run.")
QUICK_CHECKS = _("A quick look at the chosen scans. Check images runs all checks.")
ALL_CHECKS = _("All checks of the chosen scans.")
CHECKS_OF_RESULT = _("All checks of the scans, made with the result.")
ALL_PASS = _("All checks pass.")
SOME_FAIL = _("The checks found something to look at: see the table.")
PLACE_TIP = _("Shows this place in the middle of all slice views.")
FINISHED = _("Finished in {time} min. Check the result before you use it.")
FOLLOWED = _(
    "Finished in {time} min: {fixed} voxels that you edited stay, {changed} near them followed. Check the result before you use it."
)
REFINE_TIP = _(
    "Keeps every voxel that you edited and labels those within 5 mm again. Paint in single slices and leave two slices out between them."
)
NO_REFINE_TIP = _("Nothing was edited since the run: click Edit first.")
STOPPED = _("The run ended without a result: see the log.")
SCENE_CLOSED = _("Cancelled, because the scene was closed.")
REPLACE_EDITED = _("{name} holds segments that were edited, or that this panel did not make. Replace them with the new result?")
SEGMENT_FRAME = _("Segment it?")
EDITED = _("The segmentation has changed since: press Recompute statistics.")
TOTAL = _("{total} ml in all")
NO_NORM = _("no norm for the volumes")
RATIO_RANGE = _("GM/WM at this age: {low:.2f} to {high:.2f}")
RATIO_OUTSIDE = _("outside: look")
NORM_TIP = _(
    "GM/WM: lowest and highest of 29 six-month-olds, labelled by a network trained on experts' labels, used from {first:g} to {last:g} "
    "months. No published volumes were found for this definition: the cerebrum alone, basal ganglia in gray matter, all its fluid."
)
COPIED = _("Copied: paste it into a spreadsheet or a report.")
SAVED = _("Saved {path}.")
NOT_SAVED = _("{path} cannot be written ({reason}): choose another folder.")
NO_SEGMENT_EDITOR = _("This Slicer has no Segment Editor, or no main window: open the segmentation in a module that can edit it.")
DOUBT_TIP = _(
    "Colors where the networks were unsure, in place of the tissues: from yellow, 20 % in doubt, to red, 70 %. Of the automatic result."
)
NO_DOUBT_TIP = _("Colors where the networks were unsure. Tick Probability volumes under Outputs and segment again: it is made of them.")
PLACE_OF = _("Place {number} of {count}")
PLACES = _("{count} in doubt")
UNDONE = _("{name} is as it was before the refinement.")
COMPARED = _("Compared by volume alone: nothing was registered. Another scanner or sequence changes volumes too.")
NO_AGE = _("An age is not known: there is no change by month and no plot.")
SAME_AGE = _("Both are of one age: there is no change by month and no plot.")
TWO_PATIENTS = _("The Data module has them under two patients: make sure that they are of one child.")
RECOMPUTED = _("Measured {name} again.")


def help_text() -> str:
    """Build the module's help."""
    return _("""
<p>Segments T1- and T2-weighted MRI of the infant brain into cerebrospinal fluid, gray matter and white matter, also at about six
months of age, when gray and white matter look alike. Pick a T1w and a T2w scan and click Segment: whole heads straight from the scanner,
skull-stripped brains, or either with a brain mask of your own. One scan alone also works, with a less accurate result.
<b>Load sample</b> brings two synthetic scans to try it on.</p>
<p>After the run the panel says whether to accept the result, to look at some places first, which its buttons show, or not to use it.
<b>Keep the mask</b> keeps the cerebrum that was found, to be edited in Segment Editor and given back as the brain mask.</p>
<p><b>Research use only. Not a medical device.</b> The bundled weights learned from images synthesized from label maps, not from
labelled infant scans. What was measured, and what was not, is in MODEL_CARD.md. Check every result before you use it.</p>
""")


def acknowledgement_text() -> str:
    """Build the module's acknowledgement, with the paper whose method this is."""
    return _("""
<p>Method: G. Zeng and G. Zheng, "Multi-stream 3D FCN with multi-scale deep supervision for multi-modality isointense infant brain MR image
segmentation", ISBI 2018. Please cite the paper. This is an independent implementation; its departures are said where they are made.</p>
<p>The weights were trained on images synthesized from label maps; the sources are named in MODEL_CARD.md.</p>
""")
