"""Random IR programs: every primitive, scans within scans, odd carries, donated states."""

from __future__ import annotations

import random

import numpy as np

from graphspec.ir.builder import Builder
from graphspec.ir.core import Port, Program, TensorType, Value, tensor
from graphspec.sizes import Size

B, T = Size.letter("B"), Size.letter("T")
DIMS = [Size.const(1), Size.const(2), Size.const(3), B, T, B * 2]
UNARY = ["neg", "tanh", "sigmoid", "abs", "sign"]
BINARY = ["add", "sub", "mul", "maximum", "minimum"]
KINDS = (
    "unary unary binary binary binary where reshape transpose broadcast slice pad concat shift sum max argmax matmul gather scatter"
    " largest cumsum pick random full iota size scan scan cast".split()
)


class Generator:
    """Draws a program from a seed.  ``trips`` are the trip counts that its scans may have."""

    def __init__(self, seed: int) -> None:
        self.r = random.Random(seed)
        self.kinds = KINDS if seed % 2 else [*KINDS, "windows", "overlap"]  # odd seeds draw what they did when some were found to tell
        self.site = 0

    def program(self, ops: int = 14) -> Program:
        b = Builder(dtype="float64")
        inputs = [Port("anchor", "input"), Port("seed", "seed"), Port("step", "step")]
        anchor = b.param(tensor([B, T], "float64"), "anchor")
        self.seed_step = (b.param(tensor([], "int64"), "seed"), b.param(tensor([], "int64"), "step"))
        for i in range(self.r.randint(1, 3)):
            b.param(self.type(), f"x{i}")
            inputs.append(Port(f"x{i}", "input"))
        states = []
        for i in range(self.r.randint(0, 3)):
            states.append(b.param(self.type(), f"s{i}"))
            inputs.append(Port(f"s{i}", "state"))
        index = b.param(tensor([B], "int32"), "index")
        inputs.append(Port("index", "input"))
        pool = [anchor, *b.block.params[3:-1], b.check_index(index, 3, 0)]
        pool = self.ops(b, pool, ops, [])
        results = self.r.sample(pool, min(len(pool), self.r.randint(2, 6)))
        outputs = [Port(f"o{i}", "output") for i in range(len(results))]
        for s in states:
            if self.r.random() < 0.8:
                results.append(self.r.choice([v for v in pool[-12:] if v.type == s.type] or [s]))
                outputs.append(Port(f"new_{s.name}", "state", updates=s.name))
        b.block.results = results
        return Program(b.block, inputs, outputs)

    def type(self, rank: int | None = None) -> TensorType:
        rank = self.r.randint(0, 3) if rank is None else rank
        return tensor([self.r.choice(DIMS) for _ in range(rank)], "float64")

    def ops(self, b: Builder, pool: list[Value], count: int, indices: list[Value]) -> list[Value]:
        pool = list(pool)
        for _ in range(count):
            pool += self.op(b, pool, indices)
        return pool

    def pick(self, pool: list[Value], rank: int = 0) -> Value | None:
        """A float value of at least that rank, later ones more often."""
        good = [v for v in pool if v.dtype == "float64" and v.type.rank >= rank]
        return good[max(self.r.randrange(len(good)), self.r.randrange(len(good)))] if good else None

    def op(self, b: Builder, pool: list[Value], indices: list[Value]) -> list[Value]:
        r = self.r
        kind = r.choice(self.kinds)
        x = self.pick(pool)
        assert x is not None
        if kind == "unary":
            return [b.one(r.choice(UNARY), x)]
        if kind == "binary":
            y = r.choice([v for v in pool if v.type == x.type])
            return [b.one(r.choice(BINARY), x, y) if r.random() < 0.9 else b.div(x, b.shift_by(b.mul(y, y), 1))]
        if kind == "where":
            y = r.choice([v for v in pool if v.type == x.type])
            c = b.compare(x, y, r.choice(["lt", "le", "gt", "ge", "eq", "ne"]))
            if r.random() < 0.3:
                c = b.logical(c, b.compare(y, b.full_like(y, 0), "gt"), r.choice(["and", "or"]))
            return [b.where(c, *r.sample([x, y], 2))]
        if kind == "full":
            return [b.full(r.choice([0, 0.5, -1]), x.shape)]
        if kind == "size":
            return [b.broadcast(b.size_value(B * T + 1), x.shape, ())]
        if kind == "iota":
            return [b.cast(b.iota(r.choice([B, Size.const(3)])), "float64")]
        if kind == "cast":
            return [b.cast(b.cast(x, r.choice(["int32", "float32", "bool"])), "float64")]
        if kind == "random":
            self.site += 1
            return [b.random(r.choice(["uniform", "normal"]), *self.seed_step, indices, self.site, x.shape)] if not indices else []
        if kind == "scan":
            return self.scan(b, pool, indices) if len(indices) < 2 else []
        return self.shaped(b, pool, kind)

    def shaped(self, b: Builder, pool: list[Value], kind: str) -> list[Value]:
        r = self.r
        x = self.pick(pool, 2 if kind in ("matmul", "transpose") else 1)
        if x is None:
            return []
        rank, axis = x.type.rank, r.randrange(x.type.rank)
        if kind == "reshape":
            shape = list(x.shape)
            if rank > 1 and r.random() < 0.6:
                at = r.randrange(rank - 1)
                shape[at : at + 2] = [shape[at] * shape[at + 1]]
            elif shape[axis] == B * 2:
                shape[axis : axis + 1] = r.sample([B, Size.const(2)], 2)
            else:
                shape.insert(axis, Size.const(1))
            return [b.reshape(x, shape)]
        if kind == "transpose":
            axes = list(range(rank))
            r.shuffle(axes)
            return [b.transpose(x, axes)]
        if kind == "broadcast":
            shape = [*x.shape[:axis], r.choice(DIMS), *x.shape[axis:]]
            return [b.broadcast(x, shape, [i + (i >= axis) for i in range(rank)])] if rank < 4 else []
        if kind == "slice":
            value = x.shape[axis].value
            if value and value > 1:
                start = r.randrange(value)
                return [b.slice(x, axis, start, r.randint(1, value - start))]
            return [b.slice(x, axis, B, B)] if x.shape[axis] == B * 2 else []
        if kind == "pad":
            return [b.pad(x, axis, r.randint(0, 1), r.randint(0, 2))]
        if kind == "windows":
            whole, stride, dilation = x.shape[axis].value, r.randint(1, 2), r.randint(1, 2)
            if rank > 3 or whole == 0:
                return []
            if whole is None:
                return [b.windows(x, axis, 2, x.shape[axis] - 1)] if x.shape[axis] in (B, B * 2) else []
            taken = r.randint(1, (whole - 1) // dilation + 1)
            return [b.windows(x, axis, (whole - (taken - 1) * dilation - 1) // stride + 1, taken, stride, dilation)]
        if kind == "overlap":
            if axis + 1 == rank:
                return []
            stride, dilation, length, each = r.randint(1, 2), r.randint(1, 2), *x.shape[axis : axis + 2]
            if not (length.value and each.value):
                return [b.overlap(x, axis, (length + each) * 2, stride, dilation)]
            return [b.overlap(x, axis, (length - 1) * stride + (each - 1) * dilation + r.randint(1, 2), stride, dilation)]
        if kind == "concat":
            others = [v for v in pool if v.type == x.type]
            return [b.concat([x, *r.choices(others, k=r.randint(1, 2))], axis)]
        if kind == "shift":
            inits = [v for v in pool if v.type == x.type.with_shape(x.shape[1:])]
            return [b.shift(r.choice(inits), x, r.random() < 0.5)] if inits else []
        if kind == "sum":
            return [b.reduce_sum(x, r.sample(range(rank), r.randint(1, rank)))]
        if kind == "max":
            return [b.reduce_max(x, [axis])] if (x.shape[axis].value or 0) > 0 else []
        if kind == "argmax":
            return [b.cast(b.argmax(x), "float64")] if (x.shape[-1].value or 0) > 0 else []
        if kind == "largest":
            n = x.shape[-1].value or 0
            values, positions = b.top_k(x, r.randint(1, n)) if n else (None, None)
            return [values, b.cast(positions, "float64")] if values and positions else []
        if kind == "cumsum":
            return [b.cumsum(x, r.random() < 0.5)]
        if kind == "matmul":
            swapped = b.transpose(x, [*range(rank - 2), rank - 1, rank - 2])
            return [b.tanh(b.matmul(*r.choice([(x, swapped), (swapped, x)])))]
        index = next((v for v in pool if v.dtype == "int32"), None)
        if index is None:
            return []
        if kind == "gather":
            return [b.gather(x, index)] if x.shape[0] == 3 else []
        if kind == "scatter":
            return [b.scatter_add(index, x, 3)] if x.shape[0] == B else []
        if x.shape == index.shape:
            return [b.place(index, x, 3)]
        return [b.pick(x, index)] if x.shape == (*index.shape, Size.const(3)) else []

    def scan(self, b: Builder, pool: list[Value], indices: list[Value]) -> list[Value]:
        r = self.r
        stacks = [v for v in pool if v.dtype == "float64" and v.type.rank > 1]
        trip = r.choice([v.shape[0] for v in stacks] or [T])
        xs = [v for v in stacks if v.shape[0] == trip][-3:]
        floats = [v for v in pool if v.dtype == "float64"]
        carries = r.choices(floats, k=r.randint(0, 3))
        consts = [*r.choices(floats, k=r.randint(0, 2)), *[v for v in pool if v.dtype == "int32"][:1], *indices]
        reverse = r.random() < 0.5
        stacked: list[int] = []

        def body(i: Builder, t: Value, cs: list[Value], ks: list[Value], xs: list[Value]) -> tuple[list[Value], list[Value], list[Value]]:
            inner = [v for v in (*cs, *ks, *xs) if v not in cs[len(cs) - len(indices) :]]
            local = self.ops(i, [*inner, i.full(0.25), i.cast(t, "float64")], r.randint(1, 6), [*cs[len(cs) - len(indices) :], t])
            nexts = []
            for k in ks:
                same = [v for v in local if v.type == k.type]
                nexts.append(r.choice(same) if r.random() < 0.4 else i.tanh(i.add(k, same[-1])))
            ys = [r.choice(local) for _ in range(r.randint(0, 2))]
            ys = [y for y in ys if y.dtype == "float64"]
            for n in nexts:
                if r.random() < 0.5:
                    stacked.append(len(ys))
                    ys.append(n)
            sums = [r.choice([v for v in local[-5:] if v.dtype == "float64"] or [i.full(1.0)]) for _ in range(r.randint(0, 2))]
            if ks and r.random() < 0.3:
                sums.append(i.mul(r.choice(ks), r.choice(ks)) if len({k.type for k in ks}) == 1 else ks[0])
            return nexts, ys, sums

        last, ys, sums = b.scan(trip, consts, carries, xs, body, reverse)
        shifted = []
        for j in stacked:
            init = next((c for c in carries if c.type == ys[j].type.with_shape(ys[j].shape[1:])), None)
            if init is not None and r.random() < 0.7:
                shifted.append(b.shift(init, ys[j], reverse))
        return [*last, *ys, *sums, *shifted]


def draw_arguments(program: Program, sizes: dict[str, int], seed: int) -> dict[str, np.ndarray]:
    """Arrays for a program of this generator; some are not contiguous."""
    rng = np.random.default_rng(seed)
    arguments: dict[str, np.ndarray] = {"seed": np.array(seed % 2**40), "step": np.array(3)}
    for port, v in zip(program.inputs, program.block.params, strict=True):
        if port.name in arguments:
            continue
        shape = [n.evaluate(sizes) for n in v.shape]
        value = rng.integers(0, 3, shape).astype("int32") if v.dtype == "int32" else rng.normal(size=shape)
        if port.role == "input" and value.ndim > 1 and seed % 2:
            value = np.ascontiguousarray(value.T).T
        arguments[port.name] = value
    return arguments
