"""The training loop: fresh patches, deep supervision, checkpoints that resume to the same state, a log."""

import contextlib
import copy
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from ..core.errors import DeviceError, TrainingError
from ..core.progress import QUIET_S
from ..core.stops import Stopped, Stops, noted_stops
from ..imaging.files import check_writable_folder, write_text
from ..networks.device import is_out_of_memory, training_autocast
from ..networks.fcn import MultiStreamFCN
from ..networks.saved import UnreadableError, read_saved
from .config import TrainingConfig, config_from_dict, config_to_dict
from .data.batch_queue import Batch, BatchQueue
from .data.batches import ContextFromNetwork, PatchSource, simulated_sources
from .losses import deep_supervision_loss, parameter_groups
from .transfer import Transferred, partial_transfer, start_from, transfer_table

_TRAIN, _HELD_OUT, _ROUND = 0, 1, 2  # branches of the random numbers
MAX_LEFT_OUT = 50  # steps in a row: single ones come of rounding, so many of a run that is lost


class Tally:
    """Means since the last line of the log, of a network of so many classes."""

    def __init__(self, classes: int):
        self.losses: list[float] = []
        self.counts = np.zeros((2, classes - 1))
        self.left_out = 0
        self.start = time.monotonic()

    def add(self, loss: float, counts: np.ndarray, left_out: bool) -> None:
        """Count one step: its loss, its `overlap_counts`, and whether it was left out."""
        self.losses.append(loss)
        self.left_out += left_out
        self.counts += counts

    @property
    def loss(self) -> float:
        """Mean of the steps; not a number before the first."""
        return float(np.mean(self.losses)) if self.losses else float("nan")

    @property
    def dice(self) -> np.ndarray:
        """Dice of each class but background over all steps: (K - 1,)."""
        return dice_of(self.counts)

    @property
    def seconds(self) -> float:
        """Since this tally was begun."""
        return time.monotonic() - self.start


class Trainer:
    """One run of a `TrainingConfig`.

    The random numbers of iteration i depend on the seed and i alone, so that a resumed run goes on as if it had not stopped.
    On a CPU of several cores each patch of a batch has a thread of its own, from synthesis to gradients, unless the network normalises by
    the batch or batches are synthesized ahead (`TrainingConfig.uses`, `workers`): a step takes a quarter less time than with all cores on
    one operation.

    Parameters
    ----------
    config : TrainingConfig
    device : torch.device
    fcn1 : torch.nn.Module, optional
        Needed by stage "fcn2".
    initial : dict of torch.Tensor, optional
        Weights to start from, see `transfer.start_from`.
    sources : pair of PatchSource, optional
        Patches to train on and held-out ones; from the simulator by default.

    Raises
    ------
    TrainingError
        If there are no label maps to train on or to hold out, or the checkpoint does not fit.
    WeightsError
        If a file of `init_t1` or `init_t2` does not fit.
    """

    def __init__(
        self,
        config: TrainingConfig,
        device: torch.device,
        fcn1=None,
        initial: dict | None = None,
        sources: tuple[PatchSource, PatchSource] | None = None,
    ):
        self.config = config
        self.device = device
        self.folder = Path(config.output_dir)
        self.checkpoint_path = self.folder / "checkpoint.pt"
        torch.manual_seed(config.seed)
        self.network = MultiStreamFCN(config.network)
        if initial is not None:
            start_from(self.network, initial)
        self.transferred: list[Transferred] = []
        if not self.checkpoint_path.is_file():
            self.transferred = partial_transfer(self.network, config.init_t1, config.init_t2)
        self.network = _fast_layout(self.network.to(device))
        self._averaged = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.average = self._averaged.state_dict()
        self.optimizer = _optimizer(self.network, config)
        self._forward = torch.compile(self.network) if config.compile else self.network
        self.iteration = 0
        self._left_out = 0  # steps in a row whose gradient was not finite
        self._resume()
        self._beside = _patch_threads(config, device)
        self._own_context = ContextFromNetwork(self._averaged, config.context, self._autocast) if config.own_context else None
        self.training, self.held_out = sources or simulated_sources(
            config, device, None if fcn1 is None else _fast_layout(fcn1.to(device)), self._autocast
        )
        self._queue: BatchQueue | None = None
        self._held_out_batches: list[Batch] = []
        if device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # every batch has the same size

    def run(self, report=print) -> dict[str, torch.Tensor]:
        """Train to the last iteration.

        Parameters
        ----------
        report : callable
            Takes one line of text.

        Returns
        -------
        dict of torch.Tensor
            The state dict to use: the average over iterations for the recipe "bundled", the last one for "paper".

        Raises
        ------
        TrainingError
            If the loss is not finite, or 50 gradients in a row are not.
        DeviceError
            If the device's memory is too small.
        Stopped
            At Ctrl-C or a request to end, once the step at hand is done and saved; a second one does not wait for that.
        """
        self._report_transfer(report)
        cut_log(self.folder / "log.jsonl", self.iteration)
        with noted_stops() as stops:
            self._train(stops, report)
        self._queue = None  # ends the processes that paint
        if stops.asked:
            raise Stopped(f"Stopped after iteration {self.iteration} of {self.config.iterations}, which {self.checkpoint_path} holds")
        return self.result()

    def _train(self, stops: Stops, report) -> None:
        config = self.config
        saved = told = time.monotonic()
        recent = Tally(config.network.classes)
        while self.iteration < config.iterations and not stops.asked:
            loss, dice = self._guarded_step()
            recent.add(loss, dice, self._left_out > 0)
            if not np.isfinite(loss):
                raise TrainingError(f"The loss is {loss} at iteration {self.iteration}: {self._remedy()}")
            if self._left_out >= MAX_LEFT_OUT:
                raise TrainingError(
                    f"The gradients of {self._left_out} steps in a row, up to iteration {self.iteration}, are not finite: {self._remedy()}"
                )
            self.iteration += 1
            done = self.iteration == config.iterations
            if done or self.iteration % config.validate_every == 0:
                report(self._log(recent))
                recent = Tally(config.network.classes)
                told = time.monotonic()
            elif time.monotonic() - told > QUIET_S:
                report(f"iteration {self.iteration} of {config.iterations}, loss {recent.loss:.4f}")
                told = time.monotonic()
            if done or stops.asked or time.monotonic() - saved > 60 * config.checkpoint_minutes:
                self._save()
                saved = time.monotonic()

    def result(self) -> dict[str, torch.Tensor]:
        """The state dict to use so far."""
        return self.average if self.config.recipe_facts.averaged else self.network.state_dict()

    def _guarded_step(self) -> tuple[float, np.ndarray]:
        try:
            return self._step()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            config = self.config
            raise DeviceError(
                f"{self.device} ran out of memory at iteration {self.iteration}, with {config.batch_size} patches of "
                f"{config.patch_voxels}³ a step: take a device with more memory or smaller patches; the last checkpoint is intact."
            ) from error

    def _step(self) -> tuple[float, np.ndarray]:
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, self.iteration)
        self.network.train()
        loss, counts = self._patch_by_patch(self._beside) if self._beside else self._whole_batch()
        if torch.isfinite(torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.recipe_facts.largest_gradient)):
            self.optimizer.step()  # oneDNN's bf16 kernels now and then give a gradient that is not finite; such a step is left out
            self._left_out = 0
        else:
            self._left_out += 1
        self._update_average()
        return loss, counts

    def _whole_batch(self) -> tuple[float, np.ndarray]:
        """Set the gradients of one batch; give its loss and overlap counts."""
        images, labels = self._second_round(*self._take_batch(), [self.iteration])
        loss, counts = self._loss(images, labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        return float(loss.detach()), counts

    def _patch_by_patch(self, threads: ThreadPoolExecutor) -> tuple[float, np.ndarray]:
        """As `_whole_batch`, with the patches of the batch side by side."""
        size = self.config.batch_size
        parameters = list(self.network.parameters())

        def of_patch(index: int) -> tuple[float, np.ndarray, tuple[torch.Tensor, ...]]:
            images, labels = self.training.batch(self._rng(_TRAIN, self.iteration, index), 1)
            loss, counts = self._loss(*self._second_round(images, labels, [self.iteration, index]))
            return float(loss.detach()), counts, torch.autograd.grad(loss, parameters)

        losses, counts, gradients = zip(*threads.map(of_patch, range(size)), strict=True)
        for parameter, each in zip(parameters, zip(*gradients, strict=True), strict=True):
            parameter.grad = sum(each) / size
        return float(np.mean(losses)), np.sum(counts, 0)

    def _loss(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, np.ndarray]:
        labels = labels.to(self.device)
        with self._autocast():
            logits = self._forward(images.to(self.device, memory_format=torch.channels_last_3d))
        loss = deep_supervision_loss(logits, labels, self.config.loss_weights)
        return loss, overlap_counts(logits[0].detach(), labels)

    def _second_round(self, images: torch.Tensor, labels: torch.Tensor, numbers: list[int]) -> Batch:
        """With the chance `own_context`, the batch as the second round sees it: mirrored, with maps of the network's own result."""
        if self._own_context is None or self._rng(_ROUND, *numbers).random() >= self.config.own_context:
            return images, labels
        return self._own_context(images).flip(2), labels.flip(1)

    def _take_batch(self) -> Batch:
        config = self.config
        if self._queue is None:
            run = range(self.iteration, config.iterations)
            self._queue = BatchQueue(self.training, (config.seed, _TRAIN), config.batch_size, config.uses, config.workers, run)
        return self._queue.take(self.iteration)

    def _rng(self, *numbers: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, *numbers])

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.average_decay, (1 + self.iteration) / (10 + self.iteration))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    @torch.no_grad()
    def validate(self) -> np.ndarray:
        """Dice of each class but background over held-out patches, the same ones at each call: (K - 1,)."""
        if not self._held_out_batches:
            numbers = range(self.config.validation_patches)
            self._held_out_batches = [self.held_out.batch(self._rng(_HELD_OUT, number), 1, augment=False) for number in numbers]
        network = (self._averaged if self.config.recipe_facts.averaged else self.network).eval()
        counts = np.zeros((2, self.config.network.classes - 1))
        for images, labels in self._held_out_batches:
            with self._autocast():
                logits = network(images.to(self.device, memory_format=torch.channels_last_3d))
            counts += overlap_counts(logits, labels.to(self.device))
        return dice_of(counts)

    def _log(self, recent: Tally) -> str:
        known = self.config.stage_facts.class_names
        classes = range(1, self.config.network.classes)
        names = [known[number - 1] if number <= len(known) else f"class {number}" for number in classes]
        line = {
            "iteration": self.iteration,
            "loss": round(recent.loss, 4),
            "learning_rate": learning_rate(self.config, self.iteration),
            "training_doc": dict(zip(names, recent.dice.round(4).tolist(), strict=True)),
            "held_out_doc": dict(zip(names, self.validate().round(4).tolist(), strict=True)),
            "steps_left_out": recent.left_out,
            "seconds": round(recent.seconds, 1),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        return json.dumps(line)

    def _report_transfer(self, report) -> None:
        if self.transferred:
            table = transfer_table(self.transferred)
            write_text(table + "\n", check_writable_folder(self.folder) / "transfer.txt")
            report(table)

    def _remedy(self) -> str:
        if self.checkpoint_path.is_file():
            return f"go on from the last good checkpoint, {self.checkpoint_path}, or start anew with a lower learning_rate."
        return "there is no checkpoint yet; start anew with a lower learning_rate."

    def _autocast(self):
        return training_autocast(self.device) if self.config.recipe_facts.mixed_precision else contextlib.nullcontext()

    def _save(self) -> None:
        state = {
            "config": config_to_dict(self.config),
            "iteration": self.iteration,
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }
        save_checkpoint(state, self.checkpoint_path)

    def _resume(self) -> None:
        state = load_checkpoint(self.checkpoint_path, config_to_dict(self.config))
        if state is None:
            return
        check_parts(state, self.checkpoint_path)
        if state["iteration"] > self.config.iterations:
            raise TrainingError(
                f"The checkpoint {self.checkpoint_path} has {state['iteration']} iterations and {self.config.iterations} were asked for: "
                "ask for as many or more, or take another output_dir."
            )
        try:
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            for name, value in self.average.items():
                value.copy_(state["average"][name])
        except (RuntimeError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise TrainingError(
                f"The checkpoint {self.checkpoint_path} does not fit the network it describes ({type(error).__name__}): "
                "take another output_dir, or remove it to start anew."
            ) from error
        self.iteration = state["iteration"]


def learning_rate(config: TrainingConfig, iteration: int) -> float:
    """Learning rate of an iteration: halved every 3,000 (paper, section 4.1), or warm-up and polynomial decay ("bundled")."""
    halved_every = config.recipe_facts.halved_every
    if halved_every is not None:
        return config.learning_rate * 0.5 ** (iteration // halved_every)
    warm_up = min(1.0, (iteration + 1) / 100)
    return config.learning_rate * warm_up * max(1 - iteration / config.iterations, 0.0) ** 0.9


def _patch_threads(config: TrainingConfig, device: torch.device) -> ThreadPoolExecutor | None:
    """A thread for each patch of a batch where that pays and changes no result, sharing the cores."""
    cores = torch.get_num_threads()
    count = min(config.batch_size, cores)
    ahead = config.uses > 1 or config.workers > 0
    if device.type != "cpu" or count < 2 or ahead or config.compile or config.network.norm == "batch":
        return None
    return ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(cores // count,))


def _optimizer(network, config: TrainingConfig) -> torch.optim.Optimizer:
    groups = parameter_groups(network, config.weight_decay)
    momentum = config.recipe_facts.momentum
    if momentum is not None:
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=momentum)
    return torch.optim.AdamW(groups, lr=config.learning_rate)


def _fast_layout(network):
    return network.to(memory_format=torch.channels_last_3d)


def overlap_counts(logits: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """Voxels in both the likeliest class and the label, and in one plus in the other, of each class but background.

    Parameters
    ----------
    logits : (B, K, X, Y, Z) float torch.Tensor
    labels : (B, X, Y, Z) int64 torch.Tensor

    Returns
    -------
    (2, K - 1) float array
    """
    classes = logits.shape[1]
    pairs = torch.bincount((logits.argmax(1) * classes + labels).flatten(), minlength=classes**2).cpu().numpy()
    table = pairs.reshape(classes, classes).astype(float)
    return np.stack([np.diag(table), table.sum(0) + table.sum(1)])[:, 1:]


def dice_of(counts: np.ndarray) -> np.ndarray:
    """Dice of each class but background, (K - 1,), from sums of `overlap_counts`."""
    return 2 * counts[0] / np.maximum(counts[1], 1)


def save_checkpoint(state: dict, path: Path) -> None:
    """Write a checkpoint in place of the last one.

    Raises
    ------
    TrainingError
        If it cannot be written; the last one is untouched.
    """
    temporary = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise TrainingError(
            f"The checkpoint {path} could not be written ({error}): the one before it is intact; make room and run again."
        ) from error


def load_checkpoint(path: Path, config: dict) -> dict | None:
    """Read the checkpoint of a run, or None where there is none yet.

    Parameters
    ----------
    path : Path
    config : dict
        The run's config as plain values; the checkpoint must be of the same one, but for how long, how and where it runs.

    Raises
    ------
    TrainingError
        If the file is damaged or of another config.
    """
    if not path.is_file():
        return None
    try:
        state = read_saved(path)
        theirs = config_to_dict(config_from_dict(state["config"]))  # fields younger than the checkpoint take their defaults
    except (UnreadableError, KeyError, TypeError, IndexError) as error:
        raise TrainingError(f"The checkpoint {path} is damaged ({type(error).__name__}): remove it to start anew.") from error
    except TrainingError as error:
        raise TrainingError(f"The checkpoint {path} is of another version ({error}): take another output_dir, or remove it.") from error
    free = ("iterations", "device", "compile", "output_dir", "checkpoint_minutes", "label_maps", "pack", "workers")
    changed = [name for name in config if name not in free and theirs.get(name) != config[name]]
    if changed:
        name = changed[0]
        raise TrainingError(
            f"The checkpoint {path} is of another config ({name} is {theirs.get(name)!r} there and {config[name]!r} here): "
            "take another output_dir, or remove it to start anew."
        )
    return state


def check_parts(state: dict, path: Path) -> None:
    """Refuse a checkpoint that lacks a part of what a run goes on from.

    Raises
    ------
    TrainingError
        If a part is absent or of another kind.
    """
    parts = {"iteration": int, "network": dict, "average": dict, "optimizer": dict}
    missing = [name for name, kind in parts.items() if not isinstance(state.get(name), kind)]
    if missing or state["iteration"] < 0:
        raise TrainingError(
            f"The checkpoint {path} has no usable {', '.join(missing or ['iteration'])}; wanted {', '.join(parts)}: "
            "remove it to start anew."
        )


def cut_log(path: Path, iteration: int) -> None:
    """Take out of a log what a run that goes on from this iteration will write again, and a line that was cut short."""
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    kept = [line for line in lines if (logged := _iteration_of(line)) is not None and logged <= iteration]
    if kept != lines:
        write_text("".join(kept), path)


def _iteration_of(line: str) -> int | None:
    try:
        logged = json.loads(line)["iteration"]
    except (ValueError, KeyError, TypeError):
        return None
    return logged if isinstance(logged, int) and line.endswith("\n") else None
