"""Configuration of the DICOM results."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from schema.software import installed_version


class ResultsConfig(BaseModel):
    """Configuration of the DICOM results.

    Attributes:
        manufacturer: Manufacturer (0008,0070), at most 64 characters.
        model_name: Name of the algorithm and Manufacturer's Model Name (0008,1090).
        software_version: Version of this software, by default the installed one; the UIDs depend on it.
        report_series_number: Series Number of the report.
        heat_map_series_number: Series Number of the heat maps.
        rejection_series_number: Series Number of the note that withdraws replaced results.
        heat_map_longest_side: Longest side of a heat map, pixels; never larger than ``longest_side`` of the recipe.
        created_at: Content date and time; None is the time of the call.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    manufacturer: str = Field("breast-density (research)", min_length=1, max_length=64)
    model_name: str = Field("breast-density", min_length=1, max_length=64)
    software_version: str = Field(default_factory=installed_version, min_length=1, max_length=64)
    report_series_number: int = Field(9001, ge=1)
    heat_map_series_number: int = Field(9002, ge=1)
    rejection_series_number: int = Field(9003, ge=1)
    heat_map_longest_side: int = Field(1024, ge=64, le=4096)
    created_at: datetime | None = None
