"""How gradients fare over time in a model's loops: norms of ``d s_t / d s_k``, what bounds them, and what the state's weights and gates do.

The lecture's bound (R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks", 2013): for
``h' = f(W h + U x + b)`` the norm of ``dh_t/dh_k`` is at most ``(sigma_max(W) * gamma)^(t-k)``, gamma the largest slope of f.
"""

from graphspec.probe.measure import ForgetGate, Measured, Rescaling, Saturation, Subject, Weight, measure
from graphspec.probe.subjects import of_experiment, of_model

__all__ = ["ForgetGate", "Measured", "Rescaling", "Saturation", "Subject", "Weight", "measure", "of_experiment", "of_model"]
