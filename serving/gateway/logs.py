"""Logs of the gateway: plain lines without patient identity.

A log line names a study by its key. Logs of libraries may quote UIDs, names and AE titles: pynetdicom logs every
command, uvicorn every path, retrying whole requests. Therefore only the lines of the gateway and the errors of uvicorn
are shown. Of an exception only its type and origin are shown, not its text.
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
    """Shows the type and the traceback lines of an exception, never its text or values."""

    def formatException(  # noqa: N802 (name of the logging module)
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        if ei[0] is None:
            return ""
        places = [f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in traceback.extract_tb(ei[2])]
        return f"{ei[0].__name__} at {' < '.join(reversed(places))}"


def configure_logs(stream: TextIO = sys.stderr) -> None:
    """Send the lines of the gateway, and errors of uvicorn without their text, to a stream.

    Args:
        stream: Stream that receives the lines.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name, level in (("serving.gateway", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level)
    logging.getLogger().handlers = [logging.NullHandler()]  # without a handler Python prints warnings of all loggers
    for name in _CHATTY:  # so that their lines are not even formatted
        logging.getLogger(name).setLevel(_BELOW)
    warnings.simplefilter("ignore")  # pydicom's warnings quote values of the data set
