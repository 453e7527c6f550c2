"""Fields of ``experiment{...}`` beside loss, step, inputs, carry and optimizer."""

from __future__ import annotations

FIELDS = {
    "clip_norm": 0.0,  # scale gradients down to this norm; 0: not at all
    "clip_value": 0.0,  # cut every gradient to +- this; 0: not at all
    "epochs": 10,  # passes over the data, unless --steps says how many steps
    "schedule": "constant",  # learning rate over the run: constant, linear, exponential
    "schedule_start": 0.5,  # linear: the part of the run after which the rate falls to 0; exponential: after which it decays
    "schedule_decay": 0.97,  # exponential: factor an epoch
    "valid_every": 0,  # steps between validations; 0: once an epoch
    "seed": 1,  # of initial values and random numbers
}
