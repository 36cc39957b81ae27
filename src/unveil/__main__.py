"""The program `unveil`, also as `python -m unveil`: whatever happens from the first import on, no traceback."""

import os
import sys

from unveil import interrupts

NOT_WRITTEN = 74  # EX_IOERR


def main() -> None:
    """The entry point of the program. Ctrl-C while it is still being imported ends it as later, with one sentence."""
    try:
        interrupts.note()
        from unveil.cli import app

        app()
    except KeyboardInterrupt:
        _stopped()
    except Exception as error:
        if interrupts.came():  # an import that Ctrl-C broke off may end in any error
            _stopped()
        if not isinstance(error, OSError):
            raise
        _unwritten(error)
    finally:
        with interrupts.last_lines():
            _flush()


def _flush() -> None:
    """Write what is left. A pipe whose reader left is no error; a full disk is, in one sentence."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that Python does not try again
        if not isinstance(error, BrokenPipeError):
            _unwritten(error)


def _stopped() -> None:
    print("stopped. Nothing was begun.", file=sys.stderr)
    sys.exit(interrupts.INTERRUPTED)


def _unwritten(error: OSError) -> None:
    print(f"error: the output could not be written: {error.strerror or error}", file=sys.stderr)
    sys.exit(NOT_WRITTEN)


if __name__ == "__main__":
    main()
