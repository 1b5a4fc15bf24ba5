"""The program `portgate`, also as `python -m portgate`."""

import gc
import os

INTERRUPTED = 130


def main() -> None:
    """Runs the command line, from the first import on without the cyclic collector: a run is short and leaves few cycles behind."""
    gc.disable()
    try:
        from portgate import cli  # noqa: PLC0415 - the collector is to be off while all this is imported
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)
    cli.main()


if __name__ == "__main__":
    main()
