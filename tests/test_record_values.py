"""What records compute: masks, dropout, statistics, sizes that only a guard makes equal."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from gradcheck import show, source, typed, use
from graphspec.check import check
from graphspec.engine import Engine
from graphspec.errors import NOWHERE, SpecError
from graphspec.graph import connect, gmodule, new_module
from graphspec.program import Typed, backward_program, forward_program, infer, named_parameters, noise_types
from graphspec.reference import interpret
from graphspec_runtime import open_device


def run(found: Typed, training: bool, *inputs: Any, **more: Any) -> dict[str, Any]:
    program = forward_program(found, training, noise=more.pop("noise", None))
    arguments = dict(zip(found.input_names, inputs, strict=True))
    return interpret(program, {"parameters": np.zeros(0), "seed": 1, "step": 0, **arguments, **more})


def test_masked_softmax_is_exact_where_masked() -> None:
    scores, mask = source("B", "S"), source()
    found = typed([scores, mask], use("MaskedSoftMax", (), [scores, mask]))
    assert show(found.inputs) == "[B, S], [B, S]"
    x = np.array([[1.0, np.nan, np.inf], [900.0, 901.0, -900.0], [1.0, 2.0, 3.0]])
    m = np.array([[1.0, 0, 0], [1, 1, 1], [0, 0, 0]])
    with np.errstate(all="ignore"):
        y = run(found, True, x, m)["output"]
    np.testing.assert_allclose(y, np.array([[1, 0, 0], [1 / (1 + np.e), np.e / (1 + np.e), 0], [0, 0, 0]]), atol=1e-15)
    assert y[0, 1] == y[0, 2] == 0
    assert not y[2].any()


def test_masked_softmax_takes_a_bool_mask() -> None:
    scores, mask = source("B", "S"), source("B", "S", dtype="bool")
    found = typed([scores, mask], use("MaskedSoftMax", (), [scores, mask]))
    y = run(found, True, np.zeros((1, 2)), np.array([[True, False]]))["output"]
    assert y.tolist() == [[1.0, 0.0]]


def test_softmax_of_large_numbers() -> None:
    x = source("B", 3)
    found = typed([x], use("SoftMax", (), x), use("LogSoftMax", (), x), use("SoftPlus", (), x))
    p, log_p, positive = run(found, True, np.array([[1e4, 1e4, -1e4]])).values()
    np.testing.assert_allclose(p, [[0.5, 0.5, 0]])
    np.testing.assert_allclose(log_p, [[-np.log(2), -np.log(2), -2e4 - np.log(2)]])
    np.testing.assert_allclose(positive, [[1e4, 1e4, 0]])


def test_length_mask_refuses_lengths_past_the_end() -> None:
    n, x = source("B", dtype="int32"), source("B", "S")
    found = typed([n, x], use("LengthMask", ("S",), n), use("Identity", (), x))
    y = run(found, True, np.array([2, 0]), np.zeros((2, 3)))["output.1"]
    assert y.tolist() == [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    with pytest.raises(SpecError, match="index 4"):
        run(found, True, np.array([2, 4]), np.zeros((2, 3)))


def test_dropout_keeps_its_share_and_scales() -> None:
    x = source("n")
    found = typed([x], use("Dropout", (0.25,), x))
    y = run(found, True, np.ones(20000))["output"]
    assert set(np.unique(y)) == {0.0, 1 / 0.75}
    assert abs(np.mean(y > 0) - 0.75) < 0.015
    assert np.array_equal(run(found, False, np.ones(20000))["output"], np.ones(20000))
    again, later = run(found, True, np.ones(20000))["output"], run(found, True, np.ones(20000), step=1)["output"]
    assert np.array_equal(y, again)
    assert not np.array_equal(y, later)


def test_two_dropouts_draw_apart_and_floats_draw_alike() -> None:
    x = source("n")
    graph = gmodule([x], [use("Dropout", (), x), use("Dropout", (), x)], NOWHERE)
    first, second = run(infer(graph, "float64"), True, np.ones(1000)).values()
    assert not np.array_equal(first, second)
    single, _ = run(infer(graph, "float32"), True, np.ones(1000, np.float32), parameters=np.zeros(0, np.float32)).values()
    assert np.array_equal(single, first)


def test_injected_noise_is_the_mask() -> None:
    x = source("B", 3)
    node = use("Dropout", (0.5,), x)
    node.name = "drop"
    found = typed([x], node)
    types = noise_types(found, ["drop"])
    mask, given = np.array([[2.0, 0.0, 2.0]]), np.array([[1.0, 2.0, 3.0]])
    assert run(found, True, given, noise=types, **{"noise:drop": mask})["output"].tolist() == [[2.0, 0.0, 6.0]]


def test_a_cloned_scan_runs_its_own_cell() -> None:
    x, s = source("B", 3), source("B", 3)
    hidden = use("Tanh", (), use("CAddTable", (), [use("Linear", (3, 3), x), s]))
    scan = new_module("Scan", [gmodule([x, s], [hidden, use("Identity", (), hidden)], NOWHERE)], NOWHERE)
    twin = scan.clone([], NOWHERE)
    xs, s0 = source("T", "B", 3), source("B", 3)
    found = typed([xs, s0], connect(twin, [xs, s0], NOWHERE))
    report = check(found)
    assert report.ok
    assert [p.shape for p in found.module.all_parameters()] == [(3, 3), (3,)]
    assert not set(map(id, found.module.all_parameters())) & set(map(id, scan.all_parameters()))
    program = forward_program(found, True)  # fails where the original's cell is read: its parameters are not in this program
    assert program.letters == ["B", "T"]


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [("BatchNormalization", (3,), "a batch [B, 3], not one vector"),
     ("SpatialBatchNormalization", (3, 1, 2), "[B, 3, h, w], not one image"),
     ("VolumetricBatchNormalization", (3, 1, 2, 2), "[B, 3, t, h, w], not one volume")],
)  # fmt: skip
def test_batch_normalisation_without_a_batch(name: str, shape: tuple[int, ...], words: str) -> None:
    x = source(*shape)
    found = typed([x], use(name, (3,), x))
    with pytest.raises(SpecError, match=re.escape(words)) as caught:
        forward_program(found, True)
    assert caught.value.code == "E0317"
    forward_program(found, False)


def test_batch_normalisation_of_one_row_stays_finite() -> None:
    x = source("B", 2)
    found = typed([x], use("BatchNormalization", (2, None, None, False), x))
    named_parameters(found.module)
    names = [p.name for p in found.module.all_parameters(buffers=True)]
    results = run(found, True, np.ones((1, 2)), **{names[0]: np.zeros(2), names[1]: np.ones(2)})
    np.testing.assert_allclose(results[f"new {names[1]}"], 0.9)
    np.testing.assert_allclose(results[f"new {names[0]}"], 0.1)


@pytest.mark.parametrize(("name", "args", "fits"), [("Narrow", (2, 3, 4), 6), ("Select", (2, 5), 5), ("Narrow", (2, 3, -2), 3)])
@pytest.mark.parametrize("device", [None, "cpu"])
def test_nothing_is_taken_from_beyond_an_axis(name: str, args: tuple[int, ...], fits: int, device: str | None) -> None:
    x = source("B", "n")
    engine = Engine(forward_program(typed([x], use(name, args, x)), False), open_device(device) if device else None)
    rest = {"parameters": np.zeros(0, np.float64), "seed": np.array(1), "step": np.array(0)}
    engine.run({"input": np.ones((2, fits)), **rest})
    with pytest.raises(SpecError) as caught:
        engine.run({"input": np.ones((2, fits - 1)), **rest})
    assert caught.value.code == "E0311"


@pytest.mark.parametrize("device", ["numpy", "cpu"])
def test_a_glimpse_at_no_place_stays_inside_the_image(device: str) -> None:
    image, place = source("B", 1, 6, 6), source("B", 2)
    program = forward_program(typed([image, place], use("SpatialGlimpse", (3, 1), [image, place])), False)
    places = np.array([[np.nan, np.nan], [np.inf, -np.inf]])
    given = {"input.1": np.ones((2, 1, 6, 6)), "input.2": places, "parameters": np.zeros(0), "seed": np.array(1), "step": np.array(0)}
    found = Engine(program, open_device(device)).run(given)["output"]
    corner = np.array([[0, 0, 0], [0, 1, 1], [0, 1, 1]])
    np.testing.assert_array_equal(found[:, 0], [corner, corner[::-1]])


def test_sizes_equal_by_a_guard_only() -> None:
    """Two forms of one size: the program runs where they agree, and says where not."""
    a, c = source("T", "B"), source("N", 2)
    found = typed([a, c], use("CAddTable", (), [use("View", (-1,), a), use("View", (-1,), c)]))
    assert run(found, True, np.ones((3, 4)), np.ones((6, 2)))["output"].tolist() == [2.0] * 12
    with pytest.raises(SpecError) as caught:
        run(found, True, np.ones((3, 4)), np.ones((5, 2)))
    assert caught.value.code == "E0311"
    backward_program(found, True)


@pytest.mark.parametrize("factor", [None, 0.0, 0.5, 3.0, 1e9])
def test_a_reversed_gradient(factor: float | None) -> None:
    x = source("B", 3)
    found = typed([x], use("GradientReversal", () if factor is None else (factor,), x))
    given, dy = np.array([[1.0, -2.0, 0.25]]), np.array([[3.0, 1.0, -1.0]])
    assert np.array_equal(run(found, True, given)["output"], given)
    empty: dict[str, Any] = {"parameters": np.zeros(0), "gradients": np.zeros(0), "seed": 1, "step": 0}
    results = interpret(backward_program(found, True), {**empty, found.input_names[0]: given, "gradient:output": dy})
    np.testing.assert_allclose(results[f"gradient:{found.input_names[0]}"], -(1.0 if factor is None else factor) * dy)


def test_the_slopes_of_rrelu_are_drawn_between_their_bounds() -> None:
    x = source("B", 3)
    found = typed([x], use("RReLU", (0.2, 0.6), x))
    slopes = -run(found, True, np.full((2000, 3), -1.0))["output"]
    assert 0.2 <= slopes.min() < 0.201
    assert 0.599 < slopes.max() < 0.6
    assert abs(slopes.mean() - 0.4) < 0.01


def test_white_noise_has_its_mean_and_deviation() -> None:
    x = source("B", 3)
    found = typed([x], use("WhiteNoise", (0.5, 2.0), x))
    noise = run(found, True, np.zeros((4000, 3)))["output"]
    assert abs(noise.mean() - 0.5) < 0.06
    assert abs(noise.std() - 2.0) < 0.06
    assert run(found, False, np.zeros((1, 3)))["output"].tolist() == [[0.5, 0.5, 0.5]]


def test_a_clipped_number_passes_its_gradient() -> None:
    x = source("B")
    found = typed([x], use("Clip", (-1, 2), x))
    given, dy = np.array([-3.0, 0.1, 5.0]), np.array([1.0, 2.0, 3.0])
    assert run(found, True, given)["output"].tolist() == [-1.0, 0.1, 2.0]
    empty: dict[str, Any] = {"parameters": np.zeros(0), "gradients": np.zeros(0), "seed": 1, "step": 0}
    results = interpret(backward_program(found, True), {**empty, found.input_names[0]: given, "gradient:output": dy})
    assert results[f"gradient:{found.input_names[0]}"].tolist() == dy.tolist()


def test_halves_of_two_of_something() -> None:
    y = source("B", "n")
    found = typed([y], use("GatedLinearUnit", (), use("JoinTable", (2,), [y, use("MulConstant", (0,), y)])))
    assert run(found, True, np.array([[1.0, 2.0, 3.0]]))["output"].tolist() == [[0.5, 1.0, 1.5]]


def test_total_dropout_keeps_all_or_nothing() -> None:
    x = source("B", 3)
    found = typed([x], use("TotalDropout", (0.25,), x))
    steps = [run(found, True, np.ones((2, 3)), step=step)["output"] for step in range(400)]
    assert all((y == y[0, 0]).all() for y in steps)
    assert abs(np.mean([y[0, 0] for y in steps]) - 0.75) < 0.08


@pytest.mark.parametrize(("p", "rows", "columns"), [(0.3, 3, 2), (0.29, 2, 2), (0.0, 0, 0)])
def test_one_edge_is_dropped(p: float, rows: int, columns: int) -> None:
    x = source(2, 10, "W")
    found = typed([x], use("SpatialRegionDropout", (p,), x))
    top, left = np.ones((10, 7)), np.ones((10, 7))
    top[:rows], left[:, :columns] = 0, 0
    wanted = {edge.tobytes() for edge in (top, top[::-1], left, left[:, ::-1])}
    seen = set()
    for step in range(60):
        y = run(found, True, np.ones((2, 10, 7)), step=step)["output"] * (1 - p)
        assert np.array_equal(y[0], y[1])
        seen.add(np.round(y[0], 12).tobytes())
    assert seen == wanted


@pytest.mark.parametrize("args", [("Dropout", (0.25, False, False, True)), ("SpatialDropout", (0.25, True))])
def test_dropout_in_evaluation_too(args: tuple[str, tuple[Any, ...]]) -> None:
    x = source(40, 50, 2, 2)
    found = typed([x], use(*args, x))
    kept = run(found, False, np.ones((40, 50, 2, 2)))["output"]
    assert abs((kept > 0).mean() - 0.75) < 0.05
    assert np.array_equal(kept, run(found, True, np.ones((40, 50, 2, 2)))["output"])


@pytest.mark.parametrize(("name", "planes"), [("SpatialDropout", (40, 50)), ("VolumetricDropout", (40, 50))])
def test_whole_planes_are_dropped(name: str, planes: tuple[int, int]) -> None:
    shape = (*planes, 2, 2) if name == "SpatialDropout" else (*planes, 2, 1, 2)
    x = source(*shape)
    found = typed([x], use(name, (0.3,), x))
    kept = run(found, True, np.ones(shape))["output"].reshape(*planes, -1)
    assert ((kept == kept[..., :1]).all(-1)).all()
    assert abs(kept.mean() - 0.7) < 0.05
