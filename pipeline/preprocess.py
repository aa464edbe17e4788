"""The command ``preprocess``: preprocess single files as the pipeline does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from components.dicom.headers.orientation import Turn
from components.dicom.reading import load_view
from components.dicom.rejections import IngestError, RejectionReason
from components.exam_model.recipe import PreprocessingRecipe
from components.preprocessing.outputs import OUTPUT_ENDINGS, preprocess_pixels_to_files
from components.preprocessing.preprocessed_view import PreprocessedView
from schema.features import VIEWS


class SameNameError(ValueError):
    """An output file would overwrite an input file or another output."""


def check_targets(files: Sequence[Path], out: Path) -> None:
    """Check that no output overwrites an input or another output.

    Raises:
        SameNameError: An output would; the message names the file.
    """
    inputs = {file.resolve() for file in files}
    targets = Counter((out / f"{file.stem}{ending}").resolve() for file in files for ending in OUTPUT_ENDINGS)
    for target, count in sorted(targets.items()):
        if target in inputs:
            raise SameNameError(f"{target.name} would overwrite an input file: give --out another folder.")
        if count > 1:
            raise SameNameError(f"Several files would write {target.name}: preprocess them to different folders.")


def preprocess_file(file: Path, view: str | None, recipe: PreprocessingRecipe, out: Path) -> PreprocessedView:
    """Preprocess a file, and write its picture, its muscle mask and its measurements.

    Args:
        file: DICOM, PNG or JPEG file.
        view: View that overrides the view in the file; required for PNG and JPEG.
        recipe: How the file is preprocessed.
        out: Folder for ``STEM.png`` (the network's input), ``STEM.pectoral.png`` (0 or 255, in the rows, columns and
            orientation of the file), ``STEM.overlay.png`` (in the standard hanging) and ``STEM.json``.

    Returns:
        The result of preprocessing.

    Raises:
        IngestError: The file cannot be used.
    """
    try:
        loaded = load_view(file, view, recipe.longest_side, recipe.max_pixels, recipe.acceptance, recipe.voi_index)
    except IngestError as error:
        # The remedy names a configuration key; this command has an option instead.
        remedy = error.remedy.replace("to pipeline.ingest.accept", "with --accept")
        if error.reason is RejectionReason.UNKNOWN_VIEW:
            remedy = f"give --view, one of {', '.join(VIEWS)}"
        raise IngestError(error.reason, error.file, error.tag, error.value, remedy) from error
    header, turn = loaded.header, loaded.header.turn or Turn()
    shape = (header.columns, header.rows) if turn.transpose else (header.rows, header.columns)
    return preprocess_pixels_to_files(loaded.pixels, header.view, recipe.preprocess, out, file.stem, shape, turn.undo)
