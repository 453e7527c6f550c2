"""The run: training steps, validation, checkpoints and metrics, as a stream of events.  Printing is someone else's business."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from graphspec.errors import SpecError, fail
from graphspec.training.anomaly import MADE
from graphspec.training.checkpoint import BEST
from graphspec.training.experiment import Experiment
from graphspec.training.measures import LOSS
from graphspec.training.rundir import Event, RunDir

__all__ = ["Event", "Progress", "RunSettings", "measures", "run"]

SMOOTHING = 0.98
"""Weight of the past in the running means of training."""


@dataclass
class RunSettings:
    """``steps``: the total (None: the spec's epochs); ``out``: the run folder (None: nothing is kept); ``resume``: go on there;
    ``stop``: asked after each step, whether to save and leave; ``detect_anomaly``: find where a number that is not finite comes from."""

    steps: int | None = None
    out: Path | None = None
    resume: bool = False
    stop: Callable[[], bool] = lambda: False
    detect_anomaly: bool = False


@dataclass
class Progress:
    """What a run knows beside its experiment; every checkpoint has it, so that a resumed run goes on with it."""

    train_loss: float | None = None
    """Running mean of the training loss."""
    train: dict[str, float] = field(default_factory=dict)
    """Running means of what else is measured in training."""
    valid: dict[str, float] = field(default_factory=dict)
    """The last validation."""
    best_loss: float | None = None
    """The held-out loss of the best."""
    best_measure: float | None = None
    """What the best was chosen by, where that is not the loss."""
    best_step: int = 0
    waited: int = 0
    """Validations since the best."""

    def trained(self, loss: float, measured: Mapping[str, float]) -> None:
        self.train_loss = _smoothed(self.train_loss, loss)
        self.train = dict(sorted({**self.train, **{name: _smoothed(self.train.get(name), n) for name, n in measured.items()}}.items()))

    def validated(self, step: int, valid: dict[str, float], by: str = LOSS) -> bool:
        """Whether this is the best so far: of the lowest loss, or, ``by`` another measure, where that is largest."""
        self.valid = dict(sorted(valid.items()))  # the order in which a checkpoint gives them back
        if by == LOSS:
            best = valid.get(LOSS, math.inf) < (math.inf if self.best_loss is None else self.best_loss)
        else:
            best = valid.get(by, -math.inf) > (-math.inf if self.best_measure is None else self.best_measure)
        if best:
            self.best_loss, self.best_measure, self.best_step = valid[LOSS], None if by == LOSS else valid[by], step
        self.waited = 0 if best else self.waited + 1
        return best


def _smoothed(mean: float | None, value: float) -> float:
    return value if mean is None else SMOOTHING * mean + (1 - SMOOTHING) * value


def run(experiment: Experiment, settings: RunSettings) -> Generator[Event, None, None]:
    """Train to the end.

    Events: ``{"event": "start", ...}``, ``"step"`` (after each), ``"valid"``, ``"warning"``, ``"stopped"`` (as settings asked), and
    ``"end"`` with ``step, train_loss``, what the last validation gave, ``best_step, best_loss, early`` (whether patience ended it),
    ``baselines``; losses in nats per symbol, other measures in their own units.  Where accuracy is measured, steps have it too, and its
    running mean ``train_accuracy``.  Closing the iterator early writes a checkpoint first.  Resuming a finished run changes nothing.  E0809
    when another run uses the folder, E0807 when the run is beyond the last step.  E0710 when a loss or a gradient is not finite; nothing is
    saved then.
    """
    folder = RunDir(settings.out)
    try:
        for warning in folder.lock():
            yield {"event": "warning", "diagnostic": warning}
        yield from _locked(experiment, settings, folder)
    finally:
        folder.close()
        experiment.close()


def _locked(experiment: Experiment, settings: RunSettings, folder: RunDir) -> Generator[Event, None, None]:
    """The run, in a folder that is its own."""
    progress = Progress()
    resumed = folder.checkpoints.newest() if settings.resume and settings.out is not None else None
    if resumed is not None:
        for warning in resumed.skipped:
            yield {"event": "warning", "diagnostic": warning}
        try:
            experiment.restore(resumed.tensors, resumed.state)
        except SpecError as failure:
            raise folder.explained(failure, experiment) from None
        progress = Progress(**resumed.state["progress"])
    if settings.steps is not None:
        experiment.total_steps = settings.steps
    start = {
        "event": "start", "step": experiment.steps, "steps": experiment.total_steps, "parameters": len(experiment.flat_parameters),
        "symbols": experiment.source.batch(0).symbols * experiment.setup.accumulate, "finished": False,
    }  # fmt: skip
    over = experiment.steps >= experiment.total_steps or _waited(experiment, progress)
    finished = folder.end() if resumed is not None and over else None
    if finished is not None:  # nothing is left to do, and nothing is touched
        yield {**start, "finished": True}
        yield finished
        return
    if experiment.steps > experiment.total_steps:
        text = f"the run is at step {experiment.steps:,} already, past the {experiment.total_steps:,} asked for"
        raise fail("E0807", text, helps=["`--steps` says how many there are to be, with those that are done"])
    if settings.detect_anomaly:
        experiment.watch()
    warnings = folder.open(experiment, resume=resumed is not None)
    if resumed is not None and resumed.path.name == BEST:  # the step's own checkpoint was not reached
        folder.save(experiment, asdict(progress))
    yield start
    for warning in warnings:
        yield {"event": "warning", "diagnostic": warning}
    yield from _train(experiment, folder, progress, settings.stop)


def _waited(experiment: Experiment, progress: Progress) -> bool:
    return 0 < int(experiment.fields["patience"]) <= progress.waited


def _train(experiment: Experiment, folder: RunDir, progress: Progress, stop: Callable[[], bool]) -> Generator[Event, None, None]:
    every = int(experiment.fields["valid_every"]) or experiment.steps_per_epoch
    save_every = int(experiment.fields["save_every"])
    saved = experiment.steps
    try:
        while experiment.steps < experiment.total_steps and not _waited(experiment, progress):
            events = [_step(experiment, progress)]
            folder.write(events[0])
            step = experiment.steps
            if step % every == 0 or step == experiment.total_steps:
                valid = experiment.evaluate()
                best = progress.validated(step, valid, experiment.best_by)
                if LOSS in valid:
                    experiment.schedule.validated(valid[LOSS])
                events.append({"event": "valid", "step": step, **valid, "best": best})
                folder.write(events[1])
                folder.save(experiment, asdict(progress), best)
                saved = step
            elif save_every and step % save_every == 0:
                folder.save(experiment, asdict(progress))
                saved = step
            yield from events  # when all that belongs to the step is done: a run that is closed here goes on with the next
            if stop():
                if saved < step:
                    folder.save(experiment, asdict(progress), stopped=True)
                yield {"event": "stopped", "step": step}
                return
    except GeneratorExit:
        if saved < experiment.steps:
            folder.save(experiment, asdict(progress), stopped=True)
        raise
    chosen = {} if experiment.best_by == LOSS else {f"best_{experiment.best_by}": progress.best_measure}
    end = {
        "event": "end", "step": experiment.steps, "train_loss": progress.train_loss, **_named(progress.train), **progress.valid,
        "best_step": progress.best_step, "best_loss": progress.best_loss, **chosen, "early": experiment.steps < experiment.total_steps,
        "baselines": experiment.source.baselines(),
    }  # fmt: skip
    folder.write(end)
    yield end


def _step(experiment: Experiment, progress: Progress) -> Event:
    rate = experiment.learning_rate
    loss = experiment.train_step()
    for what, value in (("loss", loss), ("norm of the gradient", experiment.gradient_norm)):
        if not math.isfinite(value):
            read = _not_finite(experiment)
            raise fail(
                "E0710",
                f"the {what} is {value} at step {experiment.steps}",
                experiment.spec.loss.origin,
                "this loss",
                notes=read,
                helps=[
                    MADE if read else f"lower the learning rate (it is {rate:g}){_clipping(experiment)}",
                    "`graphspec run --resume --detect-anomaly` goes to the same step again and finds the node it comes from",
                ],
            )
    measured = experiment.answers.shares()
    progress.trained(loss, measured)
    return {
        "event": "step", "step": experiment.steps, "loss": loss, "train_loss": progress.train_loss, **measured,
        **_named({name: progress.train[name] for name in measured}), "learning_rate": rate,
        "gradient_norm": experiment.gradient_norm, "symbols": experiment.symbols,
    }  # fmt: skip


def _named(running: Mapping[str, float]) -> dict[str, float]:
    """Running means by the names that events have for them."""
    return {f"train_{name}": value for name, value in running.items()}


def _not_finite(experiment: Experiment) -> list[str]:
    """What the step that was done last read that is not finite: then it is not the training that made its numbers so."""
    size, found = experiment.setup.accumulate, []
    batches = [experiment.source.batch(number) for number in range((experiment.steps - 1) * size, experiment.steps * size)]
    for name in dict.fromkeys(stream.name for stream in experiment.spec.inputs.values()):
        arrays = [batch.arrays[name] for batch in batches if batch.arrays[name].dtype.kind == "f"]
        count = sum(int((~np.isfinite(array)).sum()) for array in arrays)
        if count:
            found.append(f"the step read data that are not finite: {count:,} of {sum(a.size for a in arrays):,} numbers of {name}")
    return found


def _clipping(experiment: Experiment) -> str:
    """What else helps, where gradients are not clipped yet."""
    clipped = experiment.fields["clip_norm"] or experiment.fields["clip_value"]
    return "" if clipped else ", or clip gradients: `clip_norm = 5` in the experiment"


def measures(event: Mapping[str, Any]) -> dict[str, float]:
    """What a validation (or the end) says besides the loss: ``bits_per_char``, ``perplexity``, ``accuracy``, ``exact`` ..."""
    own = {"event", "step", LOSS, "best", "early"}
    mine = {name: value for name, value in event.items() if name not in own and isinstance(value, (int, float))}
    return {name: value for name, value in mine.items() if not name.startswith(("train_", "best_"))}
