"""Planning: which kernels run in which order, where every value lies, and for how long."""

from graphspec.plan.planner import make_plan
from graphspec.plan.summary import Summary, product_flops, summarise
from graphspec.plan.text import print_plan

__all__ = ["Summary", "make_plan", "print_plan", "product_flops", "summarise"]
