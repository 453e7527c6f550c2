"""Fields of ``experiment{...}`` beside loss, step, inputs, carry and optimizer."""

from __future__ import annotations

from graphspec.build import ExperimentSpec

SCHEDULES = ("constant", "linear", "exponential", "step", "plateau")
UNITS = ("epochs", "steps")
WHEN = ("auto", "always", "never")

FIELDS = {
    "clip_norm": 0.0,  # scale gradients down to this norm; 0: not at all
    "clip_value": 0.0,  # cut every gradient to +- this, before clip_norm; 0: not at all
    "accumulate": 1,  # batches that make one step, with the mean of their gradients
    "epochs": 10,  # passes over the data, unless --steps says how many steps
    "schedule": "constant",  # learning rate over the run: constant, linear, exponential, step, plateau
    "schedule_start": 0.5,  # linear: the part of the run after which the rate falls to 0; exponential: after which it decays
    "schedule_decay": 0.97,  # exponential: factor an epoch; step: each time; plateau: when the validation loss no longer falls
    "schedule_every": 1,  # step: epochs (or steps) between two decays
    "schedule_unit": "epochs",  # step: what schedule_every counts, epochs or steps
    "schedule_patience": 10,  # plateau: validations in a row without a better loss that are borne before the rate decays
    "schedule_threshold": 1e-4,  # plateau: a loss is better when it is below the best by more than this part of it
    "schedule_floor": 0.0,  # the rate never falls below this part of learningRate
    "schedule_warmup": 0,  # steps in which the rate rises from 0, whatever the schedule
    "valid_every": 0,  # steps between validations; 0: once an epoch
    "patience": 0,  # validations without a new best before the run ends; 0: it never does so
    "best_by": "loss",  # what makes a validation the best: loss, accuracy, or exact
    "accuracy": "auto",  # when the part of right answers is measured: auto (unless the data have a measure), always, never
    "save_every": 0,  # steps between checkpoints, besides those of validations; 0: with validations only
    "seed": 1,  # of initial values and random numbers
}

WHOLE = {
    "accumulate": 1, "epochs": 1, "schedule_every": 1, "schedule_patience": 0, "schedule_warmup": 0, "valid_every": 0, "patience": 0,
    "save_every": 0, "seed": 0,
}  # fmt: skip
"""What counts something, and the least of it."""
PARTS = ("schedule_start", "schedule_decay", "schedule_threshold", "schedule_floor")
"""What is at least 0 and less than 1."""


def measures_accuracy(experiment: ExperimentSpec, own: str) -> bool:
    """Whether an experiment's programs say how many predictions are right; ``own`` is the measure that its data have, if they have one."""
    when = experiment.fields["accuracy"]
    return when == "always" or (when == "auto" and not own)


def check_fields(experiment: ExperimentSpec) -> None:
    """E0606 for a field that is out of range."""
    for name, least in WHOLE.items():
        experiment.whole(name, least)
    for name in PARTS:
        experiment.fraction(name)
    for name in ("clip_norm", "clip_value"):
        experiment.number(name, 0)
    experiment.one_of("schedule", SCHEDULES)
    experiment.one_of("schedule_unit", UNITS)
    experiment.one_of("accuracy", WHEN)
