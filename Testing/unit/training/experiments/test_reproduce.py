import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from InfantBrainSegLib.core.errors import InputError, TrainingError, WeightsError
from InfantBrainSegLib.networks.fcn import MultiStreamFCN, NetworkConfig
from InfantBrainSegLib.networks.weights import load_network
from InfantBrainSegLib.training.data.sites import LabelledFiles
from InfantBrainSegLib.training.experiments import reproduce as reproduce_module
from InfantBrainSegLib.training.experiments.reproduce import ReproduceOptions, plan_folds, run_reproduce
from InfantBrainSegLib.training.experiments.stages import finetune_plan, paper_plan
from InfantBrainSegLib.training.trainer import load_checkpoint


def tiny(plan):
    """The same experiment with a network of two channels and small patches."""
    small = {"patch_voxels": 32, "validate_every": 2, "validation_patches": 1, "checkpoint_minutes": 9.0}
    first = replace(plan.first, network=replace(plan.first.network, base_width=2), **small)
    second = replace(plan.second, network=replace(plan.second.network, base_width=2), **small)
    return replace(plan, first=first, second=second, window=replace(plan.window, patch_voxels=32, overlap=0.0, plan="overlap"))


@pytest.fixture
def options(iseg_folder, tmp_path):
    return ReproduceOptions(iseg_folder, tmp_path / "out", device="cpu", iterations=2, plan=tiny(paper_plan()))


@pytest.fixture(scope="module")
def first_fold_folder(iseg_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reproduced")
    run_reproduce(ReproduceOptions(iseg_folder, folder, 1, device="cpu", iterations=2, plan=tiny(paper_plan())), lambda line: None)
    return folder


@pytest.fixture
def with_first_fold(options, first_fold_folder):
    """The options, with fold 1 finished."""
    shutil.copytree(first_fold_folder, options.output_dir)
    return options


def subjects(count):
    return [LabelledFiles(f"subject-{number}", *[None] * 3) for number in range(1, count + 1)]


def test_the_recipe_is_the_papers():
    plan = paper_plan()
    for config in (plan.first, plan.second):
        assert (config.recipe, config.iterations, config.batch_size, config.patch_voxels) == ("paper", 10_000, 2, 64)
        assert (config.learning_rate, config.weight_decay, config.loss_weights) == (1e-3, 0.005, (1.0, 0.67, 0.33))
        assert (config.network.base_width, config.network.skip_streams, config.network.patch_norm) == (64, "first", True)
    assert not plan.second.context.signed
    assert (plan.window.patch_voxels, plan.window.blend, plan.window.plan) == (64, "uniform", "paper")


def test_ten_labelled_subjects_are_each_tested_by_the_nine_others():
    folds = plan_folds(subjects(10))
    assert [fold.test[0].name for fold in folds] == [f"subject-{number}" for number in range(1, 11)]
    assert all(len(fold.training) == 9 and fold.test[0] not in fold.training for fold in folds)


def test_with_more_than_ten_the_first_ten_train_and_the_others_test():
    (fold,) = plan_folds(subjects(23))
    assert [len(fold.training), len(fold.test)] == [10, 13]
    assert fold.test[0].name == "subject-11"


def test_one_labelled_subject_is_not_enough():
    with pytest.raises(InputError, match="1 labelled subjects"):
        plan_folds(subjects(1))


@pytest.mark.slow
def test_all_folds_train_test_and_print_both_tables(with_first_fold):
    options = with_first_fold
    lines = []
    text = run_reproduce(replace(options, resume=True), lines.append)
    assert "3 labelled subjects, 1 without a label left out; leave-one-out" in lines[0]
    assert "THE PAPER HAS 10000 ITERATIONS" in lines[0]
    assert text.splitlines()[1].split() == ["#1", "#2", "#3", "Mean(std)"]
    assert "Not run yet" not in text
    out = options.output_dir
    assert (out / "tables.txt").read_text(encoding="utf-8") == text + "\n"
    figures = json.loads((out / "tables.json").read_text(encoding="utf-8"))
    assert set(figures["ours"]["with_context"]["subjects"]) == {"subject-1", "subject-2", "subject-3"}
    labels = sitk.ReadImage(str(out / "fold-02" / "subject-2-with-context.nii.gz"))
    assert labels.GetSize() == sitk.ReadImage(str(options.iseg / "iSeg-2017-Training" / "subject-2-T1.hdr")).GetSize()[:3]
    assert set(np.unique(sitk.GetArrayFromImage(labels))) <= {0, 10, 150, 250}
    assert not list(out.rglob("weights"))  # these networks want other intensities than `segment` gives


@pytest.mark.slow
def test_folds_run_one_by_one_join_the_tables(with_first_fold):
    assert "Not run yet: fold-02, fold-03." in (with_first_fold.output_dir / "tables.txt").read_text(encoding="utf-8")
    text = run_reproduce(replace(with_first_fold, fold=3), lambda line: None)
    assert text.splitlines()[1].split() == ["#1", "#3", "Mean(std)"]
    assert "Not run yet: fold-02." in text


@pytest.mark.slow
def test_a_folder_with_a_run_asks_for_resume(with_first_fold):
    options = with_first_fold
    with pytest.raises(InputError, match="add --resume"):
        run_reproduce(options, lambda line: None)


@pytest.mark.slow
def test_resume_goes_on_where_the_run_was_stopped_and_leaves_finished_folds_alone(with_first_fold, monkeypatch):
    options = with_first_fold
    train_pair = reproduce_module.train_pair

    def stop_after_training(*given):
        train_pair(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(reproduce_module, "train_pair", stop_after_training)
        with pytest.raises(KeyboardInterrupt):
            run_reproduce(replace(options, fold=2), lambda line: None)
    lines = []
    run_reproduce(replace(options, fold=2, resume=True), lines.append)
    assert [line.split(", from ")[1] for line in lines if ", from " in line] == ["iteration 2 to 2:"] * 2
    monkeypatch.setattr(reproduce_module, "train_pair", None)
    run_reproduce(replace(options, fold=1, resume=True), lines.append)
    assert lines[-1] == "fold-01 is finished."


@pytest.mark.slow
def test_the_second_stage_learns_from_the_first_of_the_same_fold(with_first_fold):
    options = with_first_fold
    folder = options.output_dir / "fold-01"
    state = torch.load(folder / "fcn2" / "checkpoint.pt", weights_only=True)
    assert state["config"]["fcn1"].startswith("own ")
    assert [name.split()[0] for name in state["config"]["data"]] == ["subject-2", "subject-3"]
    assert state["network"]["encoders.2.levels.0.0.conv.weight"].shape[1] == 3


@pytest.mark.slow
def test_a_checkpoint_of_other_settings_is_refused(with_first_fold):
    options = with_first_fold
    other = replace(options.plan, first=replace(options.plan.first, seed=9))
    with pytest.raises(TrainingError, match=r"another config .seed"):
        run_reproduce(replace(options, fold=1, resume=True, plan=other), lambda line: None)


@pytest.mark.slow
def test_a_first_stage_that_the_second_was_begun_on_is_not_trained_further(with_first_fold):
    checkpoint = with_first_fold.output_dir / "fold-01" / "fcn1" / "checkpoint.pt"
    before = checkpoint.read_bytes()
    with pytest.raises(TrainingError, match="has 2 of 3 iterations"):
        run_reproduce(replace(with_first_fold, fold=1, resume=True, iterations=3), lambda line: None)
    assert checkpoint.read_bytes() == before


@pytest.mark.slow
def test_a_fold_of_other_files_does_not_enter_the_tables(with_first_fold):
    path = with_first_fold.output_dir / "fold-01" / "scores.json"
    scores = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**scores, "training": ["subject-2 000000000000", *scores["training"][1:]]}), encoding="utf-8")
    with pytest.raises(TrainingError, match=r"fold-01 was made of other files"):
        run_reproduce(replace(with_first_fold, fold=2), lambda line: None)


@pytest.mark.slow
def test_scores_of_another_version_are_refused_by_name(with_first_fold):
    path = with_first_fold.output_dir / "fold-01" / "scores.json"
    scores = json.loads(path.read_text(encoding="utf-8"))
    for subject in scores["with_context"].values():
        del subject["WM"]["volume_ratio"]
    path.write_text(json.dumps(scores), encoding="utf-8")
    with pytest.raises(TrainingError, match=r"scores\.json is of another version \(.*volume_ratio.*remove it"):
        run_reproduce(replace(with_first_fold, fold=2), lambda line: None)


@pytest.mark.slow
def test_a_truncated_checkpoint_is_refused_by_name(with_first_fold):
    options = with_first_fold
    folder = options.output_dir / "fold-01"
    (folder / "scores.json").unlink()
    path = folder / "fcn1" / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(TrainingError, match=r"fcn1/checkpoint.pt is damaged"):
        run_reproduce(replace(options, fold=1, resume=True), lambda line: None)


@pytest.mark.slow
def test_from_the_bundled_weights_it_says_so_and_starts_there(options, weights_dir, monkeypatch):
    loaded = (load_network("fcn1", weights_dir), load_network("fcn2", weights_dir))
    plan = finetune_plan(loaded)
    trained = []
    monkeypatch.setattr(reproduce_module, "train_pair", lambda plan, *rest: trained.append(plan) or tuple(loaded))
    lines = []
    plan = replace(plan, window=replace(plan.window, patch_voxels=32, overlap=0.0))
    run_reproduce(replace(options, fold=1, init="bundled", plan=plan), lines.append)
    assert lines[0].count("FINE-TUNING FROM THE BUNDLED WEIGHTS") == 1
    assert trained[0].first.recipe == "bundled"
    assert torch.equal(trained[0].initial[0]["classifiers.0.bias"], loaded[0].network.state_dict()["classifiers.0.bias"])


def test_the_bundled_plan_is_that_of_the_bundled_networks():
    bundled = load_network("fcn1")
    plan = reproduce_module._plan(ReproduceOptions(None, None, init="bundled"))
    assert plan.first.network == bundled.network.config
    assert bundled.sha256 in plan.first.start_from


@pytest.mark.slow
def test_partial_transfer_starts_both_stages(options, tmp_path):
    torch.save(MultiStreamFCN(NetworkConfig((1,), base_width=2, skip_streams="first")).state_dict(), tmp_path / "femur.pt")
    run_reproduce(replace(options, fold=1, init_t1=str(tmp_path / "femur.pt")), lambda line: None)
    for stage in ("fcn1", "fcn2"):
        assert "taken    encoders.0.levels.0.0.conv.weight" in (options.output_dir / "fold-01" / stage / "transfer.txt").read_text(
            encoding="utf-8"
        )


def test_a_run_that_never_started_needs_no_resume(options, tmp_path):
    (tmp_path / "broken.pt").write_bytes(b"not weights")
    with pytest.raises(WeightsError, match=r"broken.pt"):
        run_reproduce(replace(options, fold=1, init_t2=str(tmp_path / "broken.pt")), lambda line: None)
    with pytest.raises(WeightsError, match=r"broken.pt"):
        run_reproduce(replace(options, fold=1, init_t2=str(tmp_path / "broken.pt")), lambda line: None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fold": 4}, "there are 3"),
        ({"fold": 0}, "there are 3"),
        ({"iterations": 0}, "0 iterations"),
        ({"init": "bundled", "init_t1": "x.pt"}, "wanted one"),
        ({"init": "other"}, "wanted bundled"),
    ],
)
def test_options_that_can_not_be_are_refused(options, change, said):
    with pytest.raises(InputError, match=said):
        run_reproduce(replace(options, **change), lambda line: None)
    assert not options.output_dir.exists()


@pytest.mark.slow
def test_a_disk_that_is_full_leaves_the_last_checkpoint_to_resume_from(with_first_fold, monkeypatch):
    options = with_first_fold
    path = options.output_dir / "fold-01" / "fcn1" / "checkpoint.pt"
    (options.output_dir / "fold-01" / "scores.json").unlink()
    shutil.rmtree(options.output_dir / "fold-01" / "fcn2")  # it belongs to the first stage as it was

    def full(state, target):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", full)
        with pytest.raises(TrainingError, match="No space left"):
            run_reproduce(replace(options, fold=1, resume=True, iterations=3), lambda line: None)
    state = torch.load(path, weights_only=True)
    assert load_checkpoint(path, state["config"])["iteration"] == 2
    lines = []
    run_reproduce(replace(options, fold=1, resume=True, iterations=3), lines.append)
    assert any("from iteration 2 to 3" in line for line in lines)
