"""The DicomExampleGen node: turns the images of an archive into tf.Examples, or rejects them with a typed reason."""

from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.identity import find_key
from components.dicom_example_gen.rejection_summary import rejection_warnings

__all__ = ["IngestConfig", "find_key", "rejection_warnings"]
