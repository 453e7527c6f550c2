"""What all tests share."""

from __future__ import annotations

from hypothesis import Phase, settings

# The same examples on every run and machine: a failure in CI is a failure at home; a slow machine is no failure.
PHASES = (Phase.explicit, Phase.generate, Phase.shrink)
settings.register_profile("graphspec", derandomize=True, deadline=None, database=None, phases=PHASES)
settings.load_profile("graphspec")
