"""Data that do not fit the input that a spec gives them to: told with their name, at the input, and with NumPy's way to make them fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec

ONES = np.ones
CASES = [
    ("{'B', 2}", ONES((40, 2)), "{'B', 1}", ONES(40), r"E0307.*y comes as float32 \[4\], and this input takes .*`y\[:, None\]`"),
    ("{'B', 2}", ONES((40, 1, 2)), "{'B', 1}", ONES((40, 1)), r"E0307.*x comes as float32 \[4, 1, 2\].*`x\[:, 0\]`"),
    ("{'B', 2}", ONES((40, 3)), "{'B', 1}", ONES((40, 1)), r"E0307.*x comes as float32 \[4, 3\]"),
    ("{'B', 2}", ONES((40, 3, 3)), "{'B', 1}", ONES((40, 1)), r"E0307.*x comes as float32 \[4, 3, 3\]"),
    ("{'B', 3, 8, 6}", ONES((40, 8, 6, 3)), "{'B', 1}", ONES((40, 1)), r"E0307.*`x\.transpose\(0, 3, 1, 2\)`"),
    ("{'B', 3, 8, 6}", ONES((40, 3, 8, 6)), "{'B', 1, dtype = 'int32'}", ONES((40, 1)), r"E0312.*from 1: `y\.astype\('int32'\)`"),
    ("{'B', 2}", ONES((40, 2)), "{'B', dtype = 'int32'}", np.eye(40), r"E0312.*from 1: `y\.argmax\(-1\) \+ 1"),
    ("{'B', 1, 8, 8}", ONES((40, 8, 8, 1)), "{'B', 1}", ONES((40, 1)), r"E0307.*`x\.transpose\(0, 3, 1, 2\)`"),
    ("{'B', 1, 8, 8}", ONES((40, 8, 8)), "{'B', 1}", ONES((40, 1)), r"E0307.*`x\[:, None\]`"),
]


@pytest.mark.parametrize(("takes_x", "x", "takes_y", "y", "told"), CASES, ids=range(len(CASES)))
def test_data_that_do_not_fit(takes_x: str, x: Any, takes_y: str, y: Any, told: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "points.npz", x=x, y=y)
    (tmp_path / "model.spec").write_text(f"""local points = data.arrays {{ path = 'points.npz', batch = 4 }}
local x, y = nn.Identity{takes_x}(), nn.Identity{takes_y}()
return experiment {{ loss = nn.L1Cost()(nn.Mul()(x)), inputs = {{ [x] = points.x, [y] = points.y }} }}
""")
    with pytest.raises(graphspec.SpecError) as failure:
        graphspec.experiment(tmp_path / "model.spec").train_step()
    assert re.search(told, str(failure.value), re.S)
    assert re.search(r"model\.spec:2:\d+", str(failure.value))
