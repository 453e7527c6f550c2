"""Random programs as models make them: weights that are tied, cells and layers of loops over time, losses, a training step.

:class:`random_programs.Generator` draws any primitive anywhere.  This one draws what specs are lowered to, so that the passes find much to
do: products that share operands, tables that are weights too, gates cut in odd orders, loops in loops, carries that wait or change places,
states that are exchanged, sums that are summed.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphspec.autodiff import gradients
from graphspec.ir.builder import Builder
from graphspec.ir.core import Port, Program, Value, tensor
from graphspec.ir.rewrite import copy_program
from graphspec.sizes import Size, product
from random_programs import B, Generator, T

N, M = Size.const(2), Size.const(3)
WEIGHTS = {"w": (N, N), "v": (N, M), "u": (M, N), "table": (M, N), "bias": (N,), "wide": (M, M)}
KINDS = (
    "linear linear linear again gates gates lookup lookup tied varying softmax norm spread whole ints nan extreme dropout delay sums steps"
    " cell cell layers join".split()
)


class Models(Generator):
    """Draws a model from a seed.  Rows are ``[B, n]``, in loops and outside; sequences ``[T, B, n]``."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.kinds = KINDS
        self.weights: set[Value] = set()

    def program(self, ops: int = 9) -> Program:
        b = Builder(dtype="float64")
        self.inputs: list[Port] = []
        self.seed_step = (self.input(b, "seed", (), "int64", "seed"), self.input(b, "step", (), "int64", "step"))
        pool = [self.input(b, "xs", (T, B, N)), self.input(b, "x", (B, self.r.choice([N, M])))]
        if self.r.random() < 0.3:
            pool.append(self.input(b, "zs", (self.r.choice([B, M]), B, M)))
        for name in self.r.sample(sorted(WEIGHTS), self.r.randint(2, 5)):
            pool.append(self.input(b, name, WEIGHTS[name], role="parameter"))
            self.weights.add(pool[-1])
        states = [self.input(b, f"s{i}", (B, N), role="state") for i in range(self.r.randint(0, 3))]
        words = [self.input(b, "word", (B,), "int32"), self.input(b, "words", (T, B), "int32")]
        pool += [*states, *(b.check_index(v, M, 0) for v in words)]
        pool = self.ops(b, pool, ops, [])
        self.finish(b, pool, states)
        return Program(b.block, self.inputs, self.outputs)

    def input(self, b: Builder, name: str, shape: Sequence[Size], dtype: str = "float64", role: str = "input") -> Value:
        self.inputs.append(Port(name, role))  # type: ignore[arg-type]
        return b.param(tensor(shape, dtype), name)

    def finish(self, b: Builder, pool: list[Value], states: list[Value]) -> None:
        """Results: late values, now and then one of them twice, an input as it came in, losses; states that may change places."""
        r = self.r
        made = [v for v in pool if v.dtype == "float64" and v not in self.weights]
        results = r.sample(made[-12:], min(len(made), r.randint(1, 4)))
        if r.random() < 0.2:
            results.append(r.choice([*results, *pool]))
        if r.random() < 0.4:
            results += [self.loss(b, r.choice(made[-6:])) for _ in range(r.randint(1, 2))]
        self.outputs = [Port(f"o{i}", "output") for i in range(len(results))]
        for s in r.sample(states, len(states)):
            results.append(r.choice([*states, *(v for v in made[-15:] if v.type == s.type)]))
            self.outputs.append(Port(f"new_{s.name}", "state", updates=s.name))
        b.block.results = results

    def loss(self, b: Builder, v: Value) -> Value:
        total = b.reduce_sum(v, range(v.type.rank))
        return b.div(total, b.size_value(B * T + 1)) if self.r.random() < 0.5 else total

    # -- what is drawn ----------------------------------------------------------------------------------------------------

    def rows(self, pool: list[Value], width: Size | None = None) -> Value | None:
        """A value whose last axis is short, not a weight; later ones more often."""
        good = [v for v in pool if v.dtype == "float64" and v.type.rank > 1 and v not in self.weights and (v.shape[-1].value or 0) > 0]
        good = [v for v in good if width is None or v.shape[-1] == width]
        return good[max(self.r.randrange(len(good)), self.r.randrange(len(good)))] if good else None

    def op(self, b: Builder, pool: list[Value], indices: list[Value]) -> list[Value]:
        kind = self.r.choice(self.kinds)
        if kind in ("cell", "layers"):
            return getattr(self, kind)(b, pool, indices) if len(indices) < 2 else []  # type: ignore[no-any-return]
        if kind == "dropout":
            return self.dropout(b, pool, indices)
        if kind == "lookup":
            return self.lookup(b, pool)
        x = self.rows(pool)
        return getattr(self, kind)(b, pool, x) if x is not None else []  # type: ignore[no-any-return]

    def product(self, b: Builder, pool: list[Value], x: Value, n: Size | None = None) -> Value | None:
        """x times a weight, or the transpose of one."""
        matrices = [v for v in pool if v in self.weights and v.type.rank == 2]
        fits = [v for v in matrices if v.shape[0] == x.shape[-1] and n in (None, v.shape[1])]
        fits += [b.transpose(v, (1, 0)) for v in matrices if v.shape[1] == x.shape[-1] and n in (None, v.shape[0])]
        if not fits:
            return None
        w = self.r.choice(fits)
        flat = b.reshape(x, (product(x.shape[:-1]), x.shape[-1]))
        return b.reshape(b.matmul(flat, w), (*x.shape[:-1], w.shape[1]))

    def linear(self, b: Builder, pool: list[Value], x: Value) -> list[Value]:
        y = self.product(b, pool, x)
        bias = next((v for v in pool if v in self.weights and v.type.rank == 1), None)
        if y is not None and bias is not None and y.shape[-1] == bias.shape[0] and self.r.random() < 0.6:
            y = b.add(y, b.broadcast_last(bias, y))
        return [b.tanh(y) if self.r.random() < 0.4 else y] if y is not None else []

    def again(self, b: Builder, pool: list[Value], x: Value) -> list[Value]:
        """Products of products, and sums of them."""
        y = self.product(b, pool, x)
        z = self.product(b, pool, y if y is not None and self.r.random() < 0.5 else x)
        if y is None or z is None:
            return []
        return [b.add(y, z)] if y.type == z.type else [z, y]

    def gates(self, b: Builder, pool: list[Value], x: Value) -> list[Value]:
        """Products side by side, cut in any order, with overlaps, and put together again."""
        r = self.r
        parts = [v for v in (self.product(b, pool, x) for _ in range(r.randint(1, 3))) if v is not None]
        whole = b.concat(parts or [x], x.type.rank - 1)
        n = whole.shape[-1].value or 1
        cuts = []
        for _ in range(r.randint(1, 4)):
            width = r.randint(1, min(n, 3))
            cut = b.slice(whole, x.type.rank - 1, r.randint(0, n - width), width)
            cuts.append(b.one(r.choice(["tanh", "sigmoid", "neg"]), cut) if r.random() < 0.7 else cut)
        same = [v for v in cuts if v.type == cuts[0].type]
        cuts.append(b.one(r.choice(["mul", "add", "sub"]), r.choice(same), r.choice(same)))
        if r.random() < 0.5:
            cuts.append(b.concat(r.sample(cuts, min(len(cuts), 3)), x.type.rank - 1))
        return cuts

    def lookup(self, b: Builder, pool: list[Value]) -> list[Value]:
        """Rows of a weight, perhaps of what is made of it, for several readers."""
        tables = [v for v in pool if v in self.weights and v.shape[0] == M]
        indices = [v for v in pool if v.dtype == "int32" and v.type.rank > 0]
        if not tables or not indices:
            return []
        table, index = self.r.choice(tables), self.r.choice(indices)
        rows = b.gather(table, index)
        sources = [rows] * self.r.randint(0, 2 if table.type.rank > 1 else 0)
        if self.r.random() < 0.3:
            sources.append(b.place(index, b.full(1, index.shape), M))
        return [rows, *(v for v in (self.product(b, pool, each) for each in sources) if v is not None)]

    def tied(self, b: Builder, pool: list[Value], x: Value) -> list[Value]:
        """Log-softmax over the rows of a table, and what it says of an index."""
        scores = self.product(b, pool, x, M)
        if scores is None:
            return []
        last = scores.type.rank - 1
        down = b.sub(scores, b.broadcast_first(b.reduce_max(scores, [last]), scores))
        logs = b.sub(down, b.broadcast_first(b.log(b.reduce_sum(b.exp(down), [last])), down))
        index = [v for v in pool if v.dtype == "int32" and v.shape == scores.shape[:-1]]
        return [logs, *([b.pick(logs, index[0])] if index else [])]

    def varying(self, b: Builder, pool: list[Value], x: Value) -> list[Value]:
        """Products of values that both change from step to step."""
        y = self.r.choice([v for v in pool if v.dtype == "float64" and v.type.rank == x.type.rank and v.shape[:-1] == x.shape[:-1]])
        turned = b.transpose(x, [*range(x.type.rank - 2), x.type.rank - 1, x.type.rank - 2])
        inner = b.matmul(turned, y)
        return [b.tanh(b.matmul(x, inner)), *([inner] if self.r.random() < 0.3 else [])]

    def softmax(self, b: Builder, pool: list[Value], x: Value) -> list[Value]:
        axes = self.r.sample(range(x.type.rank), self.r.randint(1, x.type.rank))
        kept = [i for i in range(x.type.rank) if i not in axes]
        e = b.exp(b.tanh(x))
        return [b.div(e, b.broadcast(b.reduce_sum(e, axes), x.shape, kept))]

    def norm(self, b: Builder, pool: list[Value], x: Value) -> list[Value]:
        """Layer norm over the last axis, which may be one column."""
        if self.r.random() < 0.3:
            x = b.slice(x, x.type.rank - 1, 0, 1)
        last = x.type.rank - 1
        n = b.size_value(x.shape[-1])

        def mean(v: Value) -> Value:
            total = b.reduce_sum(v, [last])
            return b.broadcast_first(b.div(total, b.broadcast(n, total.shape, ())), v)

        away = b.sub(x, mean(x))
        return [b.div(away, b.sqrt(b.shift_by(mean(b.mul(away, away)), 0.1)))]

    def spread(self, b: Builder, pool: list[Value], x: Value) -> list[Value]:
        """Both sides repeated along an axis of the other, and summed again over one or more."""
        y = self.r.choice([v for v in pool if v.dtype == "float64" and v.type.rank == x.type.rank and v.shape[:-1] == x.shape[:-1]])
        if x.type.rank > 3:
            return []
        shape = (*x.shape, y.shape[-1])
        last = len(shape) - 1
        left = b.broadcast(x, shape, range(last))
        right = b.broadcast(y, shape, [*range(last - 1), last])
        both = self.r.choice([b.add, b.mul, b.maximum])(left, right)
        return [b.reduce_sum(both, self.r.sample(range(len(shape)), self.r.randint(1, 2)))]

    def whole(self, b: Builder, pool: list[Value], x: Value) -> list[Value]:
        """A number of everything, added to everything."""
        total = self.loss(b, x) if self.r.random() < 0.5 else b.reduce_max(x, [x.type.rank - 1])
        if total.type.rank:
            return [b.add(x, b.broadcast_first(total, x))]
        return [b.tanh(b.mul(x, b.broadcast(total, x.shape, ())))]

    def ints(self, b: Builder, pool: list[Value], x: Value) -> list[Value]:
        """Arithmetic on whole numbers: still an index, and as factors."""
        index = [v for v in pool if v.dtype == "int32" and v.type.rank > 0]
        if not index:
            return []
        i = self.r.choice(index)
        j = b.one(self.r.choice(["add", "sub", "mul", "maximum", "minimum"]), i, b.full(self.r.choice([-1, 0, 1, 2]), i.shape, "int32"))
        j = self.r.choice([j, b.neg(j), b.abs(j), b.sign(j), b.cast(b.compare(j, i, "ge"), "int32")])
        low, high = b.full(0, i.shape, "int32"), b.full(2, i.shape, "int32")
        return [b.minimum(b.maximum(j, low), high), b.cast(j, "float64")]

    def nan(self, b: Builder, pool: list[Value], x: Value) -> list[Value]:
        """Not a number here and there, and a choice that leaves it out, or does not."""
        odd = b.log(x) if self.r.random() < 0.5 else b.sqrt(x)
        there = b.compare(odd, odd, self.r.choice(["eq", "ne"]))
        chosen = b.where(there, *self.r.sample([odd, x], 2))
        kept = b.where(b.compare(chosen, chosen, "eq"), chosen, b.full_like(x, 0.5))
        larger = self.r.choice([b.maximum, b.minimum])(odd, x)
        return [kept, b.where(b.compare(larger, b.full_like(x, 0.3), self.r.choice(["lt", "ge"])), x, b.tanh(x))]

    def extreme(self, b: Builder, pool: list[Value], x: Value) -> list[Value]:
        """The largest of equals, running sums, the largest in order."""
        r, last = self.r, x.type.rank - 1
        if r.random() < 0.3:
            return [b.cumsum(x, r.random() < 0.5), b.top_k(x, r.randint(1, x.shape[-1].value or 1))[0]]
        rounded = b.cast(b.cast(b.scale(b.tanh(x), 1.7), "int32"), "float64") if r.random() < 0.5 else x
        twice = b.concat([rounded, b.mul(rounded, b.abs(rounded)), x], last)
        return [b.reduce_max(twice, [last]), b.maximum(rounded, x)]

    def dropout(self, b: Builder, pool: list[Value], indices: list[Value]) -> list[Value]:
        x = self.rows(pool)
        if x is None:
            return []
        self.site += 1
        mask = b.cast(b.compare(b.random("uniform", *self.seed_step, indices, self.site, x.shape), b.full_like(x, 0.4), "ge"), "float64")
        return [b.div(b.mul(x, mask), b.full_like(x, 0.6))]

    def delay(self, b: Builder, pool: list[Value], x: Value) -> list[Value]:
        """A sequence one step late, of either direction, or its windows."""
        if x.type.rank < 3:
            return []
        inits = [v for v in pool if v.type == x.type.with_shape(x.shape[1:])]
        init = self.r.choice(inits) if inits else b.full(0, x.shape[1:])
        return [b.shift(init, x, self.r.random() < 0.5)]

    def sums(self, b: Builder, pool: list[Value], x: Value) -> list[Value]:
        """Sums of sums over any axes."""
        first = b.reduce_sum(x, self.r.sample(range(x.type.rank), self.r.randint(1, x.type.rank - 1)))
        return [first, b.reduce_sum(first, [0])] if self.r.random() < 0.5 else [first]

    def join(self, b: Builder, pool: list[Value], x: Value) -> list[Value]:
        """Side by side with something of as many rows."""
        others = [v for v in pool if v.dtype == "float64" and v.type.rank == x.type.rank and v.shape[:-1] == x.shape[:-1]]
        y = b.concat([x, self.r.choice(others)], x.type.rank - 1)
        start = self.r.randint(0, 1)
        return [y, b.slice(y, x.type.rank - 1, start, y.shape[-1] - 1)]

    def steps(self, b: Builder, pool: list[Value], x: Value) -> list[Value]:
        """A sequence of a few rows made of one, to run over."""
        rank = x.type.rank
        return [b.transpose(b.broadcast(x, (*x.shape, M), range(rank)), [rank, *range(rank)])] if rank < 3 else []

    # -- loops ----------------------------------------------------------------------------------------------------------------

    def layers(self, b: Builder, pool: list[Value], indices: list[Value]) -> list[Value]:
        """Loops over what the one before stacked."""
        found: list[Value] = []
        for _ in range(2):
            found += self.cell(b, [*pool, *found], indices)
        return found

    def cell(self, b: Builder, pool: list[Value], indices: list[Value]) -> list[Value]:
        """A loop over sequences with carries, some of which only wait, change places, or never change."""
        r = self.r
        stacks = [v for v in pool if v.dtype == "float64" and v.type.rank == 3]
        stacks = stacks or [v for v in pool if v in self.weights and v.type.rank == 2]  # as many turns as a matrix has rows
        if not stacks:
            return []
        trip = r.choice(stacks).shape[0]
        found = [v for v in pool if v.type.rank > 1 and v.shape[0] == trip and v not in self.weights]
        xs = r.sample(found, min(len(found), r.randint(1, 2)))
        rows = [v for v in pool if v.dtype == "float64" and v not in self.weights and v.type.rank < 3]
        carries = [v if r.random() < 0.7 else b.full(0, v.shape) for v in r.choices(rows, k=r.randint(0, 3))] if rows else []
        fixed = [v for v in pool if v in self.weights or v in self.seed_step]
        words = [v for v in pool if v.dtype == "int32" and v.type.rank == 1]
        consts = list(dict.fromkeys([*fixed, *r.sample(rows, min(len(rows), r.randint(0, 2))), *words[:1], *self.seed_step]))
        outer_seed, reverse = self.seed_step, r.random() < 0.4

        def body(i: Builder, t: Value, cs: list[Value], ks: list[Value], xs: list[Value]) -> tuple[list[Value], list[Value], list[Value]]:
            around, given = cs[len(consts) :], cs[: len(consts)]
            inside = dict(zip(consts, given, strict=True))
            self.weights |= {inside[v] for v in consts if v in self.weights}
            self.seed_step = (inside[outer_seed[0]], inside[outer_seed[1]])
            start = [*given, *xs, *ks]
            local = self.ops(i, start, r.randint(2, 6), [*around, t])
            self.seed_step = outer_seed
            made = [v for v in local if v.dtype == "float64" and v not in self.weights]
            nexts = [self.following(i, k, ks, xs, made, local, t) for k in ks]
            ys = [r.choice(made[-8:]) for _ in range(r.randint(0, 2))] if made else []
            ys += [v for v in nexts if r.random() < 0.5]
            sums = [r.choice(made[-8:]) for _ in range(r.randint(0, 2))] if made else []
            return nexts, ys, sums

        last, ys, sums = b.scan(trip, [*consts, *indices], carries, xs, body, reverse)
        return [*last, *sums, *ys]

    def following(self, b: Builder, k: Value, ks: list[Value], xs: list[Value], made: list[Value], local: list[Value], t: Value) -> Value:
        """The next value of a carry."""
        r = self.r
        same = [v for v in made if v.type == k.type]
        kind = r.random()
        if kind < 0.15:
            return r.choice([v for v in [*ks, *xs] if v.type == k.type])  # another carry, an x, or itself
        if kind < 0.25:
            return b.add(k, same[-1])  # a sum
        new = b.tanh(b.add(k, same[-1])) if kind < 0.7 else same[-1]
        if k.type.rank > 1 and kind > 0.5:
            h = self.product(b, local, k, k.shape[-1])
            new = b.tanh(b.add(new, h)) if h is not None else new
        if r.random() < 0.3:
            steps = b.broadcast(b.compare(t, b.full(1, (), "int32"), "le"), k.shape, ())
            new = b.where(steps, new, k)
        return new


def step_of(program: Program) -> Program:
    """A training step: the gradients of a weighted sum of all results, added to what was accumulated, and taken off the parameters."""
    program = copy_program(program)
    b = Builder(program.block, "float64")
    wrt = [v for v in program.block.params if v.type.is_float]
    kept = [(v, port) for v, port in zip(program.block.results, program.outputs, strict=True) if port.updates]
    given = {v: b.full(0.5 + i, v.shape) for i, v in enumerate(dict.fromkeys(program.block.results)) if v.type.is_float}
    found = gradients(b, given, wrt)
    results, ports, inputs = [v for v, _ in kept], [port for _, port in kept], list(program.inputs)
    for v, g in zip(wrt, found, strict=True):
        port = next(p for p, param in zip(program.inputs, program.block.params, strict=True) if param is v)
        if g is None:
            continue
        if port.role != "parameter":
            results.append(g)
            ports.append(Port(f"g_{v.name}", "output"))
            continue
        before = b.param(v.type, f"sum_{v.name}")
        inputs.append(Port(before.name, "gradient"))
        total = b.add(before, g)
        results += [total, b.sub(v, b.scale(total, 0.1))]
        ports += [Port(f"new_sum_{v.name}", "gradient", before.name), Port(f"new_{v.name}", "parameter", v.name)]
    b.block.results = results
    return Program(b.block, inputs, ports)
