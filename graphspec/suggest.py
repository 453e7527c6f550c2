"""Did-you-mean."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_LENGTH = 80
"""Of names that are compared: what is longer was not mistyped."""

ELSEWHERE = {
    # fields of data, optimizers and experiments
    "lr": "learningRate", "wd": "weightDecay", "eps": "epsilon", "batchsize": "batch", "bs": "batch", "bptt": "seq_len",
    "seqlength": "seq_len", "sequencelength": "seq_len", "nepochs": "epochs", "numepochs": "epochs", "maxepochs": "epochs",
    "epoch": "epochs", "gradclip": "clip_norm", "clipgrad": "clip_norm", "clipgradnorm": "clip_norm", "maxgradnorm": "clip_norm",
    "clipnorm": "clip_norm", "gradientaccumulationsteps": "accumulate", "warmup": "schedule_warmup", "warmupsteps": "schedule_warmup",
    "earlystopping": "patience", "hiddensize": "rnn_size", "numlayers": "n_layers",
    # commands, devices, types of numbers
    "train": "run", "fit": "run", "evaluate": "eval", "test": "eval", "generate": "sample", "infer": "predict", "convert": "weights",
    "summary": "compile", "format": "fmt", "gpu": "cuda", "double": "float64", "float": "float32", "float16": "float32", "fp32": "float32",
    "bfloat16": "bf16",
}  # fmt: skip
"""What PyTorch, Keras and their scripts call what has another name here, in the form of :func:`_plain`."""
GROUPS = ("", "data", "optim", "experiment")
"""What fields belong to: one is taken for another, or left out."""


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that means the same, else the one most like ``name``, if any is like it (case aside)."""
    if len(name) > MAX_LENGTH:
        return None
    names = [n for n in known if len(n) <= MAX_LENGTH]
    if (meant := same(name, names)) is not None:
        return meant
    lowered = {n.lower(): n for n in names}
    match = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    return lowered[match[0]] if match else None


def same(name: str, known: Iterable[str]) -> str | None:
    """The known name of the same meaning: written otherwise, of another group of fields, or as others call it."""
    group, _, last = name.rpartition(".")
    meant = {_plain(last), _plain(ELSEWHERE.get(_plain(last), ""))} - {""}
    found = [n for n in known if _plain(n.rpartition(".")[2]) in meant]
    mine = [n for n in found if n.rpartition(".")[0] == group]
    return next(iter(mine or [n for n in found if {group, n.rpartition(".")[0]} <= {*GROUPS}]), None)


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def one_of(name: str, known: Iterable[str]) -> list[str]:
    """A help line naming the closest known name, or, where none is like it, all of them."""
    names = list(known)
    return did_you_mean(name, names) or ([f"there are {', '.join(names)}"] if names else [])


def did_you_mean(name: str, known: Iterable[str], form: str = "{}") -> list[str]:
    """A help line naming the closest known name, or none."""
    match = closest(name, known)
    return [f"did you mean `{form.format(match)}`?"] if match else []


ATTRIBUTES = {
    "Model": {
        "eval": "evaluate()", "train": "training()", "zero_grad": "zero_gradients()", "zeroGradParameters": "zero_gradients()",
        "state_dict": "{**parameters, **buffers}", "load_state_dict": "parameters.update(arrays)", "getParameters": "flat_parameters",
        "named_parameters": "parameters.items()", "named_buffers": "buffers.items()",
        "to": "graphspec.compile(spec, device=..., dtype=...)", "cuda": "graphspec.compile(spec, device='cuda')",
        "cpu": "graphspec.compile(spec, device='cpu')", "double": "graphspec.compile(spec, dtype='float64')",
        "updateOutput": "forward(inputs)", "updateGradInput": "backward(inputs, output_gradients)",
    },
    "Experiment": {
        "fit": "train_step()", "train": "train_step()", "step": "train_step()", "eval": "evaluate()", "lr": "learning_rate",
        "state_dict": "{**parameters, **buffers}", "load_state_dict": "parameters.update(arrays)",
        "named_parameters": "parameters.items()", "named_buffers": "buffers.items()",
    },
}  # fmt: skip
"""By class, what PyTorch, Torch and Keras call what has another name here."""


def no_attribute(of: object, kind: str, name: str) -> AttributeError:
    """For a Model or an Experiment without such an attribute; it says what that is called here."""
    here = ATTRIBUTES[kind].get(name)
    article = "an" if kind[0] in "AEIOU" else "a"
    return AttributeError(f"{article} {kind} has no attribute {name!r}" + (f"; here it is `{here}`" if here else ""), name=name, obj=of)
