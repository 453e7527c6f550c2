"""The array kernels: one table, written once over an array module ``xp`` (numpy, or cupy behind the same names).

``KERNELS[name](site)`` makes the kernel for one instruction of one binding; what it returns is called with arrays alone.
"""

from graphspec_runtime.kernels.index import INDEXING
from graphspec_runtime.kernels.order import ORDERED
from graphspec_runtime.kernels.pointwise import POINTWISE
from graphspec_runtime.kernels.product import PRODUCTS
from graphspec_runtime.kernels.random import RANDOM
from graphspec_runtime.kernels.reduce import REDUCTIONS
from graphspec_runtime.kernels.site import Kernel, Maker, Scratch, Site
from graphspec_runtime.kernels.windows import WINDOWED

KERNELS: dict[str, Maker] = {**POINTWISE, **REDUCTIONS, **ORDERED, **PRODUCTS, **INDEXING, **WINDOWED, **RANDOM}

__all__ = ["KERNELS", "POINTWISE", "Kernel", "Maker", "Scratch", "Site"]
