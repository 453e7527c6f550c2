"""The PyTorch twin of recurrent visual attention."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from graphspec.prove import Env, Twin
from twins.common import twin_of
from twins.recurrent import STATES


def attention(m: Module, x: Any, env: Env) -> Any:
    STATES.append({})
    y, found = x.new_zeros(len(x), *m.args.sizes), []
    for _ in range(m.args.nStep):
        y = twin_of(m.args.rnn, [x, twin_of(m.args.action, y, env)], env)
        found.append(y)
    STATES.pop()
    return found


TWINS: dict[str, Twin] = {"RecurrentAttention": attention}
