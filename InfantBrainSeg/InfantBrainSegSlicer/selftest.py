"""The module's self-test: the bundled scans, segmented for real, against the bundled labels."""
# ruff: noqa: PT009  a unittest test case, which Slicer runs without pytest

import logging
import unittest

import slicer
import vtk

from InfantBrainSegLib.core.labels import TISSUES

from .scene.options import SegmentParameters
from .scene.sample_data import FOLDER, load_sample

LEAST_DOC = {"CSF": 0.94, "GM": 0.85, "WM": 0.82}  # this subject has .967, .903, .883
VOLUME_TOLERANCE = 0.2  # of the reference volume; white matter, the smallest, is the hardest


class SelfTest:
    """The test methods; the class in the module's file joins them with Slicer's test case."""

    logicClass: type

    def setUp(self):
        """Start from an empty scene."""
        slicer.mrmlScene.Clear(0)

    def runTest(self):
        """Run all tests as Reload and Test does, which knows of no skipped ones."""
        try:
            super().runTest()
        except unittest.SkipTest as reason:
            logging.warning("The self-test was skipped: %s", reason)
            self.delayDisplay(f"Skipped: {reason}")

    def test_the_sample_is_segmented_like_its_labels_on_the_grid_of_its_t1(self):
        """Segment the sample and compare volumes, overlap and geometry."""
        import numpy as np

        if not self.logicClass().torchInstalled():
            self.skipTest("PyTorch is not installed in this Slicer, and nothing can be segmented without it: click Install PyTorch.")
        from InfantBrainSegLib.evaluation.metrics import dice  # brings scipy, which Slicer's start must not wait for

        t1, t2 = load_sample()
        run = self.logicClass().process(t1, t2, parameters=SegmentParameters(secondRound=False))
        self.assertEqual(run.state, "finished", run.message)
        reference = slicer.util.loadLabelVolume(str(FOLDER / "label.nii.gz"))
        expected = slicer.util.arrayFromVolume(reference)
        voxel_ml = np.prod(t1.GetSpacing()) / 1000
        for tissue in TISSUES:
            segment_id = run.segmentationNode.GetSegmentation().GetSegmentIdBySegmentName(tissue.name)
            self.assertTrue(segment_id, f"There is no segment {tissue.name}")
            found = slicer.util.arrayFromSegmentBinaryLabelmap(run.segmentationNode, segment_id, t1) > 0
            wanted = expected == tissue.value
            self.assertGreater(dice(found, wanted), LEAST_DOC[tissue.short_name], tissue.name)
            self.assertLess(abs(found.sum() / wanted.sum() - 1), VOLUME_TOLERANCE, tissue.name)
            self.assertAlmostEqual(self._volume_ml_in_table(run.tableNode, tissue.name), found.sum() * voxel_ml, delta=0.01)
        self._assert_lies_on_grid_of(run.segmentationNode, t1)

    def _volume_ml_in_table(self, table_node, segment_name):
        names, volumes = (table_node.GetTable().GetColumnByName(column) for column in ("Segment", "Volume cm3"))
        rows = [row for row in range(names.GetNumberOfValues()) if names.GetValue(row) == segment_name]
        self.assertEqual(len(rows), 1, f"One row for {segment_name}")
        return volumes.GetValue(rows[0])

    def _assert_lies_on_grid_of(self, segmentation_node, volume_node):
        geometry = slicer.vtkSegmentationConverter.DeserializeImageGeometry
        image = slicer.vtkOrientedImageData()
        conversion = segmentation_node.GetSegmentation().GetConversionParameter(
            slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
        )
        self.assertTrue(geometry(conversion, image), "The segmentation has no reference geometry")
        found, wanted = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(found)
        volume_node.GetIJKToRASMatrix(wanted)
        for row in range(3):
            for column in range(4):
                self.assertAlmostEqual(found.GetElement(row, column), wanted.GetElement(row, column), places=4)
        self.assertEqual(image.GetDimensions(), volume_node.GetImageData().GetDimensions())
