"""The built wheel holds the whole package and works in an environment that never saw the repository."""
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from tests.surface.tree import PACKAGE, ROOT, write

pytestmark = pytest.mark.slow

# What a stranger would do first: load the shipped model and decode one Sudoku with it.
SNIPPET = """
import unveil
print(unveil.__file__)
model = unveil.load("lab-sudoku")
answer = model.decode(["1000\\n0002\\n4003\\n0000\\n=\\n"])[0]
assert answer.complete and len(answer.text) == 19, answer
print(answer.text)
"""


def shell(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that runs without this repository and without a network."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV_", "UNVEIL_"))}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=clean | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def package_files(package: Path) -> set[str]:
    """What a wheel must hold, as names within it."""
    files = (path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(PurePosixPath("unveil", path.relative_to(package).as_posix())) for path in files}


def missing(wheel: Path, package: Path) -> set[str]:
    """Files of the package that the wheel lacks."""
    with zipfile.ZipFile(wheel) as archive:
        return package_files(package) - set(archive.namelist())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built once."""
    out = tmp_path_factory.mktemp("dist")
    shell(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, cwd=ROOT)
    (built,) = out.glob("unveil-*.whl")
    return built


@pytest.fixture(scope="module")
def stranger(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment with the wheel in it; torch and the like are borrowed from this one."""
    home = tmp_path_factory.mktemp("env")
    venv.create(home, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", home / "bin" / "python"]
    shell(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=home)
    # A folder named in a .pth file is searched, but its own .pth files (an editable unveil) are not followed.
    (site,) = home.glob("lib/python*/site-packages")
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "borrowed.pth").write_text("\n".join(sorted(borrowed)) + "\n", "utf-8")
    return home / "bin"


def test_the_wheel_holds_every_file(wheel: Path) -> None:
    assert {"unveil/__init__.py", "unveil/py.typed"} <= package_files(PACKAGE)
    assert missing(wheel, PACKAGE) == set()


def test_the_wheel_decodes_in_a_clean_environment(stranger: Path, tmp_path: Path) -> None:
    where, answer = shell(stranger / "python", "-c", SNIPPET, cwd=tmp_path).split("\n", maxsplit=1)
    assert Path(where).is_relative_to(stranger.parent)
    assert answer.strip()


def test_the_program_is_installed(stranger: Path, tmp_path: Path) -> None:
    assert "decode" in shell(stranger / "unveil", "--help", cwd=tmp_path)


def test_a_missing_file_is_found(tmp_path: Path) -> None:
    package = write(tmp_path / "unveil", {"__init__.py": "", "lab/a/model.json": "", "__pycache__/a.pyc": ""})
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr("unveil/__init__.py", "")
    assert missing(tmp_path / "a.whl", package) == {"unveil/lab/a/model.json"}
