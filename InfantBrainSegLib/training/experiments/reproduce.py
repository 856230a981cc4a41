"""The paper's experiment on iSeg: both stages trained with its recipe, Tables 1 and 2 beside its figures.

The labels of the challenge's own test subjects are not public. Where only the ten training subjects have labels, each of them is tested
by networks trained on the nine others (leave-one-out); where more have, the first ten train and the others test, as in the paper.
"""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import SimpleITK as sitk
import torch

from ...core.errors import InputError, TrainingError
from ...core.labels import to_iseg
from ...core.lock import sole_owner
from ...core.progress import SlowLines
from ...evaluation.metrics import TissueMetrics, evaluate_labels
from ...imaging.files import check_writable_folder, write_image, write_text
from ...imaging.resample import on_grid_of
from ...networks.device import resolve_device
from ...networks.weights import LoadedNetwork, load_network
from ..config import TrainingConfig, config_to_dict
from ..data.iseg import find_iseg
from ..data.scans import LabelledScan, probabilities_of, read_scan, segmentation, with_context
from ..data.sites import LabelledFiles
from .stages import StagePlan, finetune_plan, paper_plan, train_pair
from .tables import Cohort, table1, table2, tables_report

PAPER_TRAINING_SUBJECTS = 10  # section 2
_SIGNS_OF_A_RUN = ("scores.json", "fcn1/checkpoint.pt")
_CONDITIONS = ("with_context", "without_context")
_FREE = ("output_dir", "device", "held_out", "data", "fcn1")  # differ between the folds of one experiment


@dataclass(frozen=True)
class ReproduceOptions:
    """What to run.

    Attributes
    ----------
    iseg, output_dir : Path
    fold : int or None
        From 1; None for all, one after the other. Folds already in `output_dir` join the tables.
    resume : bool
        Go on with what lies in `output_dir`.
    init : str
        "" for the paper's training, "bundled" to fine-tune the bundled weights.
    init_t1, init_t2 : str
        Files for partial transfer, see `transfer.partial_transfer`.
    device : str
    iterations : int or None
        Of each stage; None for the recipe's.
    plan : StagePlan or None
        In place of the paper's, for small trials.
    """

    iseg: Path
    output_dir: Path
    fold: int | None = None
    resume: bool = False
    init: str = ""
    init_t1: str = ""
    init_t2: str = ""
    device: str = "auto"
    iterations: int | None = None
    plan: StagePlan | None = None


@dataclass(frozen=True)
class Fold:
    """A split of the labelled subjects."""

    number: int
    training: tuple[LabelledFiles, ...]
    test: tuple[LabelledFiles, ...]

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"fold-{self.number:02d}"


def plan_folds(subjects: list[LabelledFiles]) -> list[Fold]:
    """Split the labelled subjects: the paper's ten and the rest where there are more than ten, else leave-one-out.

    Raises
    ------
    InputError
        If there are fewer than two subjects.
    """
    if len(subjects) < 2:
        raise InputError(
            f"{len(subjects)} labelled subjects were found; wanted 2 or more, one to test on: unpack the training data of iSeg."
        )
    if len(subjects) > PAPER_TRAINING_SUBJECTS:
        return [Fold(1, tuple(subjects[:PAPER_TRAINING_SUBJECTS]), tuple(subjects[PAPER_TRAINING_SUBJECTS:]))]
    return [Fold(k + 1, tuple(s for s in subjects if s is not left_out), (left_out,)) for k, left_out in enumerate(subjects)]


def run_reproduce(options: ReproduceOptions, report: Callable[[str], None] = print) -> str:
    """Train and test the folds asked for, and write tables.txt and tables.json of all folds finished so far.

    Parameters
    ----------
    options : ReproduceOptions
    report : callable
        Takes each line of progress.

    Returns
    -------
    str
        Tables 1 and 2.

    Raises
    ------
    InfantBrainSegError
        If the data, the options, the output folder or the device cannot be used, or a run is lost.
    """
    if options.init and (options.init_t1 or options.init_t2):
        raise InputError(
            "Bundled weights and partial transfer were both asked for; wanted one: leave out --init, or --init-t1 and --init-t2."
        )
    if options.iterations is not None and options.iterations < 1:
        raise InputError(f"{options.iterations} iterations were asked for; wanted 1 or more.")
    labelled, unlabelled = find_iseg(options.iseg)
    folds = plan_folds(labelled)
    if options.fold is not None and not 1 <= options.fold <= len(folds):
        raise InputError(f"Fold {options.fold} was asked for and there are {len(folds)}; wanted 1 to {len(folds)}.")
    chosen = folds if options.fold is None else [folds[options.fold - 1]]
    device = resolve_device(options.device)
    plan = _plan(options)
    folder = check_writable_folder(options.output_dir)
    for fold in chosen:
        if any((folder / fold.name / name).exists() for name in _SIGNS_OF_A_RUN) and not options.resume:
            raise InputError(f"{folder / fold.name} holds a run already: add --resume to continue it, or choose another output folder.")
    report(_introduction(options, plan, folds[0], (len(labelled), len(unlabelled))))
    if device.type == "cpu" and plan.first.network.base_width >= paper_plan().first.network.base_width:
        report("The paper's network takes a CPU weeks: use a CUDA device for the whole experiment.")
    experiment = _Experiment(plan, folder, device, report)
    for fold in chosen:
        experiment.run(fold)
    text, figures = _tables(folder, folds, experiment.settings())
    write_text(text + "\n", folder / "tables.txt")
    write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n", folder / "tables.json")
    return text


def _plan(options: ReproduceOptions) -> StagePlan:
    if options.init == "bundled":
        plan = options.plan or finetune_plan((load_network("fcn1"), load_network("fcn2")))
    elif options.init:
        raise InputError(f"--init is {options.init!r}; wanted bundled, or nothing for the paper's training.")
    else:
        plan = options.plan or paper_plan()

    def adapted(config: TrainingConfig) -> TrainingConfig:
        iterations = options.iterations or config.iterations
        return replace(config, iterations=iterations, init_t1=options.init_t1, init_t2=options.init_t2)

    return replace(plan, first=adapted(plan.first), second=adapted(plan.second))


def _introduction(options: ReproduceOptions, plan: StagePlan, fold: Fold, counts: tuple[int, int]) -> str:
    labelled, unlabelled = counts
    split = (
        f"the first {len(fold.training)} train and {len(fold.test)} test, as in the paper"
        if labelled > PAPER_TRAINING_SUBJECTS
        else f"leave-one-out, each tested by networks trained on all others, {len(fold.training)} (the paper: 10 train, 13 others test)"
    )
    if options.init:
        recipe = (
            f"FINE-TUNING FROM THE BUNDLED WEIGHTS with their own network (base width {plan.first.network.base_width}) and optimiser, "
            f"{plan.first.iterations} iterations a stage: not the paper's training."
        )
    else:
        recipe = (
            f"The paper's training: base width {plan.first.network.base_width}, {plan.first.patch_voxels}³ patches, SGD, "
            f"{plan.first.iterations} iterations a stage."
        )
        if plan.first.iterations != paper_plan().first.iterations:
            recipe += f" THE PAPER HAS {paper_plan().first.iterations} ITERATIONS."
    return f"{labelled} labelled subjects, {unlabelled} without a label left out; {split}. {recipe}"


class _Experiment:
    """Runs folds; reads each subject once."""

    def __init__(self, plan: StagePlan, folder: Path, device: torch.device, report: Callable[[str], None]):
        self.plan, self.folder, self.device, self.report = plan, folder, device, report
        self._predictor = plan.predictor(device)
        self._scans: dict[str, LabelledScan] = {}

    def settings(self) -> dict:
        """What all folds of one experiment share."""
        stages = {"first": self.plan.first, "second": self.plan.second}
        return {name: {key: value for key, value in config_to_dict(config).items() if key not in _FREE} for name, config in stages.items()}

    def run(self, fold: Fold) -> None:
        folder = self.folder / fold.name
        fingerprints = tuple(files.fingerprint() for files in fold.training)
        names = tuple(files.name for files in fold.test)
        tested = [files.fingerprint() for files in fold.test]
        done = _read_scores(folder)
        if done is not None and [done["settings"], done["training"], done["test"]] == [self.settings(), list(fingerprints), tested]:
            self.report(f"{fold.name} is finished.")
            return
        check_writable_folder(folder)
        with sole_owner(folder):
            self.report(f"{fold.name}: trains on {', '.join(files.name for files in fold.training)}; tests on {', '.join(names)}.")
            first, second = (replace(config, held_out=names, data=fingerprints) for config in (self.plan.first, self.plan.second))
            scans = ([self._read(files) for files in fold.training], [self._read(files) for files in fold.test])
            networks = train_pair(replace(self.plan, first=first, second=second), scans, folder, self.device, self.report)
            results: dict[str, dict] = {condition: {} for condition in _CONDITIONS}
            for scan in scans[1]:
                for condition, labels in zip(_CONDITIONS, self._segment(networks, scan), strict=True):
                    values = sitk.GetArrayFromImage(labels)
                    write_image(on_grid_of(labels, to_iseg(values)), folder / f"{scan.name}-{condition.replace('_', '-')}.nii.gz")
                    reference = sitk.GetArrayFromImage(scan.reference)
                    scores = evaluate_labels(values, reference, labels.GetSpacing()[::-1])
                    results[condition][scan.name] = {tissue: _without_nan(asdict(one)) for tissue, one in scores.items()}
            content = {"settings": self.settings(), "training": fingerprints, "test": tested, **results}
            write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", folder / "scores.json")

    def _read(self, files: LabelledFiles) -> LabelledScan:
        if files.name not in self._scans:
            self.report(f"Reads {files.name}.")
            scan = read_scan(files, self.plan.first.network.classes, self.plan.standardised)
            for warning in scan.warnings:
                self.report(f"{files.name}: {warning}")
            self._scans[files.name] = scan
        return self._scans[files.name]

    def _segment(self, networks: tuple[LoadedNetwork, LoadedNetwork], scan: LabelledScan) -> tuple[sitk.Image, sitk.Image]:
        """With and without context."""
        tells = [SlowLines(self.report, f"{network.stage} on {scan.name}") for network in networks]
        first = probabilities_of(scan, networks[0], self._predictor, tells[0])
        second = probabilities_of(with_context(scan, first, self.plan.second.context), networks[1], self._predictor, tells[1])
        return segmentation(scan, second), segmentation(scan, first)


def _tables(folder: Path, folds: list[Fold], settings: dict) -> tuple[str, dict]:
    cohorts: dict[str, Cohort] = {condition: {} for condition in _CONDITIONS}
    missing = []
    for fold in folds:
        scores = _read_scores(folder / fold.name)
        if scores is None:
            missing.append(fold.name)
            continue
        if [scores["training"], scores["test"]] != [[files.fingerprint() for files in group] for group in (fold.training, fold.test)]:
            raise TrainingError(f"{folder / fold.name} was made of other files than those found now: remove it, or choose another folder.")
        if scores["settings"] != settings:
            raise TrainingError(f"{folder / fold.name} was made with other settings than this run: choose another output folder for one.")
        for condition in _CONDITIONS:
            for subject, tissues in scores[condition].items():
                cohorts[condition][subject] = {tissue: _metrics(folder / fold.name, values) for tissue, values in tissues.items()}
    parts = [table1(cohorts["with_context"]), "", table2(cohorts["with_context"], cohorts["without_context"])]
    if missing:
        parts.append(f"Not run yet: {', '.join(missing)}.")
    figures = {"settings": settings, "folds_missing": missing, **tables_report(cohorts["with_context"], cohorts["without_context"])}
    return "\n".join(parts), figures


def _read_scores(folder: Path) -> dict | None:
    path = folder / "scores.json"
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TrainingError(f"{path} is damaged ({error}): remove it to test that fold again.") from error


def _without_nan(values: dict) -> dict:
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values.items()}


def _metrics(folder: Path, values: dict[str, Any]) -> TissueMetrics:
    known: dict[str, Any] = {key: math.nan if value is None else value for key, value in values.items()}
    try:
        return TissueMetrics(**known)
    except TypeError as error:
        raise TrainingError(f"{folder / 'scores.json'} is of another version ({error}): remove it to test that fold again.") from error
