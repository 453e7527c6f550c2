"""Optimizers: one record each, as ordinary IR on the flat parameter buffer.

Field names are Torch's (https://github.com/torch/optim/blob/master/doc/algos.md); the arithmetic is that of ``torch.optim``, to the
last bit that float64 shows.  The learning rate is an input of the compiled step, so that schedules never compile anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from graphspec.build import Schema
from graphspec.ir.builder import Builder
from graphspec.ir.core import Value

State = dict[str, Value]


@dataclass(frozen=True)
class Update:
    """What an optimizer sees: the flat parameters and gradients, its state, the rate and the number of this step (from 1) as
    float scalars, and its fields."""

    b: Builder
    parameters: Value
    gradients: Value
    state: Mapping[str, Value]
    rate: Value
    step: Value
    fields: Mapping[str, Any]

    def spread(self, scalar: Value) -> Value:
        """A scalar over the whole buffer."""
        return self.b.broadcast(scalar, self.parameters.shape, ())

    def decayed(self) -> Value:
        """Gradients with L2 weight decay added."""
        decay = self.fields.get("weightDecay", 0.0)
        return self.b.add(self.gradients, self.b.scale(self.parameters, decay)) if decay else self.gradients

    def average(self, name: str, value: Value, keep: float) -> Value:
        """``keep * state + (1 - keep) * value``."""
        return self.b.add(self.b.scale(self.state[name], keep), self.b.scale(value, 1 - keep))

    def power(self, base: float) -> Value:
        """``base ** step``, a scalar."""
        b = self.b
        return b.exp(b.mul(b.log(b.full(base)), self.step))


Rule = Callable[[Update], tuple[Value, State]]


@dataclass(frozen=True)
class Optimizer:
    """Name, fields with defaults, the names of its state buffers (each as large as the parameters, zero at first), the rule, its source."""

    name: str
    fields: Mapping[str, Any]
    state: tuple[str, ...]
    rule: Rule
    source: str


def _sgd(u: Update) -> tuple[Value, State]:
    b, momentum = u.b, u.fields["momentum"]
    g = u.decayed()
    if not momentum:
        return b.sub(u.parameters, b.mul(u.spread(u.rate), g)), {"velocity": u.state["velocity"]}
    first = b.compare(u.step, b.full(1.0), "le")
    damped = b.add(b.scale(u.state["velocity"], momentum), b.scale(g, 1 - u.fields["dampening"]))
    velocity = b.where(u.spread(first), g, damped)
    direction = b.add(g, b.scale(velocity, momentum)) if u.fields["nesterov"] else velocity
    return b.sub(u.parameters, b.mul(u.spread(u.rate), direction)), {"velocity": velocity}


def _adagrad(u: Update) -> tuple[Value, State]:
    b, g = u.b, u.decayed()
    total = b.add(u.state["sum"], b.mul(g, g))
    return b.sub(u.parameters, b.mul(u.spread(u.rate), b.div(g, b.shift_by(b.sqrt(total), u.fields["epsilon"])))), {"sum": total}


def _rmsprop(u: Update) -> tuple[Value, State]:
    b, g = u.b, u.decayed()
    square = u.average("square", b.mul(g, g), u.fields["alpha"])
    return b.sub(u.parameters, b.mul(u.spread(u.rate), b.div(g, b.shift_by(b.sqrt(square), u.fields["epsilon"])))), {"square": square}


def _rmsprop_graves(u: Update) -> tuple[Value, State]:
    b, g, keep = u.b, u.decayed(), u.fields["alpha"]
    square, mean = u.average("square", b.mul(g, g), keep), u.average("mean", g, keep)
    spread = b.sqrt(b.shift_by(b.sub(square, b.mul(mean, mean)), u.fields["epsilon"]))
    delta = b.sub(b.scale(u.state["delta"], u.fields["momentum"]), b.mul(u.spread(u.rate), b.div(g, spread)))
    return b.add(u.parameters, delta), {"square": square, "mean": mean, "delta": delta}


def _adadelta(u: Update) -> tuple[Value, State]:
    b, g, keep, eps = u.b, u.decayed(), u.fields["rho"], u.fields["epsilon"]
    square = u.average("square", b.mul(g, g), keep)
    delta = b.mul(b.div(b.sqrt(b.shift_by(u.state["delta"], eps)), b.sqrt(b.shift_by(square, eps))), g)
    return b.sub(u.parameters, b.mul(u.spread(u.rate), delta)), {"square": square, "delta": u.average("delta", b.mul(delta, delta), keep)}


def _adam_step(u: Update, g: Value, parameters: Value) -> tuple[Value, State]:
    b, beta1, beta2 = u.b, u.fields["beta1"], u.fields["beta2"]
    mean, square = u.average("mean", g, beta1), u.average("square", b.mul(g, g), beta2)
    one = b.full(1.0)
    rate = b.div(u.rate, b.sub(one, u.power(beta1)))
    root = b.sqrt(b.sub(one, u.power(beta2)))
    scale = b.shift_by(b.div(b.sqrt(square), u.spread(root)), u.fields["epsilon"])
    return b.sub(parameters, b.mul(u.spread(rate), b.div(mean, scale))), {"mean": mean, "square": square}


def _adam(u: Update) -> tuple[Value, State]:
    return _adam_step(u, u.decayed(), u.parameters)


def _adamw(u: Update) -> tuple[Value, State]:
    b = u.b
    shrunk = b.sub(u.parameters, b.mul(u.spread(b.scale(u.rate, u.fields["weightDecay"])), u.parameters))
    return _adam_step(u, u.gradients, shrunk)


PAPERS = {
    "adagrad": "Duchi, Hazan, Singer (2011)",
    "adadelta": "Zeiler (2012)",
    "adam": "Kingma and Ba (2014)",
    "adamw": "Loshchilov and Hutter (2017)",
    "graves": "Graves (2013), equations 38-45",
}

OPTIMIZERS: dict[str, Optimizer] = {
    o.name: o
    for o in (
        Optimizer(
            "sgd",
            {"learningRate": 1e-2, "momentum": 0.0, "dampening": 0.0, "nesterov": False, "weightDecay": 0.0},
            ("velocity",),
            _sgd,
            "Torch optim.sgd",
        ),
        Optimizer("adagrad", {"learningRate": 1e-2, "epsilon": 1e-10, "weightDecay": 0.0}, ("sum",), _adagrad, PAPERS["adagrad"]),
        Optimizer(
            "rmsprop",
            {"learningRate": 1e-2, "alpha": 0.99, "epsilon": 1e-8, "weightDecay": 0.0},
            ("square",),
            _rmsprop,
            "Torch optim.rmsprop",
        ),
        Optimizer(
            "rmsprop_graves",
            {"learningRate": 1e-4, "alpha": 0.95, "momentum": 0.9, "epsilon": 1e-4, "weightDecay": 0.0},
            ("square", "mean", "delta"),
            _rmsprop_graves,
            PAPERS["graves"],
        ),
        Optimizer(
            "adadelta",
            {"learningRate": 1.0, "rho": 0.9, "epsilon": 1e-6, "weightDecay": 0.0},
            ("square", "delta"),
            _adadelta,
            PAPERS["adadelta"],
        ),
        Optimizer(
            "adam",
            {"learningRate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weightDecay": 0.0},
            ("mean", "square"),
            _adam,
            PAPERS["adam"],
        ),
        Optimizer(
            "adamw",
            {"learningRate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weightDecay": 1e-2},
            ("mean", "square"),
            _adamw,
            PAPERS["adamw"],
        ),
    )
}

SCHEMAS = {f"optim.{name}": Schema(o.fields) for name, o in OPTIMIZERS.items()}
