"""Decoding: sequences from a trained experiment's own step, by programs that run many steps at once.

``model`` types the step, ``programs`` builds the loops (drawing, beam search, forcing) as IR, ``decoder`` runs them from the host.
"""

from graphspec.training.decoding.decoder import Decoder
from graphspec.training.decoding.settings import Hypothesis, Settings, check_by_length, check_generation, check_given, settings_of

__all__ = ["Decoder", "Hypothesis", "Settings", "check_by_length", "check_generation", "check_given", "settings_of"]
