"""The scans of one brain, handed to the child as files, and who is who in what it says of them."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..scene.nodes import Given, image_from_mask, image_from_volume, parent_to_world, write_exactly
from ..scene.options import Scans
from .child import ChildError, temporary_folder_problem
from .temporary import RunFolder

if TYPE_CHECKING:
    import SimpleITK as sitk

MASK = "The brain mask"  # as `Scans.named` calls it


class Handover:
    """Copies of the scans in a temporary folder.

    Parameters
    ----------
    scans : Scans
    outputs : dict
        Nodes that get the result, by a name for the user; None for those to be made.

    Attributes
    ----------
    folder : Path
    given : Given
    content : str
        Checksum of the voxels of scans and mask, wherever they lie.

    Raises
    ------
    InfantBrainSegError
        If the scans cannot be handed over.
    """

    def __init__(self, scans: Scans, outputs: dict[str, Any]):
        import numpy as np

        self._scene = scans.main.GetScene()
        inputs = scans.named()
        self._watched = {**inputs, **{name: node for name, node in outputs.items() if node is not None}}
        self._names = {name: node.GetName() for name, node in self._watched.items()}
        images = {name: image_from_volume(node) for name, node in inputs.items() if node is not scans.mask}
        grid = _geometry_of(next(iter(images.values())))
        if scans.mask is not None:
            images[MASK] = image_from_mask(scans.mask, scans.main)
        self.content = _checksum(images)
        self.given = Given(grid, parent_to_world(scans.main), np.eye(4) if scans.t2 is None else parent_to_world(scans.t2))
        self._run_folder = RunFolder()
        self.folder: Path = self._run_folder.path
        self._paths = {name: self.folder / f"{name.split()[-1].lower()}.nrrd" for name in images}
        try:
            for name, image in images.items():
                write_exactly(image, self._paths[name])
        except OSError as error:
            self.clean_up()
            raise ChildError(temporary_folder_problem(error, self.folder.parent)) from error

    def arguments(self) -> list[str]:
        """The command line's words for the files, whose names hold in their folder: a path may have letters that ITK does not take."""
        return [word for name, path in self._paths.items() for word in (f"--{name.split()[-1].lower()}", path.name)]

    def interruption(self) -> str:
        """Say which node left the scene, or ""."""
        for name, node in self._watched.items():
            if node.GetScene() is not self._scene or not self._scene.IsNodePresent(node):
                return (
                    f"{name} '{self._names[name]}' left the scene during the run, so the run was stopped: load it and press Segment again."
                )
        return ""

    def with_names(self, message: str) -> str:
        """Put nodes' names in place of temporary files'."""
        for name, path in self._paths.items():
            for called in (str(path), path.name):
                message = message.replace(called, f"{name} '{self._names[name]}'")
        return message

    def without_names(self, message: str) -> str:
        """Take nodes' names out again: a node is often named after the patient."""
        for name in self._names.values():
            message = message.replace(f" '{name}'", "")
        return message

    def clean_up(self) -> None:
        """Remove the temporary folder."""
        self._run_folder.remove()


def _checksum(images: dict[str, sitk.Image]) -> str:
    import SimpleITK as sitk

    from InfantBrainSegLib.imaging.resample import bounding_box

    found = 0
    for name, image in images.items():
        array = sitk.GetArrayViewFromImage(image)
        if name == MASK:  # a segmentation has as much room round it as its last change left
            array = array[bounding_box(array)]
        found = zlib.crc32(array.tobytes(), zlib.crc32(str(array.shape).encode(), found))
    return f"{found:08x}"


def _geometry_of(image: sitk.Image) -> sitk.Image:
    """Keep an image's grid without holding a second copy of a scan: one byte a voxel."""
    import SimpleITK as sitk

    grid = sitk.Image(image.GetSize(), sitk.sitkUInt8)
    grid.CopyInformation(image)
    return grid
