"""PyTorch twins of layers that read indices."""

from __future__ import annotations

from twins.common import Twin

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


TWINS: dict[str, Twin] = {
    "LookupTable": lambda m, x, env: F.embedding(x.long() - 1, env.parameter(m, "weight")),
    "OneHot": lambda m, x, env: F.one_hot(x.long() - 1, m.args.outputSize).double(),
}
