"""The reference model: a small model that comes with the software, so that ``predict`` answers from the start.

``README.md``, its card, says what it was trained on, how well it grades, and what it must not be used for.
``python -m tools.reference_model`` makes it anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

REFERENCE: Final = "reference"  # its name where a path of a model is expected
DATA_FILES: Final = ("versions/**/*",)  # another model, another training that starts from it
_FOLDER: Final = Path(__file__).parent


def reference_folder() -> Path:
    """Return the folder of the reference model: one version folder, as the Pusher writes it.

    Example:
        >>> sorted(path.name for path in reference_folder().glob("*/saved_model.pb"))
        ['saved_model.pb']
    """
    return _FOLDER / "versions"


def card() -> Path:
    """Return the page that says how the reference model was made, how well it grades, and what it is not for."""
    return _FOLDER / "README.md"


def model_or_reference(model: Path | str | None) -> Path:
    """Return the folder of a named model, or of the reference model.

    Args:
        model: Path of a model. None, and the name ``reference`` where no such path exists, are the reference model.

    Example:
        >>> model_or_reference(Path("runs/small/serving")).as_posix()
        'runs/small/serving'
    """
    if model is None or (str(model) == REFERENCE and not Path(model).exists()):
        return reference_folder()
    return Path(model)
