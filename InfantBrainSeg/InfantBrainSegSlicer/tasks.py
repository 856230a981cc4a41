"""What a run is for: one brain of the scene, or a batch of files."""

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import SimpleITK as sitk

from InfantBrainSegLib.errors import InputError

from .checks import scale_warning
from .child import ChildError, temporary_folder_problem
from .nodes import image_from_mask, image_from_volume, write_exactly
from .results import ResultNodes, import_outcome, read_outcome

EXIT_OK = 0
EXIT_SOME_FAILED = 3  # of a batch: the rest is done, and the table says why


@dataclass(frozen=True)
class SegmentParameters:
    """How to segment.

    Attributes
    ----------
    maskNode : vtkMRMLLabelMapVolumeNode, vtkMRMLSegmentationNode or None
    device : str
        "auto", "cpu", "cuda:N" or "mps".
    weightsPath : str
        A folder with fcn1.pt, fcn2.pt and manifest.json, or one of these files; empty for the bundled weights.
    useContext : bool
        Both stages; False stops after the first.
    flip : bool
        Also segment the mirror image and average; twice the time.
    saveProbabilities : bool
        One more volume node for each tissue.
    """

    maskNode: object = None
    device: str = "auto"
    weightsPath: str = ""
    useContext: bool = True
    flip: bool = False
    saveProbabilities: bool = False

    def options(self) -> list[str]:
        """The command line's options that a single run and a batch share."""
        options = ["--device", self.device or "auto"]
        if self.weightsPath:
            options += ["--weights", str(Path(self.weightsPath).absolute())]
        if not self.useContext:
            options.append("--no-context")
        if self.flip:
            options.append("--flip")
        if self.saveProbabilities:
            options.append("--save-probabilities")
        return [*options, "--progress", "lines"]


class SegmentTask:
    """Segments T1 and T2 of the scene.

    Parameters
    ----------
    targets : ResultNodes
        T1, and the outputs that were chosen.
    t2 : vtkMRMLScalarVolumeNode
    parameters : SegmentParameters

    Raises
    ------
    InfantBrainSegError
        If the scans can not be handed to the child.
    """

    accepted_codes = (EXIT_OK,)

    def __init__(self, targets: ResultNodes, t2, parameters: SegmentParameters):
        self._targets = targets
        self._parameters = parameters
        self._scene = targets.t1.GetScene()
        chosen = {
            "T1": targets.t1,
            "T2": t2,
            "The brain mask": parameters.maskNode,
            "The output segmentation": targets.segmentation,
            "The output label map": targets.labelmap,
            "The output table": targets.table,
        }
        self._watched = {name: node for name, node in chosen.items() if node is not None}
        self._names = {name: node.GetName() for name, node in self._watched.items()}
        self._warnings = tuple(scale_warning(targets.t1))
        images = {"T1": image_from_volume(targets.t1), "T2": image_from_volume(t2)}
        if parameters.maskNode is not None:
            images["The brain mask"] = image_from_mask(parameters.maskNode, targets.t1)
        self._t1 = _geometry_of(images["T1"])
        try:
            self.folder = Path(tempfile.mkdtemp(prefix="InfantBrainSeg-"))
        except OSError as error:
            raise ChildError(temporary_folder_problem(error)) from error
        self._paths = {name: self.folder / f"{name.split()[-1].lower()}.nrrd" for name in images}
        self._output = self.folder / "output"
        try:
            for name, image in images.items():
                write_exactly(image, self._paths[name])
        except OSError as error:
            self.clean_up()
            raise ChildError(temporary_folder_problem(error)) from error

    def arguments(self) -> list[str]:
        """The command line of this task."""
        files = ["--t1", str(self._paths["T1"]), "--t2", str(self._paths["T2"])]
        if "The brain mask" in self._paths:
            files += ["--mask", str(self._paths["The brain mask"])]
        return ["segment", *files, "--output-dir", str(self._output), *self._parameters.options()]

    def interruption(self) -> str:
        """Say which node left the scene, or ""."""
        for name, node in self._watched.items():
            if node.GetScene() is not self._scene or not self._scene.IsNodePresent(node):
                return (
                    f"{name} '{self._names[name]}' left the scene during the run, so the run was stopped: load it and press Segment again."
                )
        return ""

    def finish(self) -> tuple[ResultNodes, tuple[str, ...]]:
        """Import the child's files."""
        outcome = read_outcome(self._output, self._t1, self._parameters.saveProbabilities)
        warnings = tuple(self.in_words(text) for text in outcome.report.get("warnings", [])) + self._warnings
        nameless = [self._without_names(text) for text in warnings]  # a node is often named after the patient
        return import_outcome(replace(outcome, report={**outcome.report, "warnings": nameless}), self._targets), warnings

    def in_words(self, message: str) -> str:
        """Put nodes' names in place of temporary files'."""
        for name, path in self._paths.items():
            message = message.replace(str(path), f"{name} '{self._names[name]}'")
        return message

    def _without_names(self, message: str) -> str:
        for name in self._names.values():
            message = message.replace(f" '{name}'", "")
        return message

    def clean_up(self) -> None:
        """Remove the temporary folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


class BatchTask:
    """Segments many subjects of a BIDS folder or a CSV; touches no node.

    Parameters
    ----------
    source, output_dir : path
    parameters : SegmentParameters

    Raises
    ------
    InputError
        If the source does not exist, or a mask node is given.
    """

    accepted_codes = (EXIT_OK, EXIT_SOME_FAILED)

    def __init__(self, source: str | Path, output_dir: str | Path, parameters: SegmentParameters):
        self._source = Path(source).absolute()
        self._output_dir = Path(output_dir).absolute()
        self._parameters = parameters
        if not str(source) or not self._source.exists():
            raise InputError(f"The batch input '{source}' does not exist; wanted a BIDS folder or a CSV file: check the path.")
        if not str(output_dir):
            raise InputError("No output folder is given; wanted one that gets the results and cohort.csv: choose a folder.")
        if parameters.maskNode is not None:
            raise InputError("A brain mask of the scene can not serve a whole batch; wanted none: name masks in the CSV's mask column.")
        self.folder = None

    def arguments(self) -> list[str]:
        """The command line of this task."""
        return ["batch", "--input", str(self._source), "--output-dir", str(self._output_dir), *self._parameters.options()]

    def interruption(self) -> str:
        """Nothing in the scene matters to a batch."""
        return ""

    def finish(self) -> tuple[None, tuple[str, ...]]:
        """Nothing to import."""
        return None, ()

    def in_words(self, message: str) -> str:
        """The files are the user's own."""
        return message

    def clean_up(self) -> None:
        """Nothing temporary."""


def _geometry_of(image: sitk.Image) -> sitk.Image:
    """Keep an image's grid without holding a second copy of a scan: one byte a voxel."""
    grid = sitk.Image(image.GetSize(), sitk.sitkUInt8)
    grid.CopyInformation(image)
    return grid
