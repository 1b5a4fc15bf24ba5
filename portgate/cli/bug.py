"""What is kept when portgate itself fails: a file with all that it takes to see the failure again."""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from portgate import __version__
from portgate.core.diagnostics import Diagnostic

_MAX_BYTES = 1 << 20


def report(error: BaseException, arguments: Sequence[str]) -> Diagnostic:
    """Writes the file, readable by its owner only, and says where it is."""
    what = "".join(traceback.format_exception_only(error)).strip()
    try:
        path = _write(error, arguments)
    except OSError as failure:
        traceback.print_exception(error)
        return Diagnostic("PG901", f"{what}; the report could not be saved: {failure}")
    remedy = f"report it with {path}, which holds the traceback and the files named on the command line"
    return Diagnostic("PG901", what, remedy=remedy)


def _write(error: BaseException, arguments: Sequence[str]) -> str:
    content = {
        "schema": 1,
        "portgate": __version__,
        "python": sys.version,
        "system": platform.platform(),
        "arguments": list(arguments),
        "traceback": traceback.format_exception(error),
        "files": {name: text for name in arguments if (text := _text(name)) is not None},
    }
    descriptor, path = tempfile.mkstemp(prefix="portgate-bug-", suffix=".json")
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        json.dump(content, file, indent=1)
    return path


def _text(name: str) -> str | None:
    """The content of an argument that names a file of reasonable size."""
    try:
        path = Path(name)
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            return None
        return path.read_text(encoding="utf-8", errors="backslashreplace")
    except (OSError, ValueError):
        return None
