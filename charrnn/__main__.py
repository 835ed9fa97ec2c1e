"""``python -m charrnn``: the same as the ``charrnn`` command."""

from charrnn.cli.app import main

if __name__ == "__main__":
    main()
