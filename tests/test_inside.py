"""What is inside a module: what its parameters are called, and what happens when it is set to another."""

from __future__ import annotations

import re

import numpy as np
import pytest

import graphspec
from graphspec import SpecError
from graphspec.errors import NOWHERE
from graphspec.graph import REGISTRY, Make
from graphspec.graph.names import name_parameters
from graphspec.program import infer
from graphspec.samples import graph_of, made, module_of

X = "local x = nn.Identity{'T', 'B', 3}()\n"


def names(body: str) -> list[str]:
    """Of the parameters of ``return`` of that expression, after its statements, on x."""
    *before, last = body.split("\n")
    return list(graphspec.compile(X + "\n".join(before) + f"\nreturn nn.gModule({{x}}, {{({last})(x)}})").parameters)


NAMED = {
    "a recurrent module by its local": ("local lstm = nn.FastLSTM(3, 2)\nnn.Sequencer(lstm)",
                                        ["lstm.i2g.weight", "lstm.i2g.bias", "lstm.o2g.weight"]),
    "or by its kind, in what holds it": ("nn.Sequencer(nn.FastLSTM(3, 2))",
                                         [f"Sequencer.FastLSTM.{p}" for p in ("i2g.weight", "i2g.bias", "o2g.weight")]),
    "the module is numbered, not what is in it": (
        "nn.Sequencer(nn.Sequential():add(nn.Recurrent(2, nn.Linear(3, 2), nn.CMul(2))):add(nn.Recurrent(2, nn.CMul(2), nn.CMul(2))))",
        ["Sequencer.Sequential.Recurrent[1].input.weight", "Sequencer.Sequential.Recurrent[1].input.bias",
         "Sequencer.Sequential.Recurrent[1].feedback.weight", "Sequencer.Sequential.Recurrent[1].start.bias",
         "Sequencer.Sequential.Recurrent[2].input.weight", "Sequencer.Sequential.Recurrent[2].feedback.weight",
         "Sequencer.Sequential.Recurrent[2].start.bias"],
    ),
    "both directions": ("local tagger = nn.BiSequencer(nn.Linear(3, 2))\ntagger",
                        ["tagger.forward.weight", "tagger.forward.bias", "tagger.backward.weight", "tagger.backward.bias"]),
    "of whole sequences": ("nn.SeqBRNN(3, 2)", ["SeqBRNN.forwardModule.weight", "SeqBRNN.forwardModule.bias",
                                                "SeqBRNN.backwardModule.weight", "SeqBRNN.backwardModule.bias"]),
    "a container's are counted together, as ever": (
        "nn.Sequential():add(nn.Sequential():add(nn.CMul(3))):add(nn.Sequential():add(nn.CMul(3)))",
        ["Sequential.Sequential.CMul[1].weight", "Sequential.Sequential.CMul[2].weight"],
    ),
    "what has a name of its own needs no more": ("local inner = nn.CMul(3)\nlocal around = nn.Bottle(inner)\naround", ["inner.weight"]),
    "decorators": ("nn.Bottle(nn.Bottle(nn.CMul(3)))", ["Bottle.Bottle.CMul.weight"]),
    "by the call that made it": ("local function layer() return nn.Bottle(nn.CMul(3)) end\nnn.Sequential():add(layer()):add(layer())",
                                 ["layer[1].Sequential.Bottle.CMul.weight", "layer[2].Sequential.Bottle.CMul.weight"]),
    "a cell of a scan is the user's own": (
        "local a, h = nn.Identity()(), nn.Identity{'B', 3}()\nlocal y = nn.CAddTable()({nn.CMul(3)(a), h})\n"
        "nn.Sequential():add(nn.Scan(nn.gModule({a, h}, {y, nn.Identity()(y)}))):add(nn.SelectTable(1))", ["CMul.weight"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMED)
def test_parameters_are_called_by_where_they_stand(case: str) -> None:
    body, wanted = NAMED[case]
    assert names(body) == wanted


HOLDERS = [
    (name, argument.name) for name, record in sorted(REGISTRY.items())
    for argument in record.arguments if argument.kind == "module" and record.samples
]  # fmt: skip


@pytest.mark.parametrize(("name", "field"), HOLDERS)
def test_a_module_that_is_set_is_the_one_that_is_inside(name: str, field: str) -> None:
    """With the same thing made again in its place, a model is what it was: typed alike, with as many parameters, none of them old."""
    record = REGISTRY[name]
    place = [argument.name for argument in record.arguments].index(field)
    for sample in record.samples:
        given = sample.args[place] if place < len(sample.args) else None
        if not isinstance(given, Make):
            continue
        module, other = module_of(record, sample), made(given)
        before = graph_of(module, sample.inputs)
        typed = infer(before)
        shapes, old = sorted(p.shape for p in module.all_parameters()), set(map(id, module.all_parameters()))
        record.set(module, field, other, NOWHERE)
        for method, args in sample.methods:
            record.call(module, method, list(args), NOWHERE)
        again = infer(graph_of(module, sample.inputs))
        assert (again.inputs, again.outputs) == (typed.inputs, typed.outputs)
        assert sorted(p.shape for p in module.all_parameters()) == shapes
        fresh = {id(p) for p in other.all_parameters()}
        assert not fresh or fresh & {id(p) for p in module.all_parameters()} or name == "WeightNorm"
        assert len(old & {id(p) for p in module.all_parameters()}) < len(old) or not fresh
        name_parameters([module])


SET = [
    ("nn.Sequencer(nn.Tanh())", "module", 2),
    ("nn.Bottle(nn.Tanh())", "module", 2),
    ("nn.Recursor(nn.Tanh())", "module", 2),
    ("nn.MaskZero(nn.Tanh(), 2)", "module", 2),
    ("nn.BiSequencer(nn.Tanh(), nn.MulConstant(5), nn.CAddTable())", "forward", 7),
    ("nn.BiSequencer(nn.MulConstant(5), nn.Tanh(), nn.CAddTable())", "backward", 7),
    ("nn.Sequencer(nn.Recurrence(nn.SelectTable(1), 3, 1))", "modules[1].recurrentModule", 2),
]  # fmt: skip


@pytest.mark.parametrize(("around", "field", "factor"), SET)
def test_a_module_set_in_a_spec_is_what_runs(around: str, field: str, factor: int) -> None:
    double = "nn.Sequential():add(nn.SelectTable(1)):add(nn.MulConstant(2))" if "recurrent" in field else "nn.MulConstant(2)"
    model = graphspec.compile(f"{X}local m = {around}\nm.{field} = {double}\nreturn nn.gModule({{x}}, {{m(x)}})")
    x = np.random.default_rng(1).normal(size=(2, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(model(x), factor * x, rtol=1e-6)


@pytest.mark.parametrize("other", ["b", "nn.Sequencer(b)"])
def test_a_module_cannot_be_set_into_itself(other: str) -> None:
    with pytest.raises(SpecError, match="cannot contain itself") as caught:
        graphspec.compile(f"{X}local b = nn.Bottle(nn.Tanh())\nb.module = {other}\nreturn nn.gModule({{x}}, {{b(x)}})")
    assert caught.value.code == "E0424"
    assert re.search(r":3:\d+", str(caught.value))
