"""Damaged folders: a good one with one of its JSON files changed, read as `unveil decode` reads it.

`python -m tests.checkpoints.hostile EXAMPLES READER...` prints how many cases each reader had; the first that ends
otherwise than in ValueError or OSError is its error. Run it in a child with limits (`tried`).
"""

import json
import os
import struct
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.chats import TEMPLATES, chat_folder, put_in_front
from tests.checkpoints.byte_pairs import dream_folder
from tests.checkpoints.published import published
from tests.checkpoints.test_hf import theirs
from tests.limits import limited, within
from tests.toy import toy
from tests.training.folder import CODEC
from unveil.checkpoints.families.dream import DREAM
from unveil.checkpoints.families.llada import LLADA
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.checkpoints.weights import save_checkpoint
from unveil.decoding.loading import load

Reader = Callable[[Path, Any], None]  # makes its good files in a folder, and hands cases of them to the function
CASES = int(os.environ.get("UNVEIL_CASES", "12"))  # of each reader
MANY = 50
SECONDS = 60  # for a case; a template has five of its own
DEEP: Any = "<deep>"  # stands for a list that is nested too deeply to be made here
WRONG = [
    None, True, False, "", "x", "\ud800", "../x", -1, 0, 1, 2, 3, 1.5, 1e12, -1e308, float("inf"), float("nan"), 2**31,
    2**63, 10**30, [], {}, [[]], [None], ["x", 3], {"x": 1}, {"content": 3}, [10**12], DEEP,
]  # fmt: skip
NAMES = [
    "clip_qkv", "block_size", "sliding_window", "rope_scaling", "rope_parameters", "quantization_config", "num_experts",
    "is_causal", "head_dim", "mask_token_id", "eos_token_id", "n_kv_heads", "mlp_ratio", "multi_query_attention",
    "layer_types", "max_new_tokens", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
    "rank_pattern", "alpha_pattern", "add_bos_token", "mask_token", "chat_template", "auto_map", "architectures",
]  # fmt: skip


def places(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a JSON value something may be changed; of long lists and objects the first ones."""
    found = []
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in list(pairs)[:60]:
        found += [(*before, name), *places(inner, (*before, name))]
    return found


def changed(value: Any, place: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    """A copy with another value at the place; `KeyError` of the change drops it."""
    first, *rest = place
    copy = dict(value) if isinstance(value, dict) else list(value)
    try:
        copy[first] = changed(copy[first], tuple(rest), change) if rest else change(copy[first])
    except KeyError:
        del copy[first]
    return copy


def dropped(value: Any) -> Any:
    raise KeyError


def negated(value: Any) -> Any:
    return -value if isinstance(value, int | float) else not value


def enlarged(value: Any) -> Any:
    if isinstance(value, str | list):
        return value * (1000 if len(value) < 1000 else 1)
    return 10**9 * (value or 1) if isinstance(value, int | float) else [value]


def nested(value: Any) -> Any:
    return {"x": [value]}


def other(wrong: Any, value: Any) -> Any:
    return wrong


CHANGES = {"drop": dropped, "negate": negated, "enlarge": enlarged, "nest": nested}


@st.composite
def damaged(draw: st.DrawFn, good: dict[str, Any]) -> str:
    """The JSON text of a good object after up to three changes."""
    value: Any = good
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["drop", "retype", "retype", "negate", "enlarge", "nest", "add"]))
        if kind == "add" or not (there := places(value)):
            value = value | {draw(st.sampled_from(NAMES)): draw(st.sampled_from(WRONG))}
            continue
        wrong = draw(st.sampled_from(WRONG))
        value = changed(value, draw(st.sampled_from(there)), CHANGES.get(kind, partial(other, wrong)))
    return json.dumps(value).replace(json.dumps(DEEP), "[" * 5000 + "]" * 5000)


def read(folder: Path, **options: Any) -> None:
    """As `unveil decode` does."""
    model = load(folder, device="cpu", **options)
    model.decode([model.asked("abc"), "ab"], new_tokens=2)


def in_file(make: Callable[[Path], object], name: str) -> Callable[[Path, Any], None]:
    """Cases of a reader: its JSON file is changed, then the folder is read."""

    def cases(home: Path, run: Any) -> None:
        make(home)
        good = json.loads((home / name).read_text())

        def case(text: str) -> None:
            (home / name).write_text(text)
            read(home)

        run(damaged(good), case)

    return cases


def llada(folder: Path) -> None:
    chat_folder(folder, TEMPLATES["chatml"], front=True)


def dream(folder: Path) -> None:
    chat_folder(folder)
    save_checkpoint(toy(shift=1, qkv_bias=True, dtype=torch.float32), folder, DREAM)


def qwen(folder: Path) -> None:
    published("qwen3", folder)
    tokenizer = FileTokenizer.characters("abcdefgh", ["<bos>", "<eos>"])
    put_in_front(tokenizer.tokenizer)
    tokenizer.save(folder / "tokenizer.json")


def shared(folder: Path) -> None:
    llada(folder)
    save_checkpoint(toy(dtype=torch.float32), folder, LLADA, shard="40KB")


def special(folder: Path) -> None:
    llada(folder)
    (folder / "special_tokens_map.json").write_text('{"bos_token": "<bos>", "mask_token": {"content": "[MASK]"}}')
    text = (folder / "tokenizer_config.json").read_text()
    (folder / "tokenizer_config.json").write_text(text.replace("{", '{"add_bos_token": true,', 1))


def pairs(folder: Path) -> None:
    dream_folder(folder, add_bos_token=True, bos_token="<|endoftext|>")


def bert(folder: Path) -> None:
    theirs("BertForMaskedLM", folder)
    CODEC.save(folder / "tokenizer.json")


def adapters(home: Path, run: Any) -> None:
    """adapter_config.json of PEFT's, patterns and all."""
    from tests.checkpoints.test_adapters import Tree, base_folder, linears, made_by_peft

    base = base_folder("llada", home)
    FileTokenizer.characters("abcdefgh", ["<bos>", "<eos>"]).save(base / "tokenizer.json")
    made_by_peft(
        Tree(linears("llada")), home / "adapter", target_modules=["q_proj", "v_proj"], r=4,
        rank_pattern={"v_proj": 4}, alpha_pattern={"q_proj": 2}, layers_to_transform=[0, 1],
    )  # fmt: skip
    path = home / "adapter" / "adapter_config.json"
    patterns = ["(.*a?)*x", "(", ".*", "(?P<a>.)(?P<a>.)", "(" * 3000, r"\d{99999999999}", ".*q_proj", "é\x1b"]
    good = json.loads(path.read_text())
    texts = damaged(good) | st.sampled_from(patterns).map(
        lambda one: json.dumps(good | {"target_modules": one, "layers_to_transform": None})
    )

    def case(text: str) -> None:
        path.write_text(text)
        read(base, adapter=home / "adapter")

    run(texts, case)


def templates(home: Path, run: Any) -> None:
    """Chat templates, of pieces that fail, loop and allocate."""
    llada(home)
    pieces = [
        "{{ messages[0].content }}", "{{ 1 / 0 }}", "{% include 'x' %}", "{{ 'a' * 10**10 }}",
        "{% for m in messages %}", "{% endfor %}",
        "{{ raise_exception(messages) }}", "{{ undefined.x }}", "{% if %}", "{{ messages|tojson }}",
        "{{ range(10**9) }}", "{{ namespace(a=1).a }}", "{% set x = messages %}", "{{ x[9] }}", "{{ '%s' % messages }}",
        "{{ 'é\x1b[2J' }}", "{% macro f() %}{{ f() }}{% endmacro %}", "{{ f() }}", "{{", "#}", "{% generation %}",
        "{% endgeneration %}", "{{ strftime_now(3) }}", "{{ messages.append(1) }}", "<eot>", "ü", "{{ 'a'.__class__ }}",
    ]  # fmt: skip
    loops = "{% for a in range(99999) %}{% for b in range(99999) %}{{ a * b }}{% endfor %}{% endfor %}"

    def case(text: str) -> None:
        (home / "chat_template.jinja").write_text(text)
        read(home)

    run(st.lists(st.sampled_from(pieces), min_size=1, max_size=5).map("".join), case)
    with within(SECONDS):
        try:
            case(loops)
        except ValueError:
            return
    raise AssertionError("a template that loops was rendered")


def headers(home: Path, run: Any) -> None:
    """The header of the weights."""
    llada(home)
    in_header(home / "model.safetensors", lambda: read(home), run)


def in_header(path: Path, reading: Callable[[], object], run: Any) -> None:
    """Cases of the header of a safetensors file."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]

    def case(text: str) -> None:
        head = text.encode()
        path.write_bytes(struct.pack("<Q", len(head)) + head + data[8 + size :])
        reading()

    run(damaged(json.loads(data[8 : 8 + size])), case)


READERS: dict[str, Reader] = {
    "llada": in_file(llada, "config.json"),
    "dream": in_file(dream, "config.json"),
    "qwen3": in_file(qwen, "config.json"),
    "bert": in_file(bert, "config.json"),
    "generation": in_file(llada, "generation_config.json"),
    "tokenizer_config": in_file(special, "tokenizer_config.json"),
    "special_tokens": in_file(special, "special_tokens_map.json"),
    "byte_pairs": in_file(pairs, "tokenizer_config.json"),
    "tokenizer": in_file(special, "tokenizer.json"),
    "index": in_file(shared, "model.safetensors.index.json"),
    "header": headers,
    "adapter": adapters,
    "template": templates,
}


def tried(program: str, readers: Iterable[str], examples: int) -> None:
    """Give these readers of a program so many cases each, in one child with limits; AssertionError for a fault."""
    names = list(readers)
    ended = limited("-m", program, str(examples), *names, seconds=120 + 2 * len(names) * examples)
    assert ended.code == 0, f"exit {ended.code}\n{ended.out[-500:]}\n{ended.err[-4000:]}"
    counts = {name: sum(found.values()) for name, found in map(json.loads, ended.out.splitlines())}
    assert list(counts) == names and min(counts.values()) >= min(examples, 8), counts


def groups(readers: Iterable[str]) -> list[list[str]]:
    """Few cases go into one child, whose start takes longer than they do; for many each reader has its own."""
    return [[name] for name in readers] if CASES > MANY else [list(readers)]


def main(readers: Mapping[str, Reader], examples: int, names: list[str]) -> None:
    """Try them; an error other than those that the CLI shows ends it."""
    warnings.simplefilter("ignore")
    for name in names:
        with TemporaryDirectory() as home:
            print(json.dumps([name, _counted(readers[name], Path(home), examples)]), flush=True)


def _counted(reader: Reader, home: Path, examples: int) -> dict[str, int]:
    """How many cases were read, and how many were refused."""
    counts = {"read": 0, "refused": 0}

    def run(texts: st.SearchStrategy[str], case: Callable[[str], None]) -> None:
        @settings(
            max_examples=examples, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(texts)
        def try_all(text: str) -> None:
            with within(SECONDS):
                try:
                    case(text)
                    counts["read"] += 1
                except (ValueError, OSError):
                    counts["refused"] += 1
                except BaseException as error:
                    raise AssertionError(f"{type(error).__name__}: {error}\non {text[:3000]}") from error

        try_all()

    reader(home, run)
    return counts


if __name__ == "__main__":
    main(READERS, int(sys.argv[1]), sys.argv[2:])
