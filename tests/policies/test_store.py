"""Policies on disk: what was saved is what is loaded, and what is wrong is named."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.policies.observations import awake, made_up
from unveil.policies.store import SHIPPED, load_policy, locate_policy, save_policy, shipped_policies

FULL = {"top": 2, "entropy": True, "alpha": True, "view": "block", "rate": 0.2}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_saved_is_loaded(tmp_path: Path, dtype: torch.dtype) -> None:
    net, seen = awake(dtype=dtype, **FULL), made_up([4, 7], [1, 0], 9, features=3, dtype=dtype)
    save_policy(net.requires_grad_(False), tmp_path / "a" / "b")
    again = load_policy(tmp_path / "a" / "b")
    assert again.settings == net.settings and again.dtype == dtype and torch.equal(again(seen), net(seen))
    assert all(torch.equal(mine, net.state_dict()[name]) for name, mine in again.state_dict().items())
    assert not any(weight.requires_grad for weight in again.parameters()) and not again.training
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == ["policy.json", "policy.safetensors"]


def setting(name: str, value: object) -> Callable[[Path], None]:
    """Change one setting in the saved file; None takes it out."""

    def change(folder: Path) -> None:
        values = json.loads((folder / "policy.json").read_text())
        values.pop(name, None)
        (folder / "policy.json").write_text(json.dumps(values if value is None else {**values, name: value}))

    return change


def weight(name: str, value: torch.Tensor | None) -> Callable[[Path], None]:
    """Change one weight in the saved file; None takes it out."""

    def change(folder: Path) -> None:
        values = load_file(folder / "policy.safetensors")
        values.pop(name, None)
        save_file(values if value is None else {**values, name: value}, folder / "policy.safetensors")

    return change


NAMES = "width, feed_width, heads, layers, top, entropy, margin, view, rate, alpha"
SHAPE = "output.bias are missing, surplus or of another shape than policy.json says"
ERRORS: list[tuple[Callable[[Path], object], str]] = [
    (lambda folder: (folder / "policy.json").unlink(), " has no policy.json: give a folder that a policy was saved in"),
    (
        lambda folder: (folder / "policy.safetensors").unlink(),
        " has no policy.safetensors: give a folder that a policy was saved in",
    ),
    (lambda folder: (folder / "policy.json").write_text("{"), "policy.json is not valid JSON"),
    (setting("policy", "hidden"), "policy.json: policy 'hidden' is unknown, known is confidence"),
    (setting("width", None), f"policy.json: missing or surplus settings width: it must have {NAMES}"),
    (setting("depth", 3), f"policy.json: missing or surplus settings depth: it must have {NAMES}"),
    (setting("width", "128"), "policy.json: width='128' is of the wrong kind: save the policy again"),
    (setting("heads", True), "policy.json: heads=True is of the wrong kind: save the policy again"),
    (setting("rate", 1.5), "policy.json: rate=1.5 is outside (0, 1): it is the probability that a mask opens"),
    (
        lambda folder: (folder / "policy.safetensors").write_bytes(b"\0" * 9),
        "policy.safetensors is not a whole safetensors file",
    ),
    (weight("output.bias", None), f"policy.safetensors: {SHAPE}"),
    (weight("output.bias", torch.zeros(2)), f"policy.safetensors: {SHAPE}"),
    (
        weight("output.bias", torch.tensor([float("nan")])),
        "policy.safetensors: output.bias holds NaN or infinite weights: the policy is damaged",
    ),
]


@pytest.mark.parametrize("damage, message", ERRORS, ids=[message[:60] for _, message in ERRORS])
def test_what_is_wrong_with_a_folder_is_named(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    save_policy(awake(), tmp_path)
    damage(tmp_path)
    with pytest.raises(ValueError) as caught:
        load_policy(tmp_path)
    assert str(caught.value).startswith(str(tmp_path)) and message in str(caught.value)


def test_a_path_or_a_name(tmp_path: Path) -> None:
    assert locate_policy(path=str(tmp_path), name=None) == tmp_path
    for name, folder in shipped_policies().items():
        assert locate_policy(path=None, name=name) == folder == SHIPPED / name


NEITHER = [
    (None, None, "a policy needs path=FOLDER or name=NAME: got neither path nor name"),
    ("a", "b", "a policy needs path=FOLDER or name=NAME: got path and name, which exclude each other"),
]


@pytest.mark.parametrize("path, name, message", NEITHER)
def test_one_of_both_is_needed(path: str | None, name: str | None, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        locate_policy(path=path, name=name)
    assert str(caught.value) == message


def test_a_name_that_is_not_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unveil.policies.store.SHIPPED", tmp_path)
    with pytest.raises(ValueError) as caught:
        locate_policy(path=None, name="sums")
    assert str(caught.value) == ("no shipped policy 'sums': no policy is shipped yet, give path=FOLDER of a saved one")
    save_policy(awake(), tmp_path / "lab-sums")
    with pytest.raises(ValueError) as caught:
        locate_policy(path=None, name="sums")
    assert str(caught.value) == "no shipped policy 'sums': did you mean 'lab-sums'? known are lab-sums"
    assert locate_policy(path=None, name="lab-sums") == tmp_path / "lab-sums"
