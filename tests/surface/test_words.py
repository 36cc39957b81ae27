"""The committed files name no machine's folders and no package host: they work on anybody's."""
import re
import subprocess
from pathlib import Path

import pytest

from tests.surface.tree import ROOT, write

FOREIGN = {
    "a folder of one machine": re.compile(r"(?<![\w.~})-])/(?:home|root|work|workspace|tmp|opt|mnt|Users)/"),
    "a package host": re.compile(r"pypi\.org|pythonhosted\.org|download\.pytorch\.org|conda\.anaconda\.org"),
}


def committed(root: Path) -> list[Path]:
    """The files git tracks or would add, relative to `root`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("needs a git checkout: the files to read are those git lists")
    paths = (Path(name) for name in listed.stdout.split("\0") if name)
    return [path for path in paths if (root / path).is_file()]


def foreign_words(root: Path, paths: list[Path]) -> list[str]:
    """Lines of text files that name a folder or host of somebody's machine."""
    faults = []
    for path in paths:
        try:
            lines = (root / path).read_text("utf-8").splitlines()
        except UnicodeDecodeError:  # weights, pictures
            continue
        for number, line in enumerate(lines, start=1):
            faults += [f"{path}:{number} names {what}" for what, words in FOREIGN.items() if words.search(line)]
    return faults


def test_no_foreign_words() -> None:
    paths = committed(ROOT)
    assert Path("pyproject.toml") in paths
    assert foreign_words(ROOT, paths) == []


def test_foreign_words_are_found(tmp_path: Path) -> None:
    text = "\n".join(["ok ../{0}/x, sh{0}/, a/{0}/b", "'/{0}/x'", "https://{1}/simple", "file:///{0}/x"])
    write(tmp_path, {"docs/a.md": text.format("work", "pypi" + ".org")})
    (tmp_path / "weights.bin").write_bytes(b"\xff/" + b"work/")
    found = foreign_words(tmp_path, [Path("docs/a.md"), Path("weights.bin")])
    assert [fault.split(":")[1] for fault in found] == [
        "2 names a folder of one machine",
        "3 names a package host",
        "4 names a folder of one machine",
    ]


def test_ignored_files_are_not_read(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    write(tmp_path, {".gitignore": "/out/\n", "out/a.txt": "", "src/a.py": ""})
    assert committed(tmp_path) == [Path(".gitignore"), Path("src/a.py")]
