"""Tokenizers that come with small models, and files that are none."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors

from tests.chats import ALPHABET as LETTERS
from tests.chats import SPECIAL as MARKS
from tests.chats import chat_folder
from tests.checkpoints.byte_pairs import FIRST, MERGES, PLAIN, SPECIAL, byte_pair_folder, dream_folder
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.tokenizer import Codec, FileTokenizer
from unveil.decoding.loading import load

TOKENIZER_OF_CHATS = FileTokenizer.characters(LETTERS, MARKS)
CHATML = "{% for m in messages %}{{ '<|im_start|>' + m.content + '<|im_end|>\n' }}{% endfor %}"
ALPHABET = "\n=01234 "
TOKENIZER = FileTokenizer.characters(ALPHABET, ["[EOS]", "[MASK]"])


@given(st.text(alphabet=ALPHABET, max_size=20))
def test_text_there_and_back(text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert ids == [ALPHABET.index(character) for character in text] and TOKENIZER.decode(ids) == text


def test_special_tokens_are_one_id_and_left_out_of_text(tmp_path: Path) -> None:
    assert TOKENIZER.encode("1[MASK]2[EOS]") == [3, 9, 4, 8] and TOKENIZER.decode([3, 9, 4, 8]) == "12"
    assert isinstance(TOKENIZER, Codec)
    TOKENIZER.save(tmp_path / "tokenizer.json")
    again = FileTokenizer.load(tmp_path / "tokenizer.json")
    assert again.encode("1[MASK]2[EOS]") == [3, 9, 4, 8] and again.decode([0, 1, 2]) == "\n=0"


def test_what_cannot_be_written_is_named() -> None:
    with pytest.raises(ValueError, match=r"the model's vocabulary cannot write '12x' \(.*\): use its characters"):
        TOKENIZER.encode("12x")


@pytest.mark.parametrize("text", ["", "{}", "no json"])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(ValueError, match=r"tokenizer\.json is not a tokenizer file \(.*\): download it again"):
        FileTokenizer.load(tmp_path / "tokenizer.json")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return byte_pair_folder(tmp_path_factory.mktemp("pairs"))


TEXTS = st.lists(
    st.sampled_from(
        [*SPECIAL, PLAIN, "hello", " world", "'s", "'Sa", "123", "\n\n", "\r\n", "  ", "\t", "e\u0301", "é"]
    )
    | st.text(max_size=4)
).map("".join)


@settings(max_examples=150)
@given(text=TEXTS)
def test_byte_pairs_are_what_transformers_reads_from_the_same_files(pairs: Path, text: str) -> None:
    ours, theirs = byte_pairs_of(pairs)
    ids = theirs(text)["input_ids"]
    assert ours.encode(text) == ids
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)


@cache
def byte_pairs_of(folder: Path) -> tuple[FileTokenizer, Any]:
    from transformers import Qwen2Tokenizer

    return Folder(folder).tokenizer, Qwen2Tokenizer.from_pretrained(folder)


def test_byte_pairs_by_hand(pairs: Path) -> None:
    tokenizer = Folder(pairs).tokenizer
    assert tokenizer.encode("<|im_start|>hello<|im_end|>") == [FIRST + 1, 256 + 3, FIRST + 2]
    assert tokenizer.encode("<|mask|>") == [FIRST + 4] and tokenizer.encode(PLAIN) == [FIRST + 5]
    assert tokenizer.decode([FIRST, 256 + 3, FIRST + 5, FIRST + 99]) == "hello" + PLAIN  # no token has the last id
    assert [tokenizer.is_special(FIRST + n) for n in (0, 4, 5, 6)] == [True, True, False, False]
    assert tokenizer.front == () and not tokenizer.is_special(0)


def test_what_goes_in_front(pairs: Path, tmp_path: Path) -> None:
    """As the post-processor says, which may add an end too; where there is none, as tokenizer_config.json says."""
    assert Folder(byte_pair_folder(tmp_path / "pairs", add_bos_token=True)).tokenizer.front == (FIRST + 3,)
    folder = chat_folder(tmp_path / "bare", add_bos_token=True)
    (bos,) = TOKENIZER_OF_CHATS.encode("<bos>")
    assert Folder(folder).tokenizer.front == (bos,)
    assert Folder(chat_folder(tmp_path / "front", front=True, add_bos_token=False)).tokenizer.front == (bos,)
    tokenizer = Folder(folder).tokenizer
    tokenizer.tokenizer.post_processor = processors.ByteLevel()
    tokenizer.save(folder / "tokenizer.json")
    assert Folder(folder).tokenizer.front == ()
    assert Folder(chat_folder(tmp_path / "none", add_bos_token=False)).tokenizer.front == ()
    assert Folder(chat_folder(tmp_path / "unnamed", add_bos_token=True, bos_token=None)).tokenizer.front == ()


def test_a_byte_pair_model_is_loaded_by_its_folder(tmp_path: Path) -> None:
    """As Dream's: the mask in its place, turns end where the template ends them; other words are another model."""
    folder = dream_folder(tmp_path, chat_template=CHATML)
    model = load(folder, device="cpu")
    assert model.end_ids == (FIRST,) and model.ends == (FIRST, FIRST + 2)
    assert model.ids(model.asked("hello")) == model.tokenizer.encode("<|im_start|>hello<|im_end|>\n")
    with pytest.raises(ValueError, match=f"prompt 0 contains the mask id {FIRST + 4} at position 1"):
        model.canvas("a<|mask|>", new_tokens=4)
    (folder / "merges.txt").write_text("\n".join(MERGES[:-1]))
    assert load(folder, device="cpu").revision != model.revision


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no merges": (lambda folder: (folder / "merges.txt").unlink(), " has no tokenizer.json: text needs one, or vocab"),
    "bad merges": (lambda folder: (folder / "merges.txt").write_text("x"), ": vocab.json and merges.txt do not fit ("),
    "no settings": (lambda folder: (folder / "tokenizer_config.json").unlink(), " has no tokenizer.json, and vocab.json"
                    " of a None; known are Qwen2Tokenizer, Qwen2TokenizerFast, DreamTokenizer: save it once with"),
    "another class": (lambda folder: byte_pair_folder(folder, tokenizer_class="GPT2Tokenizer"), " has no "
                      "tokenizer.json, and vocab.json of a GPT2Tokenizer; known are "),
    "no added tokens": (lambda folder: byte_pair_folder(folder, added_tokens_decoder={}), "/tokenizer_config.json has "
                        "no added_tokens_decoder, the special tokens: save it once with transformers'"),
    "a gap": (lambda folder: byte_pair_folder(folder, added_tokens_decoder={"999": {"content": "<x>"}}), ": '<x>' is "
              f"999 in tokenizer_config.json, after vocab.json comes {FIRST}: save it once with"),
}  # fmt: skip


@pytest.mark.parametrize(("harm", "fault"), BROKEN.values(), ids=BROKEN)
def test_broken_byte_pairs_are_explained(tmp_path: Path, harm: Callable[[Path], object], fault: str) -> None:
    harm(byte_pair_folder(tmp_path))
    with pytest.raises(ValueError) as caught:
        assert Folder(tmp_path).tokenizer
    assert str(caught.value).startswith(f"{tmp_path}{fault}")


def test_brackets_in_a_name_are_only_shown(tmp_path: Path) -> None:
    file = tmp_path / "{0}{x}.json"
    file.write_text("{}")
    with pytest.raises(ValueError, match=r"\{0\}\{x\}\.json is not a tokenizer file"):
        FileTokenizer.load(file)
    with pytest.raises(ValueError, match=r"^the model's vocabulary cannot write '\{0\}' \("):
        TOKENIZER.encode("{0}")
