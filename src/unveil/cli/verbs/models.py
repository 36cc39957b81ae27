"""unveil models: what comes with the package."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from unveil.terminal import out, plain, table

if TYPE_CHECKING:
    from rich.table import Table


def models() -> None:
    """List the models that come with the package.

    Every other verb takes such a name, a folder, or a Hugging Face repository as its MODEL.

    Example: unveil models
    """
    from unveil.checkpoints.folder import lab_models
    from unveil.policies.store import shipped_policies

    found = lab_models()
    if not found:
        out().print("No model comes with this copy of the package; `unveil train` makes one.")
        return
    out().print(models_table(found))
    for name, folder in shipped_policies().items():
        card = _card(folder)
        made = f"{plain(str(card.get('base', '-')))} on {plain(str(card.get('task', '-')))}"
        out().print(f"policy for {made}: --sampler policy:name={plain(name)}", soft_wrap=True)
    first = next(iter(found))
    out().print(f"\nTry: unveil demo, or: unveil decode {first} PROMPT --watch", style="dim", soft_wrap=True)


def models_table(found: "dict[str, Path]") -> "Table":
    """A line per model; what its card does not say is '-'."""
    shown = table("model", "parameters", "size", "<layout", "<trained for", "accuracy", "<recipe")
    for name, folder in found.items():
        card = _card(folder)
        accuracy = card.get("accuracy")
        shown.add_row(
            name,
            _parameters(folder, card),
            f"{sum(path.stat().st_size for path in folder.glob('*.safetensors')) / 1e6:.1f} MB",
            plain(_layout(folder)),
            plain(str(card.get("task", "-"))),
            f"{accuracy:.1%}" if isinstance(accuracy, int | float) else plain(str(accuracy or "-")),
            plain(str(card.get("recipe", "-"))),
        )
    return shown


def _card(folder: "Path") -> dict[str, Any]:
    from unveil.files import read_settings

    return read_settings(folder / "card.json")


def _layout(folder: "Path") -> str:
    from unveil.checkpoints.folder import Folder

    return str(Folder(folder).config.get("model_type", "-"))


def _parameters(folder: "Path", card: dict[str, Any]) -> str:
    count = card.get("parameters")
    if not isinstance(count, int | float):
        count = sum(_num_weights(path) for path in folder.glob("*.safetensors"))
    return f"{count / 1e6:.2f} M"


def _num_weights(path: "Path") -> int:
    from math import prod

    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return sum(prod(file.get_slice(name).get_shape()) for name in file.keys())
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}): install the package again") from None
