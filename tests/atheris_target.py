"""A target for coverage-guided fuzzing, for long runs: ``pip install atheris``, then

    python tests/atheris_target.py -max_len=2000 CORPUS_FOLDER
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports():
    from fuzz_specs import attempt


def one_input(data: bytes) -> None:
    """Whatever is no SpecError is a find."""
    provider = atheris.FuzzedDataProvider(data)
    attempt(provider.ConsumeUnicodeNoSurrogates(len(data)), None)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
