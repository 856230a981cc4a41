"""What takes the place of the networks in tests of a batch."""

from types import SimpleNamespace

import numpy as np
import SimpleITK as sitk
import torch

from InfantBrainSegLib.checks.result_checks import Verdict
from InfantBrainSegLib.core.check import PASS, STOP, WARN, Check, CheckCode
from InfantBrainSegLib.pipeline.report import Report
from InfantBrainSegLib.pipeline.segmenter import Segmentation
from InfantBrainSegLib.pipeline.volumes import measure
from InfantBrainSegLib.preparation.registration import Alignment

CHECKS = ((CheckCode.SPACING, WARN), (CheckCode.SKULL, PASS), (CheckCode.SHAPE, STOP))


class StandIn:
    """In place of `segment`: labels by T1's three levels, at once; remembers what it was given."""

    def __init__(self, transform=None):
        self.calls = []
        self.transform = transform

    def begin(self, *given):
        result = self(*given)
        return lambda progress: result

    def __call__(self, t1, t2, mask, options, progress):
        self.calls.append(SimpleNamespace(t1=t1, t2=t2, mask=mask, options=options))
        progress("stage 1", 0.5)
        given = t2 if t1 is None else t1
        labels = sitk.GetImageFromArray(np.searchsorted([20, 70, 115], sitk.GetArrayFromImage(given)).astype(np.uint8))
        labels.CopyInformation(given)
        volumes = measure(labels)
        report = Report(
            versions={"InfantBrainSeg": "0"},
            weights={"fcn1": {"sha256": "f1"}},
            device={"used": "cpu"},
            options={},
            alignment={},
            extraction={},
            bias_corrected=False,
            geometry={},
            volumes=tuple(volumes),
            cleanup={},
            checks=tuple(Check(code, status, "found", "wanted", "remedy") for code, status in CHECKS),
            verdict=Verdict("do not use", "Do not use.", (), (), {}, {}, 0.75, 0),
            notes=(),
            memory_ladder=(),
            seconds={"stage 1": 1.0},
            peak_memory_mb=None,
        )
        prepared = SimpleNamespace(space=SimpleNamespace(t1_mask=labels > 0))
        return Segmentation(labels, t1, t2, volumes, report, None, prepared, Alignment(t2, self.transform, {}))


def of_arrays(function):
    """What stands in for `predict` and works on arrays."""

    def predict(network, inputs, mask, *rest):
        return torch.tensor(np.array(function(network, inputs.numpy(), mask, *rest)))

    return predict
