"""Ingest: files and labels of an archive become one tf.Example an image, or a typed rejection."""

from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.identity import find_key
from components.dicom_example_gen.rejection_summary import losses

__all__ = ["IngestConfig", "find_key", "losses"]
