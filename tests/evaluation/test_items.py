"""Items: files that only grow, put together whoever wrote them and however often it was stopped."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unveil.evaluation import items as module
from unveil.evaluation.items import Items, items_beside, read_items
from unveil.files import append_line, read_jsonl
from unveil.processes import Processes, launched

TOTAL = 7


@pytest.fixture(autouse=True)
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes of these tests take turns."""
    monkeypatch.setattr(Processes, "wait", lambda _: None)


def items(path: Path, rank: int = 0, count: int = 1, **more: object) -> Items:
    return Items(**{"path": path, "run": "r", "total": TOTAL, "processes": Processes(rank=rank, count=count), **more})


def item(index: int, text: str = "") -> dict:
    return {"run": "r", "index": index, "answer": text}


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_shares_take_every_item_once(count: int) -> None:
    shares = [Processes(rank=rank, count=count).share(range(TOTAL)) for rank in range(count)]
    assert sorted(index for share in shares for index in share) == list(range(TOTAL))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, TOTAL)), max_size=5))
def test_sittings_of_any_numbers_of_processes_repeat_nothing(
    tmp_path_factory: pytest.TempPathFactory, sittings: list[tuple[int, int]]
) -> None:
    """Each sitting is stopped after some items of each process; a last one of one process finishes."""
    path = tmp_path_factory.mktemp("sittings") / "a.items.jsonl"
    done: list[int] = []
    for count, stop in [*sittings, (1, TOTAL)]:
        for rank in range(count):  # the first one puts together what was left
            if rank == 0:
                known = items(path, 0, count).together()
                todo = [index for index in range(TOTAL) if index not in known]
            own = items(path, rank, count)
            for index in own.processes.share(todo)[:stop]:
                own.add(item(index, f"{rank} of {count}"))
                done.append(index)
    assert sorted(done) == list(range(TOTAL))  # none twice
    assert items(path).together().keys() == set(range(TOTAL))
    assert [path.name for path in path.parent.iterdir()] == ["a.items.jsonl"]


def test_stopped_while_files_are_put_together_nothing_is_there_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, appended = tmp_path / "a.jsonl", []
    items(path).add(item(0))
    for index in (1, 3, 5):
        items(path, 1, 2).add(item(index))

    def stopping(path: Path, text: str) -> None:
        append_line(path, text)
        appended.append(text)
        if len(appended) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "append_line", stopping)
        with pytest.raises(KeyboardInterrupt):
            items(path).together()
    assert (tmp_path / "a.process-1.jsonl").exists()
    assert items(path).together().keys() == {0, 1, 3, 5}
    assert [one["index"] for one in read_jsonl(path)] == [0, 1, 3, 5] and not (tmp_path / "a.process-1.jsonl").exists()


def test_a_later_line_of_an_item_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for one in (item(1, "old"), item(0), item(1, "new")):
        items(path).add(one)
    items(path, 2, 3).add(item(0, "from another process"))
    assert [one["answer"] for one in items(path).together().values()] == ["new", "from another process"]
    assert [one["answer"] for one in read_items(path)] == ["from another process", "new"]
    assert len(read_jsonl(path)) == 4


def test_a_torn_last_line_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    items(path, 1, 2).add(item(1))
    part = tmp_path / "a.process-1.jsonl"
    part.write_text(part.read_text() + json.dumps(item(3))[:-4])
    assert items(path).together().keys() == {1}


@pytest.mark.parametrize(
    "stray", [{"run": "other", "index": 1}, {"run": "r", "index": TOTAL}, {"index": 1}, {"run": "r"}]
)
def test_items_of_another_evaluation_are_refused(tmp_path: Path, stray: dict) -> None:
    for name in ("a.jsonl", "a.process-1.jsonl"):
        (tmp_path / name).write_text(json.dumps(item(0)) + "\n" + json.dumps(stray) + "\n")
        with pytest.raises(ValueError, match=f"{name}, line 2 belongs to another evaluation .* remove it"):
            items(tmp_path / "a.jsonl").together()
        (tmp_path / name).unlink()


def test_only_files_of_its_own_are_put_together(tmp_path: Path) -> None:
    """Of out.items.1.jsonl, out[1].items.jsonl and the like, also where a name is a pattern."""
    one, other = items_beside(tmp_path / "out[1].json", 2)
    assert (one.name, other.name) == ("out[1].items.1.jsonl", "out[1].items.2.jsonl")
    items(other, 1, 2).add(item(1))
    items(tmp_path / "out1.items.1.jsonl", 1, 2).add(item(2))
    assert items(one).together() == {} and items(other).together().keys() == {1}
    assert items_beside(tmp_path / "a.json", 1) == [tmp_path / "a.items.jsonl"]


def test_without_a_file_they_are_in_memory_and_one_process_is_alone() -> None:
    kept = items(None)  # type: ignore[arg-type]
    kept.add(item(2))
    assert kept.together() == {2: item(2)}
    with pytest.raises(ValueError, match="2 processes put their items together in a file: give --json FILE"):
        items(None, 0, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize("environment", [{}, {"LOCAL_RANK": "0"}, {"LOCAL_RANK": "0", "WORLD_SIZE": "1"}])
def test_one_process_is_no_group(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with launched() as processes:
        assert processes == Processes() and processes.main
