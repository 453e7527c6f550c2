"""Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers, as easy as 1, 2, 3; 2011).

Counter: (element // 4, outer scan index, inner scan indices mixed, low half of the step); key: seed and site, and the high half of
the step.  The value is a function of these alone, so a gradient regenerates a mask, and devices agree bit by bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphspec_runtime.kernels.site import Array, Kernel, Maker, Site, is_contiguous, staged_output

CHUNK = 8192
"""Counters worked on at a time: six arrays of 64 KiB, which the second-level cache holds."""

LOW = 0xFFFFFFFF
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85


def counter_words(seed: int, step: int, indices: Sequence[int], site: int) -> tuple[int, int, int, int, int]:
    """Counter words 1 to 3 and the two key words."""
    mixed = 0
    for index in indices[1:]:
        mixed = (mixed ^ index) * 2654435761 & LOW
    outer = indices[0] & LOW if indices else 0
    return outer, mixed, step & LOW, (seed ^ site * 0x9E3779B9) & LOW, (seed >> 32 ^ step >> 32) & LOW


def _random(site: Site) -> Kernel:
    (out,) = site.outputs
    normal = site.attrs["kind"] == "normal"
    count = out.size
    words = 2 * count if normal else count
    chunk = max(1, min(CHUNK, -(-words // 4)))
    blocks = site.keep(np.arange(chunk, dtype=np.uint64))
    block_words = site.scratch.take((chunk, 4), "uint64")
    lanes = [site.scratch.take((chunk,), "uint64") for _ in range(6)]
    # normals in double: the logarithm near 1 keeps its digits, so float32 results are the rounded double ones
    working = np.dtype("float64") if normal else out.dtype
    uniform = site.scratch.take((4 * chunk,), working)
    rounds = _Rounds(site, lanes)
    shift, scale = site.constant(8, np.uint64), site.constant(2.0**-24, working)
    xp, call_site = site.xp, int(site.attrs["site"])
    finish = _box_muller(site) if normal else None

    def kernel(*arrays: Array) -> None:
        seed, step, *indices = (int(x) for x in arrays[:-1])
        flat = arrays[-1].reshape(-1)
        one, two, three, *key = counter_words(seed, step, indices, call_site)
        for start in range(0, words, 4 * chunk):
            xp.add(blocks, np.uint64(start // 4), lanes[0])
            for lane, word in zip(lanes[1:4], (one, two, three), strict=True):
                lane.fill(np.uint64(word))
            rounds.run(key[0], key[1])
            for column in range(4):
                xp.copyto(block_words[:, column], lanes[column])
            xp.right_shift(block_words, shift, block_words)
            xp.copyto(uniform, block_words.reshape(-1), casting="unsafe")
            here = min(4 * chunk, words - start)
            if finish:
                xp.multiply(uniform, scale, uniform)
                finish(uniform[:here:2], uniform[1:here:2], flat[start // 2 : (start + here) // 2])
            else:
                xp.multiply(uniform[:here], scale, flat[start : start + here])

    return staged_output(site, kernel, is_contiguous(out))


class _Rounds:
    """The ten rounds over arrays of counters, in place; every element is 32 bits wide, kept in 64."""

    def __init__(self, site: Site, lanes: list[Array]) -> None:
        self.xp, self.lanes = site.xp, lanes
        self.m0, self.m1, self.low, self.half = (site.constant(n, np.uint64) for n in (*MULTIPLIERS, LOW, 32))

    def run(self, key0: int, key1: int) -> None:
        multiply, shift, xor, mask = self.xp.multiply, self.xp.right_shift, self.xp.bitwise_xor, self.xp.bitwise_and
        a, b, c, d, p, q = self.lanes
        for _ in range(10):
            multiply(a, self.m0, p)
            multiply(c, self.m1, q)
            shift(q, self.half, a)
            xor(a, b, a)
            xor(a, np.uint64(key0), a)
            mask(q, self.low, b)
            shift(p, self.half, c)
            xor(c, d, c)
            xor(c, np.uint64(key1), c)
            mask(p, self.low, d)
            key0, key1 = (key0 + WEYL[0]) & LOW, (key1 + WEYL[1]) & LOW


def _box_muller(site: Site) -> Kernel:
    """sqrt(-2 log(u + 2^-25)) * cos(2 pi v) of two 24-bit uniforms: the logarithm is finite."""
    above_zero, minus_two, turn = (site.constant(c, "float64") for c in (2.0**-25, -2, 2 * math.pi))
    xp = site.xp

    def finish(u: Array, v: Array, out: Array) -> None:
        xp.add(u, above_zero, u)
        xp.log(u, u)
        xp.multiply(u, minus_two, u)
        xp.sqrt(u, u)
        xp.multiply(v, turn, v)
        xp.cos(v, v)
        xp.multiply(u, v, u)
        xp.copyto(out, u, casting="same_kind")

    return finish


RANDOM: dict[str, Maker] = {"random": _random}
