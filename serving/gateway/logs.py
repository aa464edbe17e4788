"""Logs of the gateway: plain lines that identify nobody.

A study is named by its key. What libraries log may quote UIDs, names and AE titles (pynetdicom every command,
uvicorn every path, retrying whole requests), so the gateway's own lines and uvicorn's errors alone are shown, and of an
exception its type and where it was raised, not its text.
"""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from types import TracebackType
from typing import Final, TextIO

log: Final = logging.getLogger("serving.gateway")

_CHATTY: Final = ("pynetdicom", "pydicom", "python_multipart", "uvicorn.access")
_BELOW: Final = logging.CRITICAL + 1


class _Formatter(logging.Formatter):
    """Shows of an exception its type and the places it went through, never its text or values."""

    def formatException(  # noqa: N802 (name of the logging module)
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        if ei[0] is None:
            return ""
        places = [f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in traceback.extract_tb(ei[2])]
        return f"{ei[0].__name__} at {' < '.join(reversed(places))}"


def configure_logs(stream: TextIO = sys.stderr) -> None:
    """Sends the gateway's lines to a stream, and nothing of a library but uvicorn's errors without their text.

    Args:
        stream: Where to.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name, level in (("serving.gateway", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level)
    logging.getLogger().handlers = [logging.NullHandler()]  # without any, Python prints warnings of whoever warns
    for name in _CHATTY:  # what nobody reads need not be formatted
        logging.getLogger(name).setLevel(_BELOW)
    warnings.simplefilter("ignore")  # pydicom's quote values of the data set
