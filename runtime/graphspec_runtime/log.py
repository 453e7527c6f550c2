"""What is told beside the results, in the log of graphspec."""

from __future__ import annotations

import logging
from functools import cache


@cache
def log_once(note: str) -> None:
    logging.getLogger("graphspec").warning("%s", note)
