import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from InfantBrainSegLib.core.labels import TISSUES
from InfantBrainSegLib.evaluation.metrics import dice
from InfantBrainSegLib.networks.fcn import BUNDLED_FCN1, BUNDLED_FCN2, BUNDLED_LOCATE, BUNDLED_REFINE
from InfantBrainSegLib.networks.weights import BUNDLED_DIR, load_network
from InfantBrainSegLib.pipeline.segmenter import segment
from InfantBrainSegLib.training import recipes_folder

DEMO = Path(__file__).parents[3] / "InfantBrainSeg" / "Resources" / "SampleData"
LEAST_DOC = {"CSF": 0.95, "GM": 0.87, "WM": 0.84}  # measured: 0.967, 0.903, 0.883


@pytest.mark.slow
@pytest.mark.usefixtures("all_cores")
def test_the_bundled_weights_segment_the_demo_subject_in_a_flipped_and_permuted_orientation():
    t1, t2, reference = (sitk.DICOMOrient(sitk.ReadImage(str(DEMO / f"{name}.nii.gz")), "PIR") for name in ("T1", "T2", "label"))
    result = segment(t1, t2)
    assert result.labels.GetSize() == t1.GetSize()
    assert result.labels.GetOrigin() == t1.GetOrigin()
    assert result.labels.GetDirection() == t1.GetDirection()
    assert set(result.report.weights) == {"fcn1", "fcn2"}
    assert "runs/" not in json.dumps(result.report.to_json())  # where they were trained
    predicted, wanted = sitk.GetArrayFromImage(result.labels), sitk.GetArrayFromImage(reference)
    for tissue in TISSUES:
        assert dice(predicted == tissue.value, wanted == tissue.value) > LEAST_DOC[tissue.short_name], tissue.name
    stripped_off = sitk.GetArrayFromImage(t1) == 0
    assert np.count_nonzero(predicted[stripped_off]) < 0.01 * np.count_nonzero(predicted)  # holes of the stripping are filled, no more


@pytest.mark.parametrize(
    ("stage", "config"), [("fcn1", BUNDLED_FCN1), ("fcn2", BUNDLED_FCN2), ("locate", BUNDLED_LOCATE), ("refine", BUNDLED_REFINE)]
)
def test_the_bundled_files_hold_the_bundled_preset_and_say_how_they_were_trained(stage, config):
    loaded = load_network(stage)
    assert loaded.network.config == config
    recipe = json.loads((recipes_folder() / f"bundled_{stage}.json").read_text(encoding="utf-8"))
    told = ("seed", "iterations", "stream_dropout", "learning_rate", "batch_size")
    assert {name: loaded.training[name] for name in told} == {name: recipe[name] for name in told}
    assert all(np.isfinite(p.detach().numpy()).all() for p in loaded.network.parameters())


def test_the_bundled_weights_stay_under_25_mb():
    assert sum(path.stat().st_size for path in BUNDLED_DIR.glob("*.pt")) < 25e6


def test_the_weights_of_extraction_add_less_than_5_mb():
    assert sum((BUNDLED_DIR / f"{stage}.pt").stat().st_size for stage in ("locate", "refine")) < 5e6
