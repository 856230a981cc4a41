"""What the panel says: steps in words, times, warnings as HTML."""

import html

from slicer.i18n import tr as _


def step_in_words(step: str) -> str:
    """Say what a step of the library does, in the user's words; a step without words of its own shows as it is."""
    words = {
        "read": _("Setting up: reading the scans"),
        "prepare": _("Setting up: aligning and normalising"),
        "stage 1": _("Stage 1: first network"),
        "context": _("Context: distances to each tissue"),
        "stage 2": _("Stage 2: second network"),
        "clean up": _("Clean-up: islands and holes"),
        "restore": _("Clean-up: back to the T1w scan's grid"),
        "write": _("Clean-up: writing the result"),
        "done": _("Loading the result"),
    }
    return words.get(step, step) or _("Setting up")


def duration(seconds: float) -> str:
    """Write seconds as `m:ss`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"


def warnings_html(warnings: tuple[str, ...], title: str) -> str:
    """Set warnings as a list below a title; what comes from outside is escaped."""
    items = "".join(f'<li style="margin-bottom: 3px;">{html.escape(warning)}</li>' for warning in warnings)
    return f'<b>{html.escape(title)}</b><ul style="margin: 3px 0px 0px -24px;">{items}</ul>'


NO_TORCH = _("PyTorch, the library that runs the networks, is not installed here: click Install PyTorch.")
NO_TORCH_EXTENSION = _(
    "Slicer's PyTorch extension is not installed: open the Extensions Manager (View menu), install the extension PyTorch, "
    "restart Slicer and come back here."
)
READY = _("Ready: click Segment.")
CHECKING = _("Looking at the scans ...")
NO_SCENE = _("The panel is not in use: open the module again.")
SEGMENT_TIP = _("Segment the two scans into cerebrospinal fluid, gray matter and white matter.")
CANCEL_TIP = _("Stop the run. The scene stays as it was.")
BEFORE_RUN = _("Please look at this before you segment:")
AFTER_RUN = _("Please look at this before you use the result:")
FINISHED = _("Finished in {time} min. Check the result before you use it.")
STOPPED = _("The run ended without a result: see the log.")
SCENE_CLOSED = _("Cancelled, because the scene was closed.")
REPLACE_EDITED = _("{name} holds segments that were edited, or that this panel did not make. Replace them with the new result?")
RECOMPUTED = _("Measured {name} again.")


def help_text() -> str:
    """Build the module's help."""
    return _("""
<p>Segments T1- and T2-weighted MRI of the infant brain into cerebrospinal fluid, gray matter and white matter, also at about six
months of age, when gray and white matter look alike. Pick a T1w and a T2w scan, skull-stripped or with a brain mask, and click Segment.
<b>Load sample</b> brings two synthetic scans to try it on.</p>
<p><b>Research use only. Not a medical device.</b> The bundled weights learned from synthetic contrast painted on label maps, not from
labelled infant scans. What was measured, and what was not, is in MODEL_CARD.md. Check every result before you use it.</p>
""")


def acknowledgement_text() -> str:
    """Build the module's acknowledgement, with the paper whose method this is."""
    return _("""
<p>Method: G. Zeng and G. Zheng, "Multi-stream 3D FCN with multi-scale deep supervision for multi-modality isointense infant brain MR image
segmentation", ISBI 2018. Please cite the paper. This is an independent implementation; its departures are said where they are made.</p>
<p>The weights were trained on synthetic contrast painted on label maps; the sources are named in MODEL_CARD.md.</p>
""")
