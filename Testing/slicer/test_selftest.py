import unittest

import host
import pytest
from host import pythonqt
from stand_in import ROOT


def test_without_torch_the_self_test_is_skipped_with_the_reason(scene, monkeypatch):
    host.start()
    host.load_module(ROOT / "InfantBrainSeg" / "InfantBrainSeg.py")
    import InfantBrainSeg

    monkeypatch.setattr(InfantBrainSeg.InfantBrainSegLogic, "torchInstalled", lambda _: False)
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(InfantBrainSeg.InfantBrainSegTest).run(result)
    ((_, reason),) = result.skipped
    assert "PyTorch is not installed" in reason
    assert result.wasSuccessful()


@pytest.mark.slow
@pytest.mark.usefixtures("all_cores")
def test_the_module_s_self_test_runs_and_passes_in_the_host(scene):
    host.start()
    module = host.load_module(ROOT / "InfantBrainSeg" / "InfantBrainSeg.py")
    import InfantBrainSeg

    suite = unittest.defaultTestLoader.loadTestsFromTestCase(InfantBrainSeg.InfantBrainSegTest)
    result = unittest.TestResult()
    suite.run(result)
    assert module.name == "InfantBrainSeg"
    assert [trace for _, trace in result.failures + result.errors] == []
    assert (result.testsRun, result.skipped, pythonqt.problems) == (suite.countTestCases(), [], [])
    assert result.testsRun >= 1
