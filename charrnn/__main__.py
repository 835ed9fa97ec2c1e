"""The program's entry point, also as ``python -m charrnn``."""

# what is behind `signal`, which takes a while to load
import _signal  # type: ignore[import-not-found]
import os


def main() -> None:
    """Runs the command line.

    Until a command has something to clean up, Ctrl-C ends it at once: an exception would come out
    of whatever is being loaded, and not always as it went in.
    """
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:  # not if it is ignored
        _signal.signal(_signal.SIGINT, lambda *_: os._exit(130))
    # before the rest is loaded: what that takes is part of a time budget
    from charrnn.system import stopwatch

    clock = stopwatch()
    from charrnn.cli.app import main as run

    run(clock)


if __name__ == "__main__":
    main()
