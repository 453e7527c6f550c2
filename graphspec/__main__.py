"""``python -m graphspec``, and what the command ``graphspec`` calls."""

import sys


def main() -> int:
    """The command line's exit code; 130 after a Ctrl-C that comes while the program is still being loaded."""
    try:
        from graphspec.cli.main import main as command

        return command()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
