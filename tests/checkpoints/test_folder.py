"""A checkpoint's folder as a value: where it is, what it says, read once and only when asked, and what is wrong."""

import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.chats import TEMPLATES, chat_folder
from tests.checkpoints.byte_pairs import dream_folder
from tests.checkpoints.published import set_config
from tests.toy import toy
from unveil.checkpoints import folder as home
from unveil.checkpoints import hub, shards
from unveil.checkpoints.families.llada import LLADA
from unveil.checkpoints.folder import Folder, changed, lab_models
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.checkpoints.weights import save_checkpoint
from unveil.decoding.loading import load
from unveil.files import write_json
from unveil.models.tensors import place


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lab of two models and a folder that is none."""
    for name in ("lab-one", "lab-two"):
        (tmp_path / "lab" / name).mkdir(parents=True)
        (tmp_path / "lab" / name / "config.json").write_text("{}")
    (tmp_path / "lab" / "__pycache__").mkdir()
    monkeypatch.setattr(home, "LAB", tmp_path / "lab")
    monkeypatch.setattr(
        hub, "_download", lambda name, revision, files: Path("hub") / name / str(revision) / str("*.py" in files)
    )
    return tmp_path / "lab"


def test_a_name_is_a_shipped_model_a_folder_or_a_repository(lab: Path) -> None:
    assert list(lab_models()) == ["lab-one", "lab-two"]
    assert Folder.named("lab-one") == Folder(lab / "lab-one")
    assert Folder.named(str(lab)) == Folder.named(lab) == Folder(lab)
    assert Folder.named("owner/model") == Folder(Path("hub/owner/model/None/False"))
    assert Folder.named("owner/model", "v1") == Folder(Path("hub/owner/model/v1/False"))
    assert Folder.named("owner/model", code=True) == Folder(Path("hub/owner/model/None/True"))


@pytest.mark.parametrize(
    "name, hint", [("lab-onne", "did you mean 'lab-one'?"), ("zzz", "shipped are lab-one, lab-two"), ("./a", "shipped")]
)
def test_no_model_is_explained(lab: Path, name: str, hint: str) -> None:
    with pytest.raises(ValueError) as caught:
        Folder.named(name)
    start = f"no model {name!r}: give a shipped model, a folder, or a hub repository owner/name; "
    assert str(caught.value).startswith(start + hint)


def made(folder: Path, *, shard: str | None = None, seed: int = 0) -> Path:
    """A whole folder, with a chat template and a card; its weights in several files where `shard` is given."""
    chat_folder(folder, TEMPLATES["llada"])
    save_checkpoint(toy(seed=seed, dtype=torch.float32), folder, LLADA, shard=shard)
    write_json(folder / "card.json", {"seed": seed})
    return folder


READS: dict[str, tuple[Callable[[Folder], Any], set[str]]] = {  # what is asked for, and all that is opened for it
    "config": (lambda folder: folder.config, {"config.json"}),
    "layout": (lambda folder: folder.layout, {"config.json"}),
    "generation": (lambda folder: folder.generation, {"generation_config.json"}),
    "new tokens": (lambda folder: folder.new_tokens, {"generation_config.json"}),
    "end ids": (lambda folder: folder.end_ids, {"generation_config.json"}),
    "card": (lambda folder: folder.card, {"card.json"}),
    "tokenizer settings": (lambda folder: folder.tokenizer_settings, {"tokenizer_config.json"}),
    "special tokens": (lambda folder: folder.special, {"tokenizer_config.json"}),
    "tokenizer": (lambda folder: folder.tokenizer, {"tokenizer.json", "tokenizer_config.json"}),
    "chat": (lambda folder: folder.chat, {"chat_template.jinja", "tokenizer_config.json"}),
    "weights": (lambda folder: folder.weights, {"model.safetensors.index.json"}),
    "dtype": (lambda folder: folder.stored_dtype, {"model.safetensors.index.json", "model-00001-of-00003.safetensors"}),
    "commit": (lambda folder: folder.commit, set()),
}


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file there is opened from now on; tokenizers and safetensors open theirs themselves."""
    counts = Counter[str]()

    def counting(plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *given: Any, **more: Any) -> Any:
            if isinstance(path, str | Path) and Path(path).parent == tmp_path:
                counts[Path(path).name] += 1
            return plain(path, *given, **more)

        return call

    monkeypatch.setattr(io, "open", counting(io.open))  # pathlib's
    monkeypatch.setattr(FileTokenizer, "load", counting(FileTokenizer.load))
    monkeypatch.setattr(shards, "open_tensors", counting(shards.open_tensors))
    return counts


@pytest.mark.parametrize("name", READS)
def test_nothing_else_is_read_than_what_is_asked_for(name: str, tmp_path: Path, opened: Counter[str]) -> None:
    """Everything else may be broken."""
    ask, files = READS[name]
    made(tmp_path, shard="40KB")
    assert len(list(tmp_path.glob("model-*-of-00003.safetensors"))) == 3
    for path in tmp_path.iterdir():
        if path.name not in files:
            path.write_bytes(b"\xff{")
    opened.clear()
    folder = Folder(tmp_path)
    assert not opened
    ask(folder)
    assert set(opened) == files and set(opened.values()) <= {1}


def test_each_file_is_read_once(tmp_path: Path, opened: Counter[str]) -> None:
    """However much is asked for, however often, and although the files are gone by then."""
    folder = Folder(made(tmp_path))
    opened.clear()
    kept = ("config", "generation", "card", "layout", "tokenizer_settings", "special", "tokenizer", "chat", "weights")
    derived = ("new_tokens", "end_ids", "mask_id", "fingerprint", "commit")
    first = {name: getattr(folder, name) for name in (*kept, *derived)}
    once = ("generation_config.json", "card.json", "tokenizer_config.json", "chat_template.jinja")
    assert [opened[name] for name in once] == [1] * 4
    for path in tmp_path.iterdir():
        path.unlink()
    opened.clear()
    assert all(getattr(folder, name) is first[name] for name in kept) and folder.fingerprint == first["fingerprint"]
    assert folder.laid_out("bidirectional") == first["layout"] and folder.asked_in_chat() is first["chat"]
    assert (folder.new_tokens, folder.end_ids) == (first["new_tokens"], first["end_ids"])
    assert not opened
    with pytest.raises(ValueError, match="has no config.json: give a folder that holds a published checkpoint"):
        assert Folder(tmp_path).config  # another value reads anew


def test_a_model_is_loaded_with_one_look_at_each_file(tmp_path: Path, opened: Counter[str]) -> None:
    made(tmp_path)
    opened.clear()
    load(tmp_path, device="cpu")
    twice = {"config.json": 2, "tokenizer.json": 2}  # for what they say, and for the fingerprint
    once = ("generation_config.json", "tokenizer_config.json", "chat_template.jinja")
    assert opened == twice | dict.fromkeys(once, 1) | {"model.safetensors": 3}  # names, weights, fingerprint


def test_a_folder_is_a_value(tmp_path: Path) -> None:
    one, same = Folder(tmp_path), Folder(tmp_path)
    assert one == same and hash(one) == hash(same) and str(one) == str(tmp_path) and one != Folder(tmp_path / "other")
    with pytest.raises(AttributeError):
        one.path = tmp_path / "other"  # type: ignore[misc]


def spoil(path: Path) -> None:
    """Change the last weight of a file; its size stays."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_fingerprint_is_of_weights_and_config(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        save_checkpoint(toy(seed=seed, dtype=torch.float32), tmp_path / name, LLADA)
    (tmp_path / "b" / "readme.txt").write_text("something else")
    prints = [Folder(tmp_path / name).fingerprint for name in "abc"]
    assert prints[0] == prints[1] != prints[2] and len(prints[0]) == 12
    config = tmp_path / "b" / "config.json"
    config.write_text(config.read_text().replace('"rope_theta": ', '"rope_theta": 1'))
    assert Folder(tmp_path / "b").fingerprint != prints[0]


def test_a_fingerprint_is_of_every_file_that_the_index_names(tmp_path: Path) -> None:
    """Whatever they are called; and of no other weights, even where others lie there."""
    made(tmp_path, shard="40KB")
    odd = tmp_path / "part.safetensors"
    (tmp_path / "model-00002-of-00003.safetensors").rename(odd)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("model-00002-of-00003", "part"))
    prints = [Folder(tmp_path).fingerprint]
    for path in Folder(tmp_path).weights:
        spoil(path)
        prints.append(Folder(tmp_path).fingerprint)
    assert len(prints) == len(set(prints)) == 4
    for name in ("model-00004-of-00004.safetensors", "adapter_model.safetensors"):
        save_file({"x": torch.zeros(1)}, tmp_path / name)
    assert Folder(tmp_path).fingerprint == prints[-1]


def test_a_fingerprint_is_of_the_vocabulary_that_is_loaded(tmp_path: Path) -> None:
    """tokenizer.json where there is one; else the words and their pairs."""
    pairs, whole = dream_folder(tmp_path / "pairs"), made(tmp_path / "whole")
    before = {folder: Folder(folder).fingerprint for folder in (pairs, whole)}
    for folder, files in ((pairs, ("vocab.json", "merges.txt")), (whole, ("tokenizer.json",))):
        for name in files:
            (folder / name).write_text((folder / name).read_text("utf-8") + "\n", "utf-8")
            assert Folder(folder).fingerprint != before[folder]
            before[folder] = Folder(folder).fingerprint
    for name in ("vocab.json", "merges.txt", "chat_template.jinja", "generation_config.json", "card.json"):
        (whole / name).write_text("{}")
    assert Folder(whole).fingerprint == before[whole]


def test_the_fingerprint_of_a_changed_model_is_another() -> None:
    prints = [changed("a", None, None), changed("a", "b", None), changed("a", None, 8), changed("a", "b", 8)]
    assert prints[0] == "a" and len(set(prints)) == 4 and {len(one) for one in prints[1:]} == {12}


@pytest.mark.parametrize(("given", "count"), [({}, 128), ({"max_new_tokens": None}, 128), ({"max_new_tokens": 5}, 5)])
def test_how_many_new_tokens_where_nothing_is_said(given: dict[str, Any], count: int, tmp_path: Path) -> None:
    write_json(tmp_path / "generation_config.json", given)
    assert Folder(tmp_path).new_tokens == count
    (tmp_path / "generation_config.json").unlink()
    assert Folder(tmp_path).new_tokens == 128 and Folder(tmp_path).end_ids == ()


@pytest.mark.parametrize("value", ["8", 0, -1, 1.5, True, [8]])
def test_a_number_of_new_tokens_that_is_none_is_refused_by_name(value: Any, tmp_path: Path) -> None:
    write_json(made(tmp_path) / "generation_config.json", {"max_new_tokens": value})
    for read in (lambda: Folder(tmp_path).new_tokens, lambda: load(tmp_path, device="cpu")):
        with pytest.raises(ValueError) as caught:
            read()
        assert str(caught.value) == (
            f"{tmp_path}/generation_config.json: max_new_tokens={value!r} is no whole number of at least 1: correct it"
        )


@pytest.mark.parametrize(("given", "ids"), [(None, ()), (3, (3,)), ([3, 5], (3, 5)), ([], ())])
def test_end_ids(given: Any, ids: tuple[int, ...], tmp_path: Path) -> None:
    write_json(tmp_path / "generation_config.json", {"eos_token_id": given})
    assert Folder(tmp_path).end_ids == ids


def test_the_mask_token_that_a_tokenizer_names(tmp_path: Path) -> None:
    made(tmp_path)
    assert Folder(tmp_path).mask_id is None
    for name, token in (("special_tokens_map.json", "<start>"), ("tokenizer_config.json", {"content": "[MASK]"})):
        write_json(tmp_path / name, {"mask_token": token})
        folder = Folder(tmp_path)
        text = token if isinstance(token, str) else token["content"]
        assert [folder.mask_id] == folder.tokenizer.encode(text)
    assert folder.with_mask({"mask_token_id": 3}) == {"mask_token_id": 3}
    assert folder.with_mask({}) == folder.with_mask({"mask_token_id": None}) == {"mask_token_id": folder.mask_id}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_the_dtype_on_disk(dtype: torch.dtype, tmp_path: Path) -> None:
    for shard in (None, "40KB"):
        save_checkpoint(toy(), tmp_path, LLADA, dtype=dtype, shard=shard)
        assert Folder(tmp_path).stored_dtype == dtype


def written(name: str, text: str | bytes) -> Callable[[Path], object]:
    content = text.encode() if isinstance(text, str) else text
    return lambda folder: (folder / name).write_bytes(content)


def in_settings(template: Any) -> Callable[[Path], object]:
    """The chat template not in a file of its own."""

    def move(folder: Path) -> None:
        (folder / "chat_template.jinja").unlink()
        write_json(folder / "tokenizer_config.json", {"chat_template": template})

    return move


TEMPLATE = "FOLDER/tokenizer_config.json: chat_template is neither a text nor a list of named ones: download it again"
NO_MAP = "FOLDER/model.safetensors.index.json has no weight_map: download it again"
NO_IDS = "is neither a token's id nor a list of ids: correct it"
BROKEN: dict[str, tuple[Callable[[Path], object], Callable[[Folder], Any], str]] = {
    "no config": (
        lambda path: (path / "config.json").unlink(), lambda folder: folder.config, "FOLDER has no config.json: give"
    ),
    "config": (written("config.json", "{"), lambda folder: folder.layout, "FOLDER/config.json is not valid JSON ("),
    "model_type": (
        written("config.json", '{"model_type": []}'), lambda folder: folder.layout,
        "FOLDER: model_type [] is unknown, known are Dream, ",
    ),
    "ends of the config": (
        lambda path: set_config(path, eos_token_id="a"), lambda folder: folder.layout,
        f"config.json: eos_token_id='a' {NO_IDS}",
    ),
    "generation": (
        written("generation_config.json", "[]"), lambda folder: folder.generation,
        "FOLDER/generation_config.json is not a JSON object: download it again",
    ),
    "end ids": (
        written("generation_config.json", '{"eos_token_id": [3, "</s>"]}'), lambda folder: folder.end_ids,
        f"FOLDER/generation_config.json: eos_token_id=[3, '</s>'] {NO_IDS}",
    ),
    "card": (written("card.json", "x"), lambda folder: folder.card, "FOLDER/card.json is not valid JSON ("),
    "special tokens": (
        written("special_tokens_map.json", "x"), lambda folder: folder.special,
        "FOLDER/special_tokens_map.json is not valid JSON (",
    ),
    "tokenizer settings": (
        written("tokenizer_config.json", b"\xff"), lambda folder: folder.tokenizer,
        "FOLDER/tokenizer_config.json is not valid JSON (",
    ),
    "tokenizer": (
        written("tokenizer.json", "{}"), lambda folder: folder.tokenizer,
        "FOLDER/tokenizer.json is not a tokenizer file (",
    ),
    "no tokenizer": (
        lambda path: (path / "tokenizer.json").unlink(), lambda folder: folder.tokenizer,
        "FOLDER has no tokenizer.json: text needs one, or vocab.json and merges.txt; ",
    ),
    "chat": (
        written("chat_template.jinja", b"\xff"), lambda folder: folder.chat,
        "FOLDER/chat_template.jinja is not text in UTF-8 (",
    ),
    "chat in the settings": (in_settings(3), lambda folder: folder.chat, TEMPLATE),
    "chats in the settings": (in_settings(["a"]), lambda folder: folder.chat, TEMPLATE),
    "no chat": (
        lambda path: (path / "chat_template.jinja").unlink(), lambda folder: folder.asked_in_chat(),
        "FOLDER has no chat template: put its chat_template.jinja there, or use prompts without chat",
    ),
    "index": (written("model.safetensors.index.json", "{}"), lambda folder: folder.weights, NO_MAP),
    "names in the index": (
        written("model.safetensors.index.json", '{"weight_map": {"a": 3}}'), lambda folder: folder.weights, NO_MAP
    ),
    "weights": (
        written("model.safetensors", "x"), lambda folder: folder.stored_dtype,
        "FOLDER/model.safetensors is not a whole safetensors file (",
    ),
    "no weights": (
        lambda path: (path / "model.safetensors").unlink(), lambda folder: folder.stored_dtype,
        "FOLDER/model.safetensors does not exist: the checkpoint is incomplete, download it again",
    ),
    "empty weights": (
        lambda path: save_file({}, path / "model.safetensors"), lambda folder: folder.stored_dtype,
        "FOLDER/model.safetensors holds no weights: download it again",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("harm", "ask", "message"), BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_is_named_with_its_file(
    harm: Callable[[Path], object], ask: Callable[[Folder], Any], message: str, tmp_path: Path
) -> None:
    ask(Folder(made(tmp_path)))  # before
    harm(tmp_path)
    with pytest.raises(ValueError) as caught:
        ask(Folder(tmp_path))
    assert str(caught.value).replace(str(tmp_path), "FOLDER").startswith(message)


def test_weights_are_the_files_that_the_index_names(tmp_path: Path) -> None:
    made(tmp_path)
    assert Folder(tmp_path).weights == (tmp_path / "model.safetensors",)
    made(tmp_path, shard="40KB")
    names = [f"model-{number:05d}-of-00003.safetensors" for number in (1, 2, 3)]
    assert Folder(tmp_path).weights == tuple(tmp_path / name for name in names)
    assert all(load_file(path) for path in Folder(tmp_path).weights)


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
    assert Folder(Path("hub/models--owner--name/snapshots") / commit).commit == commit
    assert Folder(Path("runs/model")).commit is None
