"""PyTorch twins of modules that add, drop, merge or reorder axes."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin

try:
    import torch
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def squeeze(m: Module, x: Any, env: Env) -> Any:
    """nn.Squeeze's own cases."""
    dim, counted = m.args.dim, m.args.numInputDims
    batched = counted is not None and x.dim() == counted + 1
    y = x.squeeze(dim - 1 + batched) if dim else x.squeeze()
    if not dim and batched and x.shape[0] == 1:
        y = y.unsqueeze(0)
    return y if y.dim() else y.reshape(1)


def unsqueeze(m: Module, x: Any, env: Env) -> Any:
    return x.unsqueeze(m.args.pos - 1 + (x.dim() - m.args.numInputDims if m.args.numInputDims else 0))


def copy(m: Module, x: Any, env: Env) -> Any:
    kind = m.args.outputType or "torch.DoubleTensor"
    return x.int() if "Long" in kind or "Int" in kind else x.double()


def convert(m: Module, x: Any, env: Env) -> Any:
    given, wanted = m.args.given, m.args.wanted
    x = x.double()
    if given == "b*":
        return x
    alone = x.dim() < len(given)
    if alone:
        x = x.unsqueeze(given.index("b"))
    if set(given) == set(wanted):
        y = torch.einsum(f"{given}->{wanted}", x)
    elif wanted == "b":
        y = x.select(1 - given.index("b"), 0)
    else:
        y = x.transpose(0, given.index("b")).flatten(1) if x.dim() > 1 else x.unsqueeze(1)
    return y.squeeze(wanted.index("b")) if alone else y


TWINS: dict[str, Twin] = {
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Collapse": lambda m, x, env: x.flatten(1) if x.dim() > m.args.nInputDim else x.flatten(),
    "Contiguous": lambda m, x, env: x.contiguous(),
    "Copy": copy,
    "Convert": convert,
}
