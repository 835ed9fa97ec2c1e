"""The program's entry point, also as ``python -m charrnn``."""

import sys


def main() -> None:
    """Runs the command line; Ctrl-C ends it quietly even while it is loaded."""
    try:
        from charrnn.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
