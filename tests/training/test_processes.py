"""Two processes with the same global batch follow one; micro-batches too; and one goes on where two stopped."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import unveil
from tests.training import ragged
from unveil.files import read_jsonl
from unveil.training.session import deal

ROOT = Path(__file__).resolve().parents[2]


def launch(count: int, out: Path, *, module: str = "tests.training.ragged", settings: object = None) -> None:
    """Run a training in `count` CPU processes, as a launcher does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = [str(ROOT), str(Path(unveil.__file__).resolve().parents[1])]
    shared = {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    command = [sys.executable, "-m", module, str(out), json.dumps(settings or {})]
    processes = [
        subprocess.Popen(command, env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(count)
    ]
    try:
        assert [process.wait(timeout=60) for process in processes] == [0] * count
    finally:
        for process in processes:
            process.kill()


def assert_close(one: Path, other: Path) -> None:
    mine, theirs = (load_file(folder / "state.safetensors") for folder in (one, other))
    assert mine.keys() == theirs.keys()
    for name in mine:
        if name.startswith(("model.", "average.")):
            assert (mine[name] - theirs[name]).abs().max() < 1e-5, name
    for name in ("loss", "norm"):  # AdamW would hide a gradient of another size
        values = [[record[name] for record in read_jsonl(folder / "metrics.jsonl")] for folder in (one, other)]
        assert values[0] == pytest.approx(values[1], rel=1e-4 if name == "norm" else 1e-5)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty steps in one process, all rows at once."""
    out = tmp_path_factory.mktemp("alone")
    ragged.run(out)
    assert len(read_jsonl(out / "metrics.jsonl")) == 20
    return out


@pytest.mark.slow
def test_two_processes_follow_one(alone: Path, tmp_path: Path) -> None:
    launch(2, tmp_path)
    assert_close(alone, tmp_path)


@pytest.mark.slow
def test_two_processes_follow_one_through_trajectories(tmp_path: Path) -> None:
    ragged.run(tmp_path / "one", objective="trajectory")
    launch(2, tmp_path / "two", settings={"objective": "trajectory", "micro_rows": 2})
    assert_close(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_in_one(alone: Path, tmp_path: Path) -> None:
    launch(2, tmp_path, settings={"stop": 12})
    assert len(read_jsonl(tmp_path / "metrics.jsonl")) == 12
    ragged.run(tmp_path, resume=True)
    assert_close(alone, tmp_path)


@pytest.mark.slow
def test_a_run_of_one_process_goes_on_in_two(alone: Path, tmp_path: Path) -> None:
    with pytest.raises(ragged.Stopped):
        ragged.run(tmp_path, stop=8)
    launch(2, tmp_path, settings={"resume": True})
    assert_close(alone, tmp_path)


@pytest.mark.parametrize("rows", [1, 2, 3, 6])
def test_micro_batches_change_nothing(alone: Path, tmp_path: Path, rows: int) -> None:
    ragged.run(tmp_path, micro_rows=rows)
    assert_close(alone, tmp_path)


def test_activations_computed_again_change_nothing(alone: Path, tmp_path: Path) -> None:
    ragged.run(tmp_path, checkpointing=True)
    assert_close(alone, tmp_path)


def test_fewer_rows_than_processes_are_refused() -> None:
    with pytest.raises(ValueError, match="7 rows for 9 processes: give every process at least one row"):
        deal(ragged.example(), 9, 0, 0)


@pytest.mark.parametrize("processes, micro", [(1, 0), (1, 2), (2, 2), (3, 1), (3, 2), (7, 0)])
def test_the_rows_of_a_batch_are_dealt_out_once(processes: int, micro: int) -> None:
    """Every row once; as many micro-batches for every process; cut to the longest row."""
    example = ragged.example()
    shares = [deal(example, processes, rank, micro) for rank in range(processes)]
    assert len({len(parts) for parts in shares}) == 1
    weights = [share.weight for parts in shares for share in parts]
    assert sorted(torch.cat(weights).tolist()) == sorted(example.weight.tolist())
    assert all(share.targets.shape[1] == int(share.canvas.end.max()) for parts in shares for share in parts)


def test_longer_rows_come_first() -> None:
    ends = torch.cat([share.canvas.end for share in deal(ragged.example(), 1, 0, 2)]).tolist()
    assert ends == sorted(ends, reverse=True)
