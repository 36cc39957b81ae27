"""The published layouts of checkpoints, one file a layout and its kin; `unveil.catalogue` finds them."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from unveil import catalogue
from unveil.checkpoints.family import Family


@cache
def families() -> Mapping[str, Family]:
    """Every layout by its model_type."""
    return MappingProxyType({name: entry.load() for name, entry in catalogue.layouts().items()})
