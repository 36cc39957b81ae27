"""All probes by name."""

from collections.abc import Sequence
from dataclasses import replace

from unveil import catalogue
from unveil.diagnostics.context.probe import OverMasks, Probe
from unveil.settings import nearest


def kinds() -> dict[str, type[Probe]]:
    """The class of every probe, by name."""
    return {name: entry.load() for name, entry in catalogue.probes().items()}


def probe(name: str, grid: Sequence[int] | None = None) -> Probe:
    """The probe of that name, over the numbers of masks `grid` if it varies them. ValueError for an unknown name."""
    if name not in catalogue.probes():
        raise ValueError(f"unknown probe {name!r}: {nearest(name, catalogue.probes())}")
    return _over(kinds()[name](), grid)


def quick() -> list[Probe]:
    """The probes that are asked where none is named."""
    return [kind().quickly() for kind in kinds().values() if kind.quick]


def _over(found: Probe, grid: Sequence[int] | None) -> Probe:
    """The same, over these numbers of masks if it varies them."""
    return replace(found, grid=tuple(grid)) if grid is not None and isinstance(found, OverMasks) else found


def chosen(
    names: Sequence[str] | None, grid: Sequence[int] | None = None, *, causal: bool = False, chat: bool = False
) -> list[Probe]:
    """These probes, each once; "all" is all without questions of their own, None the quick ones, with their settings;
    of these two, those that fit a causal model or a chat.

    ValueError for an unknown name, for one that is named and does not fit, and for a `grid` that none of them uses.
    """
    every = [name for name, kind in kinds().items() if not kind.own]
    named = [] if names is None else [one for name in names for one in (every if name == "all" else [name])]
    probes = (
        [_over(found, grid) for found in quick()] if names is None else [probe(n, grid) for n in dict.fromkeys(named)]
    )
    fit = [found for found in probes if (found.causal or not causal) and (found.chat or not chat)]
    if len(fit) < len(probes) and names is not None and "all" not in names:
        unfit = next(found.name for found in probes if found not in fit)
        legal = ", ".join(
            name for name, kind in kinds().items() if (kind.causal or not causal) and (kind.chat or not chat)
        )
        raise ValueError(f"probe {unfit!r} does not fit {'a causal model' if causal else 'a chat'}; take of {legal}")
    if grid is not None and not any(isinstance(found, OverMasks) for found in fit):
        raise ValueError(f"no probe varies the number of masks: {', '.join(found.name for found in fit)}")
    return fit
