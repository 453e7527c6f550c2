"""Every ``nn`` module, one record each, one file for each family.  Importing this package fills the registry.

What Torch has and a spec cannot have stands in the ``LEFT_OUT`` of its family, with the reason.
"""

import importlib
import pkgutil

from graphspec.graph.record import LEFT_OUT, REGISTRY

registry = REGISTRY

for _family in pkgutil.iter_modules(__path__, f"{__name__}."):
    LEFT_OUT.update(getattr(importlib.import_module(_family.name), "LEFT_OUT", {}))

__all__ = ["LEFT_OUT", "registry"]
