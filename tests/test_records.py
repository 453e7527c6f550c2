"""Every record, proved by its own samples: finite differences, the PyTorch twin, strided and tied use."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from gradcheck import on_device
from graphspec.check import Array, compare
from graphspec.graph import REGISTRY, Record, Sample
from graphspec.graph.record import register
from graphspec.ir.verify import verify
from graphspec.lower import Lowering
from graphspec.nn import registry
from graphspec.nn.common import Pointwise
from graphspec.prove import twin_errors
from graphspec.samples import Case, module_of
from twins import TWINS

ELSEWHERE = {"gModule": "tests of the graph", "Scan": "tests/test_scan.py",
             **dict.fromkeys(("SpatialMaxUnpooling", "VolumetricMaxUnpooling"), "tests/test_unpooling.py")}
"""Records that take a graph apart or run one: they have test files of their own."""

RECORDS = [record for name, record in sorted(registry.items()) if name not in ELSEWHERE]
SAMPLES = [(r, s, i) for r in RECORDS for i, s in enumerate(r.samples)]


def params(chosen: list[tuple[Record, Sample, int]]) -> list[Any]:
    return [pytest.param(r, s, id=f"{r.name}-{i}") for r, s, i in chosen]


INTEGERS = {"ArgMax", "Constant", "LengthMask", "OneHot", "ZeroGrad"}
"""Records through which nothing flows back."""

OPEN = {("SplitTable", i) for i in range(4)} | {("View", 3), ("Reshape", 5)}
"""Samples that need their sizes as numbers: how many pieces there are; what is left of a product; whether all elements are taken."""
OPEN |= {("Add", 2), ("CAdd", 7), ("CAdd", 8), ("CMul", 7), ("CMul", 8)}  # whether the elements are as many
OPEN |= {("Squeeze", i) for i in (0, 2, 3, 4)}  # which sizes are 1
CONVOLUTIONS = "Spatial SpatialDepthWise SpatialDilated Temporal TemporalRow Volumetric"
OPEN |= {("SpatialConvolutionMM", 1), *((f"{name}Convolution", 1) for name in CONVOLUTIONS.split())}  # windows that move by more than 1
POOLINGS = {
    "SpatialAdaptiveAverage": (0, 2), "SpatialAdaptiveMax": (0, 2), "SpatialAverage": (1, 2, 3, 4), "SpatialLP": (0, 2),
    "SpatialMax": (0, 1, 3), "TemporalMax": (0,), "VolumetricAverage": (0, 1), "VolumetricMax": (0, 2),
    "VolumetricDilatedMax": (1,),
}  # fmt: skip
OPEN |= {(f"{name}Pooling", i) for name, samples in POOLINGS.items() for i in samples}
OPEN |= {("SpatialSubSampling", 1), ("TemporalSubSampling", 1), ("FeatureLPPooling", 1), ("FeatureLPPooling", 5)}
OPEN |= {("TemporalDynamicKMaxPooling", 1), ("TemporalDynamicKMaxPooling", 3)}  # how many are a share of the frames
OPEN |= {("SpatialFractionalMaxPooling", 1), ("VolumetricFractionalMaxPooling", 1)}
OPEN |= {("Inception", 2), ("BinaryLogisticRegression", 3)}
OPEN |= {("ExpandAs", i) for i in range(4)}  # what is repeated
OPEN |= {("GatedLinearUnit", i) for i in range(4)}  # whether there are halves
OPEN |= {("SpatialAutoCropMSECriterion", 0), ("SpatialAutoCropMSECriterion", 1)}  # how much is left out


HIDING: set[Any] = {"ArgMax", "BinaryClassReward", "Constant", "Kmeans", "NarrowTable", "ReinforceBernoulli", "ReinforceCategorical",
                    "SelectTable", "VRClassReward"}
"""Records whose output is a choice or a constant: of a first input that is NaN they may hand on nothing."""
HIDING |= {("MaskedLoss", 2), ("Power", 5)}  # all rows are left out; x ** 0
HIDING |= {("SparseLinear", i) for i in range(3)}  # an index that is NaN is refused


def without_samples(records: list[Record]) -> list[str]:
    return [r.name for r in records if not r.samples]


def test_every_record_has_samples_and_a_twin() -> None:
    assert without_samples(RECORDS) == []
    assert [r.name for r in RECORDS if r.name not in TWINS] == []
    assert [r.name for r in RECORDS if not r.doc or not r.source] == []


def test_a_record_without_samples_is_seen() -> None:
    class Unproved(Pointwise):
        name = "Unproved"

    assert without_samples([Unproved()]) == ["Unproved"]


@pytest.mark.parametrize(("record", "sample"), params(SAMPLES))
def test_finite_differences(record: Record, sample: Sample) -> None:
    case = Case(record, sample)
    for program in (case.probe.forward_program, case.probe.backward_program):
        verify(program)
    report = compare(case.probe.forward, case.probe.backward, case.point, case.parameter_names)
    assert report.ok, report.to_json()
    assert len(report.entries) == len(case.point)


@pytest.mark.parametrize(("record", "sample"), params([p for p in SAMPLES if (p[0].name, p[2]) not in OPEN]))
def test_symbolic_sizes(record: Record, sample: Sample) -> None:
    """With a letter for each size of each input the same numbers come out as with the numbers themselves."""
    fixed, open_ = Case(record, sample), Case(record, sample, letters=True)
    cotangents: list[Array] = [np.asarray(fixed.rng.standard_normal(y.shape)) for y in fixed.probe.forward(fixed.point)]
    for a, b in zip(fixed.probe.forward(fixed.point), open_.probe.forward(open_.point), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-13)
    found = open_.probe.backward(open_.point, cotangents)
    for name, gradient in fixed.probe.backward(fixed.point, cotangents).items():
        np.testing.assert_allclose(gradient, found[name], rtol=1e-13, atol=1e-13)


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed: no twins to compare with")
@pytest.mark.parametrize(("record", "sample"), params(SAMPLES))
def test_twin(record: Record, sample: Sample) -> None:
    wrong = {name: error for name, error in twin_errors(Case(record, sample), TWINS[record.name]).items() if not error < 1e-10}
    assert wrong == {}


@pytest.mark.parametrize("letters", [False, True], ids=["numbers", "letters"])
@pytest.mark.parametrize(("record", "sample"), params([p for p in SAMPLES if (p[0].name, p[2]) not in OPEN]))
def test_device_agrees_with_the_reference(record: Record, sample: Sample, letters: bool) -> None:
    """Passes, Plan and the numpy device give what interpreting the unoptimised IR gives, from strided inputs too."""
    wanted, found = Case(record, sample, letters=letters), Case(record, sample, on_device("numpy"), letters=letters)
    for point in (found.point, {name: strided(value) for name, value in found.point.items()}):
        cotangents: list[Array] = [np.asarray(wanted.rng.standard_normal(y.shape)) for y in wanted.probe.forward(wanted.point)]
        theirs, ours = wanted.probe.results(wanted.point), found.probe.results(point)
        assert theirs.keys() == ours.keys()
        for name, value in theirs.items():
            np.testing.assert_allclose(ours[name], value, rtol=1e-12, atol=1e-14, err_msg=name)
        gradients = found.probe.backward(point, cotangents)
        for name, value in wanted.probe.backward(wanted.point, cotangents).items():
            np.testing.assert_allclose(gradients[name], value, rtol=1e-12, atol=1e-14, err_msg=name)


def strided(array: Array) -> Array:
    """The same values with gaps between them, axes in reverse order in memory."""
    room = np.zeros([2 * n for n in reversed(array.shape)], array.dtype).transpose()
    view = room[(..., *(slice(None, None, 2) for _ in array.shape))]
    view[...] = array
    return view


@pytest.mark.parametrize(("record", "sample"), params(SAMPLES))
def test_strided_inputs_unchanged(record: Record, sample: Sample) -> None:
    case = Case(record, sample)
    point = {name: strided(value) if name not in case.parameter_names else value for name, value in case.point.items()}
    before = {name: value.copy() for name, value in point.items()}
    plain, odd = case.probe.forward(case.point), case.probe.forward(point)
    cotangents: list[Array] = [np.asarray(case.rng.standard_normal(y.shape)) for y in plain]
    for a, b in zip(plain, odd, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)
    wanted, found = case.probe.backward(case.point, cotangents), case.probe.backward(point, cotangents)
    for name, gradient in wanted.items():
        np.testing.assert_allclose(gradient, found[name], rtol=1e-12, atol=1e-12)
    for name, value in before.items():
        np.testing.assert_array_equal(point[name], value)


@pytest.mark.parametrize(("record", "sample"), params([p for p in SAMPLES if p[0].kind != "criterion"]))
def test_tied_use(record: Record, sample: Sample) -> None:
    """One module object used twice: its parameters get both gradients (running statistics move twice)."""
    case = Case(record, sample, uses=2)
    once = module_of(record, sample)
    assert len(case.probe.parameters) == len(once.all_parameters())
    report = compare(case.probe.forward, case.probe.backward, case.point, case.parameter_names)
    assert report.ok, report.to_json()


@pytest.mark.parametrize(("record", "sample"), params([(r, s, i) for r, s, i in SAMPLES if not {r.name, (r.name, i)} & HIDING]))
def test_nan_is_handed_on(record: Record, sample: Sample) -> None:
    """A number that is none must reach the loss: there a run finds out that it has gone astray."""
    case = Case(record, sample)
    first = case.typed.input_names[0]
    if first not in case.probe.float_inputs:
        return
    with np.errstate(all="ignore"):
        found = case.probe.results({**case.point, first: np.full_like(case.point[first], np.nan)})
    assert any(np.isnan(found[name]).any() for name in case.probe.outputs)


def planted(case: Case, scale: float) -> Any:
    """The case's backward function with every gradient scaled."""

    def backward(point: Mapping[str, Array], cotangents: Any) -> dict[str, Array]:
        return {name: g * scale for name, g in case.probe.backward(point, cotangents).items()}

    return backward


@pytest.mark.parametrize(("record", "sample"), params([p for p in SAMPLES if p[2] == 0 and p[0].name not in INTEGERS]))
def test_a_planted_wrong_gradient_is_seen(record: Record, sample: Sample) -> None:
    case = Case(record, sample)
    assert not compare(case.probe.forward, planted(case, 1 + 1e-5), case.point).ok


def test_a_wrong_rule_is_seen() -> None:
    """A module whose backward is not that of its forward."""

    @register
    class Wrong(Pointwise):
        name = "WrongOnPurpose"
        samples = (Sample((), (2, 3)),)

        def apply(self, b: Lowering, m: Any, x: Any) -> Any:
            return b.mul(x, b.stop_gradient(x))

    try:
        case = Case(REGISTRY["WrongOnPurpose"], Wrong.samples[0])
        report = compare(case.probe.forward, case.probe.backward, case.point)
        assert not report.ok
        assert report.max_relative_error > 0.1
    finally:
        del REGISTRY["WrongOnPurpose"]
