"""Max unpoolings: they read where another module found its maxima."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

import graphspec
from gradcheck import on_device
from graphspec import SpecError
from graphspec.check import Array, Probe, compare
from graphspec.program import infer

MODELS = {
    "batch": ("{2, 2, 4, 6}", "nn.SpatialMaxPooling(2, 3)"),
    "one image": ("{2, 4, 4}", "nn.SpatialMaxPooling(2, 2)"),
    "columns left over": ("{1, 2, 5, 7}", "nn.SpatialMaxPooling(2, 3)"),
    "padding": ("{1, 2, 4, 4}", "nn.SpatialMaxPooling(2, 2, 2, 2, 1, 1)"),
    "rounded up": ("{1, 1, 5, 3}", "nn.SpatialMaxPooling(2, 2):ceil()"),
    "volumes": ("{1, 2, 4, 3, 5}", "nn.VolumetricMaxPooling(2, 1, 2)"),
    "one volume": ("{2, 2, 4, 4}", "nn.VolumetricMaxPooling(2, 2, 2)"),
    "volumes padded": ("{1, 1, 2, 3, 4}", "nn.VolumetricMaxPooling(2, 2, 3, 2, 2, 3, 1, 0, 1)"),
    "volumes rounded up": ("{1, 1, 3, 3, 2}", "nn.VolumetricMaxPooling(2, 2, 2):ceil()"),
}
SPEC = """
local x = nn.Identity{types}()
local pool = {pooling}
local h = pool(x)
return nn.gModule({{x}}, {{h, nn.{kind}MaxUnpooling(pool)(nn.Square()(h))}})
"""


def written(case: str) -> tuple[str, tuple[int, ...]]:
    """The spec of a case, and the shape of an input."""
    types, pooling = MODELS[case]
    shape = tuple(map(int, types.strip("{}").split(",")))
    return SPEC.format(types=types, pooling=pooling, kind="Volumetric" if "Volumetric" in pooling else "Spatial"), shape


def distinct(shape: tuple[int, ...]) -> Array:
    """Numbers no two of which are near each other."""
    n = math.prod(shape)
    return np.random.default_rng(5).permutation(n).reshape(shape) / 10 - n / 20


def probe(text: str, *inputs: Array, run: Any = None) -> Probe:
    found = infer(graphspec.compile(text, dtype="float64").module, "float64")
    return Probe(found, inputs, run) if run is not None else Probe(found, inputs)


@pytest.mark.parametrize("case", MODELS)
def test_gradients_and_devices(case: str) -> None:
    text, shape = written(case)
    x = distinct(shape)
    plain, numpy = probe(text, x), probe(text, x, run=on_device("numpy"))
    point = plain.point({})
    assert compare(plain.forward, plain.backward, point).ok
    wanted, found = plain.forward(point), numpy.forward(point)
    cotangents = [np.asarray(np.random.default_rng(1).standard_normal(y.shape)) for y in wanted]
    for a, b in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(a, b)
    theirs, ours = (p.backward(point, cotangents) for p in (plain, numpy))
    np.testing.assert_allclose(ours["input"], theirs["input"], rtol=1e-13)


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed: no twin to compare with")
@pytest.mark.parametrize("case", MODELS)
def test_twin(case: str) -> None:
    import torch
    import torch.nn.functional as F

    text, shape = written(case)
    x = torch.tensor(distinct(shape), requires_grad=True)
    axes = "THW" if "Volumetric" in text else "HW"
    args = next(n for n in infer(graphspec.compile(text, dtype="float64").module).module.nodes if "Pooling" in str(n.module)).module.args
    given = {name: [getattr(args, stem + axis) for axis in axes] for name, stem in (("kernel_size", "k"), ("padding", "pad"))}
    pool, unpool = (F.max_pool3d, F.max_unpool3d) if len(axes) == 3 else (F.max_pool2d, F.max_unpool2d)
    batch = x if x.dim() == len(axes) + 2 else x[None]
    h, places = pool(batch, **given, ceil_mode=args.ceil_mode, return_indices=True)
    back = unpool(h.square(), places, **given, output_size=batch.shape)
    h, back = (y.reshape(*shape[: -len(axes)], *y.shape[-len(axes) :]) for y in (h, back))
    model = graphspec.compile(text, dtype="float64")
    outs = model(x.detach().numpy())
    cotangents = [torch.randn(y.shape, dtype=torch.float64) for y in (h, back)]
    for ours, theirs in zip(outs, (h, back), strict=True):
        np.testing.assert_array_equal(ours, theirs.detach().numpy())
    (gradient,) = torch.autograd.grad((h, back), x, cotangents)
    np.testing.assert_allclose(model.backward(x.detach().numpy(), tuple(c.numpy() for c in cotangents)), gradient.numpy(), rtol=1e-12)


def test_sizes_that_are_letters() -> None:
    text = """
    local x = nn.Identity{'B', 'n', 'h', 'w'}()
    local high = nn.JoinTable(3)({x, nn.MulConstant(1.7)(x)})
    local pool = nn.SpatialMaxPooling(1, 2)
    return nn.gModule({x}, {nn.SpatialMaxUnpooling(pool)(pool(high)), high})
    """
    x = distinct((2, 1, 2, 3))
    y, high = graphspec.compile(text, dtype="float64")(x)
    rows = high.reshape(2, 1, 2, 2, 3)
    np.testing.assert_array_equal(y, np.where(rows == rows.max(3, keepdims=True), rows, 0).reshape(high.shape))
    found = probe(text, x)
    assert compare(found.forward, found.backward, found.point({})).ok


AUTOENCODER = """
local first = nn.Identity{'B', 1, 4, 6}
local pool = nn.SpatialMaxPooling(2, 2)
local encoder = nn.Sequential():add(first):add(nn.SpatialConvolution(1, 3, 3, 3, 1, 1, 1, 1)):add(pool)
local decoder = nn.Sequential():add(nn.Sequential():add(nn.SpatialMaxUnpooling(pool))):add(nn.SpatialConvolution(3, 1, 3, 3, 1, 1, 1, 1))
"""


@pytest.mark.parametrize(
    "ending",
    [
        "return nn.Sequential():add(encoder):add(decoder)",
        "local x = nn.Identity{'B', 1, 4, 6}()\nreturn nn.gModule({x}, {decoder(encoder(x))})",
        "local both = nn.Sequential():add(encoder):add(decoder):clone()\nreturn both",
        "local x = nn.Identity()()\nlocal y = decoder(encoder(x))\nreturn nn.gModule({x}, {nn.SpatialConvolution(1, 2, 1, 1)(y)}):clone()",
    ],
)
def test_encoder_and_decoder(ending: str) -> None:
    """The pooling stands in another container; in a copy of both it is the copy of the pooling that is read."""
    model = graphspec.compile(AUTOENCODER + ending, dtype="float64")
    x = distinct((2, 1, 4, 6))
    assert np.asarray(model(x)).shape[2:] == (4, 6)
    found = Probe(infer(model.module, "float64", 4), [x])
    point = found.point(found.draw_parameters(np.random.default_rng(0), 0.5))
    assert compare(found.forward, found.backward, point).ok


def test_the_last_use_before_is_read() -> None:
    text = """
    local a, b = nn.Identity{1, 1, 2, 2}(), nn.Identity{1, 1, 4, 4}()
    local pool = nn.SpatialMaxPooling(2, 2)
    local deep = nn.Sequential():add(nn.Sequential():add(pool))
    local first, unpool = pool(a), nn.SpatialMaxUnpooling(pool)
    local back = unpool(first)
    local second = deep(nn.Sequential():add(nn.Identity())(b))
    return nn.gModule({a, b}, {back, unpool(second)})
    """
    a, b = distinct((1, 1, 2, 2)), distinct((1, 1, 4, 4))
    for x, y in zip((a, b), graphspec.compile(text, dtype="float64")(a, b), strict=True):
        assert y.shape == x.shape
        assert np.count_nonzero(y) == x.size // 4 and np.array_equal(y[y != 0], x[y != 0]) and y.max() == x.max()


def test_inside_a_loop() -> None:
    text = """
    local pool = nn.SpatialMaxPooling(2, 2)
    local step = nn.Sequential():add(pool):add(nn.MulConstant(2)):add(nn.SpatialMaxUnpooling(pool))
    local x = nn.Identity{'T', 'B', 1, 4, 4}()
    return nn.gModule({x}, {nn.Sequencer(step)(x)})
    """
    x = distinct((3, 2, 1, 4, 4))
    y = graphspec.compile(text, dtype="float64")(x)
    windows = x.reshape(3, 2, 1, 2, 2, 2, 2)
    np.testing.assert_array_equal(y, np.where(windows == windows.max((4, 6), keepdims=True), 2 * windows, 0).reshape(x.shape))
    found = probe(text, x)
    assert compare(found.forward, found.backward, found.point({})).ok


HEAD = "local x = nn.Identity{'T', 'B', 1, 4, 4}()\nlocal pool = nn.SpatialMaxPooling(2, 2)\nlocal un = nn.SpatialMaxUnpooling(pool)\n"
REFUSED = [
    ("return nn.gModule({x}, {nn.Sequencer(nn.SpatialMaxUnpooling(nn.SpatialMaxPooling(2, 2)))(nn.Sequencer(pool)(x))})", "E0323"),
    ("return nn.gModule({x}, {nn.Sequencer(un)(nn.Sequencer(pool)(x))})", "E0323"),
    ("return nn.gModule({x}, {un(nn.Select(1, 1)(x))})", "E0323"),
    ("return nn.gModule({x}, {pool(un(nn.Select(1, 1)(x)))})", "E0323"),
    ("return un", "E0323"),
    ("local y = nn.Select(1, 1)(x)\nreturn nn.gModule({x}, {pool(y), un(y)})", "E0302"),
    ("local h = pool(nn.Select(1, 1)(x))\nreturn nn.gModule({x}, {nn.Linear(9, 9)(un(h))})", "E0302"),
    ("return nn.SpatialMaxUnpooling(nn.SpatialMaxPooling(2, 2, 1, 1))", "E0422"),
    ("return nn.SpatialMaxUnpooling(nn.SpatialDilatedMaxPooling(2, 2))", "E0422"),
    ("return nn.VolumetricMaxUnpooling(pool)", "E0422"),
    ("return nn.SpatialMaxUnpooling()", "E0420"),
    ("return nn.SpatialMaxUnpooling(2)", "E0422"),
    ("return nn.SpatialMaxUnpooling(pool, 2)", "E0421"),
]


@pytest.mark.parametrize(("text", "code"), REFUSED)
def test_refused(text: str, code: str) -> None:
    with pytest.raises(SpecError) as failure:
        graphspec.compile(HEAD + text)(np.zeros((2, 1, 1, 4, 4), np.float32))
    assert code in [problem.code for problem in failure.value.diagnostics]
