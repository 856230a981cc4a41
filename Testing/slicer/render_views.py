"""Draws a segmentation of the bundled sample with Slicer's own view code from the slicer-core package, without a screen.

`python Testing/slicer/render_views.py OUT.png` segments the sample first, which takes about a minute.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "InfantBrainSeg" / "Resources" / "SampleData"
SLICES = (("Red", "Axial"), ("Green", "Coronal"), ("Yellow", "Sagittal"))
SLICE_MANAGERS = ("vtkMRMLSegmentationsDisplayableManager2D",)
VOLUME_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLOrientationMarkerDisplayableManager",
)
GAP_PX = 4
BESIDE_MIDLINE_MM = 16  # to the patient's right, where a sagittal slice shows more than the falx
FILL_OPACITY = 0.7  # times Slicer's own 0.5: the scan is seen through the colors
SURFACE_OPACITY = {"Cerebrospinal fluid": 0.0, "Gray matter": 0.35, "White matter": 1.0}


class View:
    """One off-screen window whose content Slicer's displayable managers draw.

    Parameters
    ----------
    factory : class of the view's kind, which makes the managers
    managers : class names
    node : slice or 3D view node
    size : width and height in pixels
    behind : vtkProp, optional
        Drawn before what the managers draw.
    """

    def __init__(self, factory: type, managers: tuple[str, ...], node, size: tuple[int, int], behind: vtk.vtkProp | None = None):
        self.renderer, self.window = vtk.vtkRenderer(), vtk.vtkRenderWindow()
        if behind is not None:
            self.renderer.AddViewProp(behind)
        self.window.SetOffScreenRendering(True)
        self.window.SetMultiSamples(0)
        self.window.SetAlphaBitPlanes(True)  # for depth peeling, which draws translucent surfaces right
        self.renderer.SetUseDepthPeeling(True)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self._interactor = vtk.vtkRenderWindowInteractor()
        self._interactor.SetRenderWindow(self.window)
        maker = factory.GetInstance()
        maker.SetMRMLApplicationLogic(slicer.mrmlScene.keep_alive[0])
        for manager in managers:
            if not maker.IsDisplayableManagerRegistered(manager):
                maker.RegisterDisplayableManager(manager)
        self._group = slicer.vtkMRMLDisplayableManagerGroup()
        self._group.SetRenderer(self.renderer)
        self._group.Initialize(maker, self.renderer)
        self._group.SetMRMLDisplayableNode(node)

    def image(self) -> np.ndarray:
        """Render; gives (height, width, 3) uint8, first row on top."""
        self.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        grab.Update()
        width, height, _ = grab.GetOutput().GetDimensions()
        return vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars()).reshape(height, width, 3)[::-1]


class SliceView:
    """A slice view of the application: what a module lays into it and where it moves it is what it shows.

    Parameters
    ----------
    name, orientation : str
    size : width and height in pixels
    """

    def __init__(self, name: str, orientation: str, size: tuple[int, int]):
        self.logic, self._size = slicer.vtkMRMLSliceLogic(), size
        self.logic.SetMRMLApplicationLogic(slicer.mrmlScene.keep_alive[0])
        self.logic.SetMRMLScene(slicer.mrmlScene)
        self.node = self.logic.AddSliceNode(name)
        self.node.SetOrientation(orientation)
        self._mapper, scan = vtk.vtkImageMapper(), vtk.vtkActor2D()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        scan.SetMapper(self._mapper)
        self._view = View(slicer.vtkMRMLSliceViewDisplayableManagerFactory, SLICE_MANAGERS, self.node, size, behind=scan)
        self.logic.ResizeSliceNode(*size)
        _write_sides(self._view.renderer, self.node.GetSliceToRAS(), size)

    def show(self, volume: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Show a volume, the whole of it."""
        self.logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
        self.logic.FitSliceToBackground(*self._size)

    def image(self) -> np.ndarray:
        """Render; gives (height, width, 3) uint8, first row on top."""
        self._mapper.SetInputConnection(self.logic.GetImageDataConnection())
        return self._view.image()


def slice_image(
    name: str, orientation: str, volume: slicer.vtkMRMLScalarVolumeNode, place_mm: list[float], size: tuple[int, int]
) -> np.ndarray:
    """Draw the slice of a volume, with the segmentations of the scene, through a RAS place."""
    view = SliceView(name, orientation, size)
    view.show(volume)
    view.node.JumpSliceByOffsetting(*place_mm)
    return view.image()


def _write_sides(renderer: vtk.vtkRenderer, slice_to_ras: vtk.vtkMatrix4x4, size: tuple[int, int]) -> None:
    """Write on the left, right and upper edge which side of the patient lies there."""
    right, up = ([slice_to_ras.GetElement(row, column) for row in range(3)] for column in (0, 1))
    left = [-value for value in right]
    for direction, (x, y) in ((left, (10, size[1] // 2)), (right, (size[0] - 22, size[1] // 2)), (up, (size[0] // 2, size[1] - 24))):
        axis = int(np.argmax(np.abs(direction)))
        text = vtk.vtkTextActor()
        text.SetInput(("RL", "AP", "SI")[axis][0 if direction[axis] > 0 else 1])
        text.GetTextProperty().SetFontSize(18)
        text.SetPosition(x, y)
        renderer.AddViewProp(text)


def surface_image(size: tuple[int, int]) -> np.ndarray:
    """Draw the surfaces of the scene's segmentations from the right front, above."""
    logic = slicer.vtkMRMLViewLogic()
    logic.SetMRMLApplicationLogic(slicer.mrmlScene.keep_alive[0])
    logic.SetMRMLScene(slicer.mrmlScene)
    node = logic.AddViewNode("1")
    node.SetBackgroundColor(0, 0, 0)
    node.SetBackgroundColor2(0, 0, 0)
    node.SetBoxVisible(False)
    node.SetAxisLabelsVisible(False)
    node.SetOrientationMarkerType(node.OrientationMarkerTypeCube)
    view = View(slicer.vtkMRMLThreeDViewDisplayableManagerFactory, VOLUME_MANAGERS, node, size)
    view.window.Render()
    camera = view.renderer.GetActiveCamera()
    camera.SetFocalPoint(0, 0, 0)
    camera.SetPosition(250, 350, 200)
    camera.SetViewUp(0, 0, 1)
    view.renderer.ResetCamera()
    camera.Zoom(1.5)
    view.renderer.ResetCameraClippingRange()
    return view.image()


def draw(volume: slicer.vtkMRMLScalarVolumeNode, segmentation: slicer.vtkMRMLSegmentationNode, size: tuple[int, int]) -> np.ndarray:
    """Draw axial, 3D, coronal and sagittal views of one size in a square, (H, W, 3) uint8."""
    bounds = [0.0] * 6
    segmentation.GetRASBounds(bounds)
    place_mm = [(low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2], strict=True)]
    place_mm[0] += BESIDE_MIDLINE_MM
    segmentation.GetDisplayNode().SetAllSegmentsOpacity2DFill(FILL_OPACITY)
    axial, coronal, sagittal = (slice_image(name, orientation, volume, place_mm, size) for name, orientation in SLICES)
    segmentation.CreateClosedSurfaceRepresentation()
    display = segmentation.GetDisplayNode()
    for segment_id in segmentation.GetSegmentation().GetSegmentIDs():
        tissue = segmentation.GetSegmentation().GetSegment(segment_id).GetName()
        display.SetSegmentOpacity3D(segment_id, SURFACE_OPACITY[tissue])
    rows = [_beside(axial, surface_image(size), axis=1), _beside(coronal, sagittal, axis=1)]
    return _beside(*rows, axis=0)


def _beside(first: np.ndarray, second: np.ndarray, axis: int) -> np.ndarray:
    shape = list(first.shape)
    shape[axis] = GAP_PX
    return np.concatenate([first, np.full(shape, 255, np.uint8), second], axis=axis)


def write_png(image: np.ndarray, path: Path) -> None:
    """Write (H, W, 3) uint8 with six of its eight bits, which halves the file and cannot be seen."""
    image = image & 0xFC
    data = vtk.vtkImageData()
    data.SetDimensions(image.shape[1], image.shape[0], 1)
    data.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(image[::-1]).reshape(-1, 3), deep=True))
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetCompressionLevel(9)
    writer.SetInputData(data)
    writer.Write()


def main() -> int:
    """Segment the sample and draw it."""
    sys.path[:0] = [str(ROOT), str(ROOT / "InfantBrainSeg")]
    import mrml
    from InfantBrainSegSlicer.logic import SceneLogic

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, metavar="OUT.png")
    parser.add_argument("--size", type=int, default=400, metavar="PIXELS", help="width and height of each view")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        mrml.new_scene(cache)
        volumes = slicer.modules.volumes.logic()
        t1, t2 = (volumes.AddArchetypeVolume(str(SAMPLE / f"{name}.nii.gz"), name) for name in ("T1", "T2"))
        run = SceneLogic().process(t1, t2, progress=lambda step, share: print(f"\r{step} {share:.0%}  ", end="", flush=True))
        write_png(draw(t1, run.segmentationNode, (arguments.size, arguments.size)), arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
