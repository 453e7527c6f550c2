"""What specs can describe: data sources from :mod:`graphspec.data`, optimizers and experiment fields from :mod:`graphspec.training`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphspec.build import Description, Schema


class StandardLibrary:
    """The library that every command and the API use."""

    @property
    def schemas(self) -> Mapping[str, Schema]:
        return {}

    @property
    def experiment_fields(self) -> Mapping[str, Any]:
        return {}

    def attribute(self, description: Description, name: str) -> Any:
        raise KeyError(name)
