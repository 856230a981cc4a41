"""A site's own labelled scans fine-tune the weights, with a held-out report before and after."""

import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import SimpleITK as sitk

from ...core.errors import InputError
from ...core.labels import TISSUES
from ...evaluation.metrics import evaluate_labels
from ...imaging.files import check_writable_folder, read_image, write_text
from ...networks.device import resolve_device
from ...networks.predictor import Predictor
from ...networks.sliding_window import SlidingWindowConfig
from ...networks.weights import LoadedNetwork, load_network, save_weights
from ...pipeline.segmenter import Segmenter, SegmentOptions
from ..config import TrainingConfig, config_to_dict
from ..data.iseg import find_iseg, is_iseg
from ..data.scans import LabelledScan, read_label, read_scan
from ..data.sites import LabelledFiles, find_in_folders, read_table
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
    report(f"Trains on {', '.join(s.name for s in training)}; holds out {', '.join(s.name for s in held_out)}.")
    predictor = Predictor(device, options.device, SlidingWindowConfig(), False)
    scans = ([_read(files, predictor, report) for files in training], [_read(files, predictor, report) for files in held_out])
    plan = _plan(options, loaded, scans, training)
    report("Measures the weights as they are on the subjects held out.")
    before = _measure(held_out, SegmentOptions(options.device, options.weights_dir))  # what `segment` refuses is told before the training
    networks = train_pair(plan, scans, folder, device, report)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".weights-") as staging:
        _save(networks, plan, loaded, Path(staging))
        _publish(Path(staging), folder / "weights")
    after = _measure(held_out, SegmentOptions(options.device, folder / "weights"))
    text = _comparison(before, after)
    write_text(text + "\n", folder / "held_out.txt")
    figures = {"held_out": [s.name for s in held_out], "before": _plain(before), "after": _plain(after)}
    write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n", folder / "held_out.json")
    return text


def _read(files: LabelledFiles, predictor: Predictor, report: Callable[[str], None]) -> LabelledScan:
    scan = read_scan(files, predictor=predictor)
    for warning in scan.warnings:
        report(f"{files.name}: {warning}")
    return scan


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


def _measure(subjects: list[LabelledFiles], options: SegmentOptions) -> Cohort:
    """The whole way that a user goes, on each subject."""
    cohort = {}
    segmenter = Segmenter(options.weights_dir, options.device)
    for files in subjects:
        t1, t2 = read_image(files.t1), read_image(files.t2)
        labels = segmenter(t1, t2, None if files.mask is None else read_image(files.mask), options).labels
        reference = sitk.GetArrayFromImage(read_label(files.label, t1))
        cohort[files.name] = evaluate_labels(sitk.GetArrayFromImage(labels), reference, labels.GetSpacing()[::-1])
    return cohort


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
    return {
        subject: {
            tissue: {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in asdict(one).items()}
            for tissue, one in scores.items()
        }
        for subject, scores in cohort.items()
    }
