"""``python -m theodolite``: the same as the command."""

from theodolite.cli import main

if __name__ == "__main__":
    main()
