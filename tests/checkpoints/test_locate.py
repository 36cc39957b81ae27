"""Where models are, what they run on, and the clear answer where there is none."""

from pathlib import Path

import pytest
import torch

from tests.toy import toy
from unveil.checkpoints import folder as locating
from unveil.checkpoints.families.llada import LLADA
from unveil.checkpoints.folder import commit_of, fingerprint, lab_models, locate, place
from unveil.checkpoints.weights import save_checkpoint


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lab of two models and a folder that is none."""
    for name in ("lab-one", "lab-two"):
        (tmp_path / "lab" / name).mkdir(parents=True)
        (tmp_path / "lab" / name / "config.json").write_text("{}")
    (tmp_path / "lab" / "__pycache__").mkdir()
    monkeypatch.setattr(locating, "LAB", tmp_path / "lab")
    monkeypatch.setattr(
        locating, "_download", lambda name, revision, files: Path("hub") / name / str(revision) / str("*.py" in files)
    )
    return tmp_path / "lab"


def test_a_name_is_a_shipped_model_a_folder_or_a_repository(lab: Path) -> None:
    assert list(lab_models()) == ["lab-one", "lab-two"]
    assert locate("lab-one") == lab / "lab-one" and locate(str(lab)) == lab
    assert locate("owner/model") == Path("hub/owner/model/None/False")
    assert locate("owner/model", "v1") == Path("hub/owner/model/v1/False")
    assert locate("owner/model", code=True) == Path("hub/owner/model/None/True")


@pytest.mark.parametrize(
    "name, hint", [("lab-onne", "did you mean 'lab-one'?"), ("zzz", "shipped are lab-one, lab-two"), ("./a", "shipped")]
)
def test_no_model_is_explained(lab: Path, name: str, hint: str) -> None:
    with pytest.raises(ValueError) as caught:
        locate(name)
    start = f"no model {name!r}: give a shipped model, a folder, or a hub repository owner/name; "
    assert str(caught.value).startswith(start + hint)


def test_a_fingerprint_is_of_weights_and_config(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        save_checkpoint(toy(seed=seed, dtype=torch.float32), tmp_path / name, LLADA)
    (tmp_path / "b" / "readme.txt").write_text("something else")
    prints = [fingerprint(tmp_path / name) for name in "abc"]
    assert prints[0] == prints[1] != prints[2] and len(prints[0]) == 12
    config = tmp_path / "b" / "config.json"
    config.write_text(config.read_text().replace('"rope_theta": ', '"rope_theta": 1'))
    assert fingerprint(tmp_path / "b") != prints[0]


def test_places() -> None:
    assert place("cpu") == place("cpu:0") == (torch.device("cpu"), torch.float32)
    assert place("cpu", "bfloat16") == (torch.device("cpu"), torch.bfloat16)
    assert place("meta") == (torch.device("meta"), None)


def test_wrong_places_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert place() == (torch.device("cpu"), torch.float32)
    for device, dtype, message in (
        ("cpu", "int8", "dtype 'int8' is unknown: choose one of float32, float64, bfloat16, float16"),
        ("gpu", None, "device 'gpu' is unknown: use cpu, cuda, cuda:1 or mps"),
        ("cuda", None, "device 'cuda' asks for a GPU and torch sees none: use cpu, or install torch for CUDA"),
    ):
        with pytest.raises(ValueError) as caught:
            place(device, dtype)
        assert str(caught.value) == message


def test_the_commit_of_a_hub_repository_is_its_folder_in_the_cache() -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert commit_of(Path("hub/models--owner--name/snapshots") / commit) == commit
    assert commit_of(Path("runs/model")) is None
