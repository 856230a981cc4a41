"""A site's own labelled scans fine-tune the weights, with a held-out report before and after."""

import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import SimpleITK as sitk

from ...core.errors import InputError
from ...core.labels import TISSUES
from ...core.lock import sole_owner
from ...core.progress import Progress, SlowLines
from ...evaluation.metrics import evaluate_labels
from ...imaging.files import check_writable_folder, read_image, write_text
from ...networks.device import resolve_device
from ...networks.predictor import Predictor
from ...networks.sliding_window import SlidingWindowConfig
from ...networks.weights import EXTRACTION_STAGES, STAGES, LoadedNetwork, load_network, save_weights
from ...pipeline.segmenter import Segmenter, SegmentOptions
from ..config import TrainingConfig, config_to_dict
from ..data.iseg import find_iseg, is_iseg
from ..data.scans import LabelledScan, read_label, read_scan
from ..data.sites import LabelledFiles, find_in_folders, read_table
from .measured import Measured, Scores, key_of, plain_scores
from .stages import FINETUNE_ITERATIONS, StagePlan, finetune_plan, train_pair
from .tables import Cohort, summary

_ONE_IN = 5  # of the subjects is held out, unless they are named
_ROWS = (
    ("Dice", "dice", 3),
    ("ASD mm", "average_surface_distance_mm", 3),
    ("HD95 mm", "hausdorff95_mm", 2),
    ("volume / reference", "volume_ratio", 3),
)
_LOCAL = ("pack", "label_maps", "output_dir", "data", "held_out")


@dataclass(frozen=True)
class FinetuneOptions:
    """What to fine-tune on.

    Attributes
    ----------
    subjects : Path
        A folder with a folder for each subject (T1, T2, label and perhaps mask), iSeg's layout, or a CSV.
    output_dir : Path
    iterations : int
        Of each stage.
    device : str
    held_out : tuple of str
        Names of the subjects kept for the report; empty for the last one in five.
    weights_dir : Path or None
        To start from; None for the bundled weights.
    patch_voxels : int
    """

    subjects: Path
    output_dir: Path
    iterations: int = FINETUNE_ITERATIONS
    device: str = "auto"
    held_out: tuple[str, ...] = ()
    weights_dir: Path | None = None
    patch_voxels: int = 64


def find_subjects(source: Path) -> list[LabelledFiles]:
    """Find labelled subjects in a folder of either layout or in a CSV.

    Raises
    ------
    InputError
        If there are none, or one of them cannot be used.
    """
    if not source.exists():
        raise InputError(f"{source} does not exist; wanted a folder of labelled subjects or a CSV that lists them: check the path.")
    if source.is_file():
        return read_table(source)
    if not is_iseg(source):
        return find_in_folders(source)
    labelled, unlabelled = find_iseg(source)
    if unlabelled:
        raise InputError(
            f"{len(unlabelled)} subjects of {source} have no label ({', '.join(unlabelled[:5])}); wanted a label for each: move them away."
        )
    return labelled


def split(subjects: list[LabelledFiles], held_out: tuple[str, ...]) -> tuple[list[LabelledFiles], list[LabelledFiles]]:
    """Split subjects into those to train on and those held out.

    Raises
    ------
    InputError
        If a name is unknown, or nothing is left to train on.
    """
    known = [subject.name for subject in subjects]
    unknown = [name for name in held_out if name not in known]
    if unknown:
        raise InputError(f"There is no subject {unknown[0]} to hold out; found {', '.join(known)}: check the name.")
    names = held_out or tuple(known[-math.ceil(len(known) / _ONE_IN) :])
    training = [subject for subject in subjects if subject.name not in names]
    if not training:
        raise InputError(f"{len(known)} labelled subjects were found and {len(names)} are held out; wanted at least one more to train on.")
    return training, [subject for subject in subjects if subject.name in names]


def run_finetune(options: FinetuneOptions, report: Callable[[str], None] = print) -> str:
    """Fine-tune both stages, compare before and after on the held-out subjects, and write `output_dir`/weights.

    Parameters
    ----------
    options : FinetuneOptions
    report : callable
        Takes each line of progress.

    Returns
    -------
    str
        The held-out report; held_out.txt and held_out.json hold it too.

    Raises
    ------
    InfantBrainSegError
        If the subjects, the weights, the output folder or the device cannot be used, or a run is lost.
    """
    if options.iterations < 1:
        raise InputError(f"{options.iterations} iterations were asked for; wanted 1 or more.")
    training, held_out = split(find_subjects(options.subjects), options.held_out)
    device = resolve_device(options.device)
    loaded = (load_network("fcn1", options.weights_dir), load_network("fcn2", options.weights_dir))
    folder = check_writable_folder(options.output_dir)
    with sole_owner(folder):
        report(f"Trains on {', '.join(s.name for s in training)}; holds out {', '.join(s.name for s in held_out)}.")
        predictor = Predictor(device, options.device, SlidingWindowConfig(), False)
        classes = loaded[0].network.config.classes
        scans = (_read(training, classes, predictor, report), _read(held_out, classes, predictor, report))
        plan = _plan(options, loaded, scans, training)
        measuring = _HeldOut(held_out, options.device, Measured(folder / "measured.json"), report)
        before = measuring.measure(options.weights_dir, "the weights as they are")  # what `segment` refuses is told before the training
        networks = train_pair(plan, scans, folder, device, report)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".weights-") as staging:
            _save(networks, plan, loaded, Path(staging))
            _publish(Path(staging), folder / "weights")
        after = measuring.measure(folder / "weights", "the new weights")
        text = _comparison(before, after)
        write_text(text + "\n", folder / "held_out.txt")
        figures = {"held_out": [s.name for s in held_out], "before": _plain(before), "after": _plain(after)}
        write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n", folder / "held_out.json")
    return text


def _read(subjects: list[LabelledFiles], classes: int, predictor: Predictor, report: Callable[[str], None]) -> list[LabelledScan]:
    scans = []
    for number, files in enumerate(subjects, start=1):
        report(f"Reads {files.name}, {number} of {len(subjects)}.")
        scans.append(read_scan(files, classes, predictor=predictor))
        for warning in scans[-1].warnings:
            report(f"{files.name}: {warning}")
    return scans


def _plan(options: FinetuneOptions, loaded, scans, training: list[LabelledFiles]) -> StagePlan:
    plan = finetune_plan(loaded)

    def adapted(config: TrainingConfig) -> TrainingConfig:
        return replace(
            config,
            iterations=options.iterations,
            patch_voxels=options.patch_voxels,
            held_out=tuple(scan.name for scan in scans[1]),
            data=tuple(files.fingerprint() for files in training),
        )

    window = replace(plan.window, patch_voxels=options.patch_voxels)
    return replace(plan, first=adapted(plan.first), second=adapted(plan.second), window=window)


def _save(networks: tuple[LoadedNetwork, LoadedNetwork], plan: StagePlan, loaded: tuple[LoadedNetwork, ...], folder: Path) -> None:
    for network, config, base in zip(networks, (plan.first, plan.second), loaded, strict=True):
        training = {name: value for name, value in config_to_dict(config).items() if name not in _LOCAL}
        training.update(finetuned_from=base.sha256, subjects=len(config.data))  # no names of subjects in a file that may be passed on
        save_weights(
            network.network,
            config.stage,
            {"context": config.context if config.stage_facts.needs_fcn1 else None, "training": training},
            folder / f"{config.stage}.pt",
        )


def _publish(staging: Path, folder: Path) -> None:
    """Put the new weights in place of earlier ones, all files or none."""
    earlier = staging / "earlier"
    fresh = staging / "fresh"
    fresh.mkdir()
    for path in [path for path in staging.iterdir() if path != fresh]:
        path.rename(fresh / path.name)
    if folder.exists():
        folder.rename(earlier)
    try:
        fresh.rename(folder)
    except OSError:
        if earlier.exists():
            earlier.rename(folder)
        raise


@dataclass(frozen=True)
class _HeldOut:
    """Measures weights on the subjects held out, the whole way that a user goes, where that was not done before."""

    subjects: list[LabelledFiles]
    device: str
    kept: Measured
    report: Callable[[str], None]

    def measure(self, weights_dir: Path | None, called: str) -> Cohort:
        cohort = {}
        segmenter = Segmenter(weights_dir, self.device)
        weights = segmenter.networks.sha256((*STAGES, *EXTRACTION_STAGES))
        for number, files in enumerate(self.subjects, start=1):
            key = key_of(weights, files.fingerprint())
            scores = self.kept.get(key)
            if scores is None:
                self.report(f"Measures {called} on {files.name}, {number} of {len(self.subjects)}.")
                scores = _scores(files, segmenter, SegmentOptions(self.device, weights_dir), SlowLines(self.report, files.name))
                self.kept.keep(key, scores)
            cohort[files.name] = scores
        return cohort


def _scores(files: LabelledFiles, segmenter: Segmenter, options: SegmentOptions, progress: Progress) -> Scores:
    t1, t2 = read_image(files.t1), read_image(files.t2)
    labels = segmenter(t1, t2, None if files.mask is None else read_image(files.mask), options, progress).labels
    classes = segmenter.networks.get("fcn1").network.config.classes
    reference = sitk.GetArrayFromImage(read_label(files.label, t1, classes))
    return evaluate_labels(sitk.GetArrayFromImage(labels), reference, labels.GetSpacing()[::-1])


def _comparison(before: Cohort, after: Cohort) -> str:
    rows = [["subject", "tissue", *(f"{name} {when}" for name, *_ in _ROWS for when in ("before", "after"))]]
    names = [tissue.short_name for tissue in TISSUES]
    for subject in before:
        for tissue in names:
            pairs = [(getattr(before[subject][tissue], key), getattr(after[subject][tissue], key)) for _, key, _ in _ROWS]
            rows.append([subject, tissue, *_cells(pairs)])
    for tissue in names:
        pairs = [(_mean(before, tissue, key), _mean(after, tissue, key)) for _, key, _ in _ROWS]
        rows.append([f"mean of {len(before)}", tissue, *_cells(pairs)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    worse = [tissue for tissue in names if _mean(after, tissue, "dice") < _mean(before, tissue, "dice")]
    if worse:
        lines.append(
            f"Fine-tuning made {', '.join(worse)} worse on the held-out subjects: keep the earlier weights, or give more subjects."
        )
    return "\n".join(lines)


def _mean(cohort: Cohort, tissue: str, key: str) -> float:
    return summary([getattr(scores[tissue], key) for scores in cohort.values()])[0]


def _cells(pairs: list[tuple[float, float]]) -> list[str]:
    return [
        "-" if math.isnan(value) else f"{value:.{decimals}f}" for pair, (_, _, decimals) in zip(pairs, _ROWS, strict=True) for value in pair
    ]


def _plain(cohort: Cohort) -> dict:
    return {subject: plain_scores(scores) for subject, scores in cohort.items()}
