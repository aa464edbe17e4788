"""From a mammography file to what the model takes, exactly as the pipeline did it.

The model carries its recipe, so a client can neither guess nor differ: what is offline and what is served agree to
the byte.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from components.common.png import encode_png
from components.dicom.reading import LoadedView, load_view
from components.dicom.rejections import DEFAULT_MAX_PIXELS, AcceptanceConfig
from components.preprocessing.config import PreprocessConfig
from components.preprocessing.preprocess import preprocess_view
from components.preprocessing.preprocessed_view import PreprocessedView


class PreprocessingRecipe(BaseModel):
    """Everything that decides what the model sees of a file.

    Attributes:
        longest_side: Longest side to which ingest reduces, pixels.
        max_pixels: Largest matrix that is decoded.
        acceptance: Special images that ingest took, and the client takes too.
        voi_index: VOI LUT or window of several, as in ingest.
        preprocess: Segmentation and geometry.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    longest_side: int = Field(1024, ge=64, le=16384)
    max_pixels: int = Field(DEFAULT_MAX_PIXELS, ge=1)
    acceptance: AcceptanceConfig = AcceptanceConfig()
    voi_index: int = Field(0, ge=0, le=255)
    preprocess: PreprocessConfig = PreprocessConfig()

    def digest(self) -> str:
        """Hashes the recipe: SHA-256 of its JSON, 64 hexadecimal digits."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


@dataclass(frozen=True)
class PreparedView:
    """A file that is ready for the model.

    Attributes:
        loaded: Header and reduced pixels.
        result: What preprocessing gave.
        png: The preprocessed image, 8-bit PNG.
    """

    loaded: LoadedView
    result: PreprocessedView
    png: bytes


def prepare_file(path: Path, view: str | None, recipe: PreprocessingRecipe) -> PreparedView:
    """Reads and preprocesses one file.

    Args:
        path: DICOM, PNG or JPEG.
        view: View to take it for, where the file does not name one of the four; required for PNG and JPEG.
        recipe: The model's recipe.

    Returns:
        The view.

    Raises:
        IngestError: The file cannot be used; the message says why.
    """
    loaded = load_view(path, view, recipe.longest_side, recipe.max_pixels, recipe.acceptance, recipe.voi_index)
    result = preprocess_view(loaded.pixels, loaded.header.view, recipe.preprocess)
    return PreparedView(loaded, result, encode_png(result.image))
