"""The bundled synthetic scans: in the Sample Data module, and loaded by the panel's button."""

from pathlib import Path

import slicer
from slicer.i18n import tr as _

SAMPLE_NAME = "InfantBrainSeg"
FOLDER = Path(__file__).parents[2] / "Resources" / "SampleData"
THUMBNAIL = Path(__file__).parents[2] / "Resources" / "Icons" / "SampleInfantBrain.png"
_NODE_NAMES = {"T1": "InfantSampleT1", "T2": "InfantSampleT2"}


def register_sample_data() -> None:
    """Offer the pair in the Sample Data module; a second call changes nothing."""
    import SampleData  # a Slicer module: on the path only once the application has started

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=_("Infant brain"),
        sampleName=SAMPLE_NAME,
        thumbnailFileName=str(THUMBNAIL),
        uris=[(FOLDER / f"{name}.nii.gz").as_uri() for name in _NODE_NAMES],
        fileNames=[f"{name}.nii.gz" for name in _NODE_NAMES.values()],
        nodeNames=list(_NODE_NAMES.values()),
        customDownloader=_load_source,
    )


def _load_source(_source) -> list:
    return list(load_sample())


def load_sample():
    """Load the bundled pair.

    Returns
    -------
    T1, T2 : vtkMRMLScalarVolumeNode
    """
    t2, t1 = (
        slicer.util.loadVolume(str(FOLDER / f"{name}.nii.gz"), {"name": _NODE_NAMES[name]})
        for name in ("T2", "T1")  # T1 last, so that the slice views show it
    )
    return t1, t2
