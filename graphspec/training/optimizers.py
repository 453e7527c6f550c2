"""Optimizers: one record each, as ordinary IR on the flat parameter buffer.

Field names are Torch's (https://github.com/torch/optim/blob/master/doc/algos.md); the arithmetic is that of ``torch.optim``, to rounding.
The learning rate is an input of the compiled step, so that schedules never compile anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from graphspec.build import Description, Schema
from graphspec.ir.builder import Builder
from graphspec.ir.core import Value

State = dict[str, Value]


@dataclass(frozen=True)
class Update:
    """What an optimizer sees: the flat parameters and gradients, its state, the rate (a scalar of their type), the number of this
    step (from 1; a float64 scalar, in which all that depends on it alone is computed), and its fields."""

    b: Builder
    parameters: Value
    gradients: Value
    state: Mapping[str, Value]
    rate: Value
    step: Value
    fields: Mapping[str, Any]

    def times(self, scalar: Value, value: Value) -> Value:
        """``scalar * value``, a scalar and a buffer."""
        return self.b.mul(self._spread(scalar), value)

    def plus(self, value: Value, scalar: Value) -> Value:
        """``value + scalar``, a buffer and a scalar."""
        return self.b.add(value, self._spread(scalar))

    def _spread(self, scalar: Value) -> Value:
        return self.b.broadcast(self.b.cast(scalar, self.parameters.dtype), self.parameters.shape, ())

    def down(self, direction: Value, rate: Value | None = None, start: Value | None = None) -> Value:
        """``start - rate * direction``: the parameters, unless another start is given, after a step with this rate or the step's own."""
        return self.b.sub(self.parameters if start is None else start, self.times(self.rate if rate is None else rate, direction))

    def decayed(self) -> Value:
        """Gradients with L2 weight decay added."""
        decay = self.fields["weightDecay"]
        return self.b.add(self.gradients, self.b.scale(self.parameters, decay)) if decay else self.gradients

    def mean(self, name: str, value: Value, keep: float) -> Value:
        """Running mean: ``state + (1 - keep) * (value - state)``."""
        b = self.b
        return b.add(self.state[name], b.scale(b.sub(value, self.state[name]), 1 - keep))

    def mean_square(self, name: str, value: Value, keep: float) -> Value:
        """Running mean of squares: ``keep * state + (1 - keep) * value**2``, which no rounding makes negative."""
        b = self.b
        return b.add(b.scale(self.state[name], keep), b.scale(b.mul(value, value), 1 - keep))

    def root(self, square: Value) -> Value:
        """``sqrt(square) + epsilon``."""
        return self.b.shift_by(self.b.sqrt(square), self.fields["epsilon"])

    def missing(self, keep: float) -> Value:
        """``1 - keep ** step``: the weight of what a running mean has seen, a float64 scalar."""
        b = self.b
        one = b.full_like(self.step, 1.0)
        return b.sub(one, b.exp(b.scale(self.step, math.log(keep)))) if keep else one


Rule = Callable[[Update], tuple[Value, State]]


@dataclass(frozen=True)
class Optimizer:
    """Name, fields with defaults, state buffers (each as large as the parameters, zero at first) with the field that must be on for
    one to be needed, the rule, its source; fields to test it with, which between them set all."""

    name: str
    fields: Mapping[str, Any]
    buffers: Mapping[str, str | None]
    rule: Rule
    source: str
    samples: tuple[Mapping[str, Any], ...]

    def state(self, fields: Mapping[str, Any]) -> tuple[str, ...]:
        """The names of the state buffers that an optimizer with these fields has."""
        return tuple(name for name, field in self.buffers.items() if field is None or fields[field])


RANGES: dict[str, tuple[float, float]] = {
    "learningRate": (0, math.inf),
    "learningRateDecay": (0, math.inf),
    "weightDecay": (0, math.inf),
    "epsilon": (0, math.inf),
    "momentum": (0, math.inf),
    "dampening": (-math.inf, math.inf),
    "alpha": (0, 1),
    "rho": (0, 1),
    "beta1": (0, 1),
    "beta2": (0, 1),
}
"""What each number is at least, and what it is less than."""


def check_optimizer(optimizer: Description) -> None:
    """E0616 for a field that is out of range."""
    fields = optimizer.fields
    for name, value in fields.items():
        if not isinstance(value, bool):
            optimizer.number(name, *RANGES[name])
    if fields.get("nesterov") and (not fields["momentum"] or fields["dampening"]):
        raise optimizer.wrong("E0616", "optim.nesterov needs momentum, and no dampening", "nesterov")


def _sgd(u: Update) -> tuple[Value, State]:
    b, momentum, dampening = u.b, u.fields["momentum"], u.fields["dampening"]
    g = u.decayed()
    if not momentum:
        return u.down(g), {}
    added = g
    if dampening:  # the first gradient is not dampened
        first = b.compare(u.step, b.full_like(u.step, 1.0), "le")
        added = u.times(b.where(first, b.full_like(u.step, 1.0), b.full_like(u.step, 1 - dampening)), g)
    velocity = b.add(b.scale(u.state["velocity"], momentum), added)
    return u.down(b.add(g, b.scale(velocity, momentum)) if u.fields["nesterov"] else velocity), {"velocity": velocity}


def _adagrad(u: Update) -> tuple[Value, State]:
    b, g, decay = u.b, u.decayed(), u.fields["learningRateDecay"]
    total = b.add(u.state["sum"], b.mul(g, g))
    rate = b.div(b.cast(u.rate, "float64"), b.shift_by(b.scale(b.shift_by(u.step, -1), decay), 1)) if decay else None
    return u.down(b.div(g, u.root(total)), rate), {"sum": total}


def _rmsprop(u: Update) -> tuple[Value, State]:
    b, g, keep, momentum = u.b, u.decayed(), u.fields["alpha"], u.fields["momentum"]
    square = u.mean_square("square", g, keep)
    state = {"square": square}
    if u.fields["centered"]:
        mean = state["mean"] = u.mean("mean", g, keep)
        square = b.sub(square, b.mul(mean, mean))
    direction = b.div(g, u.root(square))
    if momentum:
        direction = state["velocity"] = b.add(b.scale(u.state["velocity"], momentum), direction)
    return u.down(direction), state


def _rmsprop_graves(u: Update) -> tuple[Value, State]:
    """Epsilon stands under the root and the rate inside the momentum, where ``rmsprop`` (centered, with momentum) has both outside."""
    b, g, keep = u.b, u.decayed(), u.fields["alpha"]
    square, mean = u.mean_square("square", g, keep), u.mean("mean", g, keep)
    deviation = b.sqrt(b.shift_by(b.sub(square, b.mul(mean, mean)), u.fields["epsilon"]))
    delta = u.down(b.div(g, deviation), start=b.scale(u.state["delta"], u.fields["momentum"]))
    return b.add(u.parameters, delta), {"square": square, "mean": mean, "delta": delta}


def _adadelta(u: Update) -> tuple[Value, State]:
    b, g, keep, epsilon = u.b, u.decayed(), u.fields["rho"], u.fields["epsilon"]
    square = u.mean_square("square", g, keep)
    delta = b.mul(b.div(b.sqrt(b.shift_by(u.state["delta"], epsilon)), b.sqrt(b.shift_by(square, epsilon))), g)
    return u.down(delta), {"square": square, "delta": u.mean_square("delta", delta, keep)}


def _adam_step(u: Update, g: Value, parameters: Value) -> tuple[Value, State]:
    """The more efficient form at the end of section 2 of the paper: both corrections become a factor of the rate and one of epsilon."""
    b = u.b
    mean, square = u.mean("mean", g, u.fields["beta1"]), u.mean_square("square", g, u.fields["beta2"])
    correction = b.sqrt(u.missing(u.fields["beta2"]))
    rate = b.div(b.mul(b.cast(u.rate, "float64"), correction), u.missing(u.fields["beta1"]))
    direction = b.div(mean, u.plus(b.sqrt(square), b.scale(correction, u.fields["epsilon"])))
    return u.down(direction, rate, parameters), {"mean": mean, "square": square}


def _adam(u: Update) -> tuple[Value, State]:
    return _adam_step(u, u.decayed(), u.parameters)


def _adamw(u: Update) -> tuple[Value, State]:
    kept = u.b.shift_by(u.b.scale(u.rate, -u.fields["weightDecay"]), 1)
    return _adam_step(u, u.gradients, u.times(kept, u.parameters))


ADAM = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
ADAM_SAMPLES = ({"learningRate": 0.05}, {"weightDecay": 0.1}, {"beta1": 0.5, "beta2": 0.9, "epsilon": 1e-3}, {"beta1": 0.0, "beta2": 0.0})

OPTIMIZERS: dict[str, Optimizer] = {
    o.name: o
    for o in (
        Optimizer(
            "sgd",
            {"learningRate": 1e-2, "momentum": 0.0, "dampening": 0.0, "nesterov": False, "weightDecay": 0.0},
            {"velocity": "momentum"},
            _sgd,
            "Torch optim.sgd; Nesterov as Sutskever, Martens, Dahl, Hinton (2013)",
            (
                {"learningRate": 0.05},
                {"weightDecay": 0.1},
                {"momentum": 0.9},
                {"momentum": 0.9, "dampening": 0.3, "weightDecay": 0.1},
                {"momentum": 0.9, "nesterov": True, "weightDecay": 0.1},
            ),
        ),
        Optimizer(
            "adagrad",
            {"learningRate": 1e-2, "learningRateDecay": 0.0, "epsilon": 1e-10, "weightDecay": 0.0},
            {"sum": None},
            _adagrad,
            "Duchi, Hazan, Singer (2011)",
            ({"learningRate": 0.05}, {"learningRateDecay": 0.2, "weightDecay": 0.1, "epsilon": 1e-3}),
        ),
        Optimizer(
            "rmsprop",
            {"learningRate": 1e-2, "alpha": 0.99, "epsilon": 1e-8, "momentum": 0.0, "centered": False, "weightDecay": 0.0},
            {"square": None, "mean": "centered", "velocity": "momentum"},
            _rmsprop,
            "Torch optim.rmsprop; Tieleman and Hinton (2012)",
            (
                {"learningRate": 0.05},
                {"alpha": 0.9, "epsilon": 1e-3, "weightDecay": 0.1},
                {"momentum": 0.9},
                {"centered": True},
                {"momentum": 0.9, "centered": True, "weightDecay": 0.1},
            ),
        ),
        Optimizer(
            "rmsprop_graves",
            {"learningRate": 1e-4, "alpha": 0.95, "momentum": 0.9, "epsilon": 1e-4, "weightDecay": 0.0},
            {"square": None, "mean": None, "delta": None},
            _rmsprop_graves,
            "Graves (2013), equations 38-45",
            ({"learningRate": 1e-3}, {"alpha": 0.9, "momentum": 0.5, "epsilon": 1e-3, "weightDecay": 0.1}),
        ),
        Optimizer(
            "adadelta",
            {"learningRate": 1.0, "rho": 0.9, "epsilon": 1e-6, "weightDecay": 0.0},
            {"square": None, "delta": None},
            _adadelta,
            "Zeiler (2012)",
            ({"learningRate": 0.5}, {"rho": 0.8, "epsilon": 1e-3, "weightDecay": 0.1}),
        ),
        Optimizer(
            "adam",
            {"learningRate": 1e-3, **ADAM, "weightDecay": 0.0},
            {"mean": None, "square": None},
            _adam,
            "Kingma and Ba (2014)",
            ADAM_SAMPLES,
        ),
        Optimizer(
            "adamw",
            {"learningRate": 1e-3, **ADAM, "weightDecay": 1e-2},
            {"mean": None, "square": None},
            _adamw,
            "Loshchilov and Hutter (2017)",
            (*ADAM_SAMPLES, {"weightDecay": 0.0}),
        ),
    )
}

SCHEMAS = {f"optim.{name}": Schema(o.fields) for name, o in OPTIMIZERS.items()}
