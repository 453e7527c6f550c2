"""PyTorch twins of modules on tables."""

from __future__ import annotations

from twins.common import Twin, axis, total

try:
    import torch
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


TWINS: dict[str, Twin] = {
    "CAddTable": lambda m, x, env: total(x, torch.add),
    "CSubTable": lambda m, x, env: total(x, torch.sub),
    "CMulTable": lambda m, x, env: total(x, torch.mul),
    "CDivTable": lambda m, x, env: total(x, torch.div),
    "JoinTable": lambda m, x, env: torch.cat(x, axis(m.args.dimension, x[0].dim(), m.args.nInputDims)),
    "SplitTable": lambda m, x, env: list(x.unbind(axis(m.args.dimension, x.dim(), m.args.nInputDims))),
    "CAveTable": lambda m, x, env: torch.stack(x).mean(0),
    "CMaxTable": lambda m, x, env: torch.stack(x).amax(0),
    "CMinTable": lambda m, x, env: torch.stack(x).amin(0),
    "CAddTensorTable": lambda m, x, env: [x[0] + item for item in x[1]],
}
