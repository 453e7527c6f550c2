"""The PyTorch twin of each record, one file for each family (:mod:`twins.common` says what a twin is)."""

from __future__ import annotations

import importlib
import pkgutil

from twins.common import ALL as TWINS
from twins.common import Env, Twin, flat

for found in pkgutil.iter_modules(__path__, "twins."):
    TWINS.update(getattr(importlib.import_module(found.name), "TWINS", {}))

__all__ = ["TWINS", "Env", "Twin", "flat"]
