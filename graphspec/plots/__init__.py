"""Pictures of numbers: learning curves, alignments, accuracy by length (needs the extra ``plots``).

Each function gives a matplotlib figure, :func:`save` writes it; nothing is shown, and no setting of matplotlib is left changed.
"""

from graphspec.plots.alignment import alignment
from graphspec.plots.curves import learning_curves
from graphspec.plots.lengths import accuracy_by_length
from graphspec.plots.style import encoded, save

__all__ = ["accuracy_by_length", "alignment", "encoded", "learning_curves", "save"]
