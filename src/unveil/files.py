"""Files that a crash or a full disk cannot harm: written under a temporary name, then renamed.

Logs of JSON lines grow by `append_line`; after a crash at most their last line is incomplete, and is cut.
"""

import errno
import json
import os
import platform
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # not a Unix
    fcntl = None  # type: ignore[assignment]

UNLOCKABLE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # some file systems of networks have no locks
StrPath = str | os.PathLike[str]
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}(\.[^.]+)?")  # the names that `replacing` gives


def path_of(name: StrPath | None) -> Path | None:
    """A path, if there is one."""
    return None if name is None else Path(name)


def _remedy(code: int | None, path: Path) -> str:
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "Free space there, or name a file on another disk, and run again."
    if code in (errno.ENOENT, errno.ENOTDIR):
        return f"Make the folder {path.parent} first, or name another file."
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Name a file in a folder that you may write to."
    return "Check the disk, or name another file, and run again."


def _explained(error: OSError, path: Path, intact: str) -> OSError:
    """The same error (same errno and class), saying which file, what is left of it and what to do."""
    reason = error.strerror or str(error)
    return OSError(error.errno or errno.EIO, f"cannot write {path}: {reason}. {intact} {_remedy(error.errno, path)}")


def _regular(path: StrPath) -> Path:
    """The file behind `path`, links followed. ValueError for a folder, a device or a pipe."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f"{os.fspath(path)} is not an ordinary file; name a new file or one that may be replaced")
    return Path(os.path.realpath(path))


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system can."""
    with suppress(OSError):  # the file itself is safe; some systems cannot open or sync a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def replacing(path: StrPath) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix); on success it is synced and takes the place of `path`.

    On any failure the temporary file is removed and what was at `path` stays as it was. An OSError is raised
    again with its errno and a message that names the file, what is intact and the remedy.
    """
    target = _regular(path)
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(6)}{target.suffix}")
    try:
        with open(temporary, "xb") as file:  # some writers replace the file, with a mode of their own
            mode = os.fstat(file.fileno()).st_mode
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(target.stat().st_mode if target.exists() else mode)
        os.replace(temporary, target)
    except OSError as error:
        intact = "The file that was there is unchanged." if target.exists() else "No file was left there."
        raise _explained(error, Path(path), intact) from error
    finally:
        with suppress(OSError):  # gone already, or its folder never was there
            temporary.unlink()
    _sync_folder(target.parent)


@contextmanager
def held(path: StrPath | None, *, ours: bool = True) -> Iterator[None]:
    """Inside, nobody else who asks writes into `path`, a file or the folder of a run; death frees it.

    Temporary files that a killed run left there are removed. Of the processes of one run only the one that writes
    takes it (`ours`). ValueError, saying who holds it, where another run does. Without a path, and where the system has
    no such locks, nothing is held.
    """
    if path is None or not ours or fcntl is None:
        yield
        return
    place = Path(path)
    lock = place / ".lock" if place.is_dir() else place.with_name(f".{place.name}.lock")
    handle = _locked(lock, place)
    if handle is None:
        yield
        return
    try:
        os.truncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {platform.node()}: {' '.join(sys.argv)[:300]}".encode())
        _clear(place)
        yield
    finally:
        with suppress(OSError):  # its folder may be gone
            lock.unlink()
        os.close(handle)


def _locked(lock: Path, place: Path) -> int | None:
    """The open lock; None on a file system without such locks. ValueError where somebody else has it."""
    assert fcntl is not None
    while True:
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise _explained(error, lock, "Nothing was changed.") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 400, 0).decode(errors="replace") or "another process"
            os.close(handle)
            raise ValueError(
                f"{place} is being written by {holder}. Wait until it has ended, stop it, or name another place"
            ) from None
        except OSError as error:
            os.close(handle)
            if error.errno not in UNLOCKABLE:
                raise _explained(error, lock, "Nothing was changed.") from error
            lock.unlink(missing_ok=True)
            return None
        with suppress(FileNotFoundError):  # the one before took the file away after we had opened it
            if os.fstat(handle).st_ino == lock.stat().st_ino:
                return handle
        os.close(handle)


def _clear(place: Path) -> None:
    """Remove the temporary files that `replacing` left when it was killed: in a folder, or those of one file."""
    begin = "." if place.is_dir() else f".{place.stem}."  # and not that of other.json, beside o.json
    for path in place.rglob(".*") if place.is_dir() else place.parent.glob(".*"):
        below = [folder for folder in path.parents if place in folder.parents]
        if any(next(folder.glob(".*lock"), None) for folder in below):
            continue  # another run's, with a lock of its own
        if TEMPORARY.fullmatch(path.name) and path.name.startswith(begin) and path.is_file():
            path.unlink(missing_ok=True)


def write_bytes(path: StrPath, data: bytes) -> None:
    """Put `data` at `path`, wholly or not at all. Errors: as `replacing`."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


def write_text(path: StrPath, text: str) -> None:
    """Put `text` at `path` as UTF-8, wholly or not at all. Errors: as `replacing`."""
    write_bytes(path, text.encode())


def write_json(path: StrPath, obj: Any) -> None:
    """Put `obj` at `path` as JSON. ValueError for NaN or infinity, TypeError for what JSON cannot hold."""
    write_text(path, json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _end_of_lines(file: FileIO) -> int:
    """How many bytes of the file are complete lines."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = file.seek(max(0, end - 65536))
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def append_line(path: StrPath, text: str) -> None:
    """Add one line to a log, for one writer at a time; a crash of this program after the return does not lose it.

    An incomplete last line (left by a crash) is cut first. On an OSError the line is taken back, the lines
    before it stay, and the error is raised again as in `replacing`. ValueError if `text` is not one line.
    """
    if "\n" in text:
        raise ValueError(f"a log takes one line at a time, got {text!r}; write its lines one by one")
    line = memoryview(text.encode() + b"\n")
    try:
        with FileIO(_regular(path), "ab+") as file:  # unbuffered: written when `write` returns
            end = _end_of_lines(file)
            file.truncate(end)
            try:
                while line:
                    line = line[file.write(line) :]  # a nearly full disk takes a part, then refuses
            except BaseException:
                file.truncate(end)
                raise
    except OSError as error:
        raise _explained(error, Path(path), "All complete lines before it are kept.") from error


def read_json(path: StrPath) -> dict[str, Any]:
    """A JSON object from a file; ValueError where it is broken."""
    try:
        config = json.loads(Path(path).read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)} is not valid JSON ({error}): download it again") from None
    if not isinstance(config, dict):
        raise ValueError(f"{os.fspath(path)} is not a JSON object: download it again")
    return config


def read_settings(path: StrPath) -> dict[str, Any]:
    """The JSON object of a file, {} where there is no such file. Errors: as `read_json`."""
    return read_json(path) if os.path.isfile(path) else {}


def read_jsonl(path: StrPath, *, drop_incomplete: bool = False) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file in UTF-8; item i is line i + 1 of the file.

    `drop_incomplete` leaves out a last line without a line break, as `append_line` would cut it: so a
    resumed run does again what it had not finished writing. ValueError names the file and the broken line.
    """
    lines = Path(path).read_bytes().split(b"\n")
    tail = lines.pop()
    if not drop_incomplete:
        lines.append(tail)
    while lines and not lines[-1].strip():
        lines.pop()
    return [read_line(path, number, line) for number, line in enumerate(lines, 1)]


def read_line(path: StrPath, number: int, line: bytes) -> dict[str, Any]:
    """The object on a line of JSON. ValueError, with file and number, for anything else."""
    try:
        item = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)}, line {number}: not JSON ({error}); correct or remove the line") from error
    if not isinstance(item, dict):
        raise ValueError(
            f"{os.fspath(path)}, line {number}: a {type(item).__name__}, but every line must be an object {{...}}"
        )
    return item


def check_output(path: StrPath | None) -> None:
    """ValueError if a result could not be written to `path` in the end: known before the work, not after it."""
    if path is None:
        return
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not an ordinary file; name a new file or one that may be replaced")
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent}; make it first, or name another file")
