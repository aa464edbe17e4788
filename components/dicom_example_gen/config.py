"""Configuration of ingest."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from components.dicom.rejections import DEFAULT_MAX_PIXELS, AcceptanceConfig
from components.exams.distribution import DistributionConfig


class SplitFractions(BaseModel):
    """Share of the patients in each split; the sum is 1.

    Attributes:
        train: Share for training.
        eval: Share for selecting the epoch, and for calibration.
        test: Share for the metrics of the report.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: float = Field(default=0.7, ge=0, le=1)
    eval: float = Field(default=0.15, ge=0, le=1)
    test: float = Field(default=0.15, ge=0, le=1)

    @model_validator(mode="after")
    def _sums_to_one(self) -> SplitFractions:
        total = self.train + self.eval + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(
                f"splits must sum to 1. Received: train={self.train}, eval={self.eval}, test={self.test}, sum={total:g}"
            )
        return self


class IngestConfig(AcceptanceConfig):
    """Configuration of ``DicomExampleGen``; ``AcceptanceConfig`` adds the accepted special images.

    Attributes:
        longest_side: Longest side of the stored images, pixels. Larger images are reduced by area averaging; smaller
            ones are not changed.
        splits: Share of patients per split, if the source names no split.
        split_seed: Another seed changes the split of patients, and which exams a distribution keeps.
        distribution: Class distribution of each split; None keeps all exams.
        shard_size: Images in one TFRecord file.
        max_pixels: Largest matrix that is decoded, rows x columns (a limit against hostile headers; the largest film
            scans have some 35 million).
        voi_index: Index, from 0, of the VOI LUT (or of the window if there is no LUT) for images with several. An
            image with fewer uses its first.
        hash_key_variable: Environment variable that holds the key of the patient and exam hashes. The variable of
            the same name with ``_FILE`` names a file that holds it.
        hash_key_file: File that holds the key if neither variable is set; empty = none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    longest_side: int = Field(default=1024, ge=64, le=16384)
    splits: SplitFractions = SplitFractions()
    split_seed: str | int = 0
    distribution: DistributionConfig | None = None
    shard_size: int = Field(default=32, ge=1)
    max_pixels: int = Field(default=DEFAULT_MAX_PIXELS, ge=1)
    voi_index: int = Field(default=0, ge=0, le=255)
    hash_key_variable: str = Field(default="BREAST_DENSITY_HASH_KEY", min_length=1)
    hash_key_file: str = ""

    @property
    def acceptance(self) -> AcceptanceConfig:
        """The accepted special images, without the other settings."""
        return AcceptanceConfig(**{name: getattr(self, name) for name in AcceptanceConfig.model_fields})
