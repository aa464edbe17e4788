"""DICOM objects for a grade or a refusal: a Comprehensive SR, and heat maps as Secondary Captures."""

from serving.dicom_results.build import build_refusal, build_results, write_results
from serving.dicom_results.config import ResultsConfig
from serving.dicom_results.source import ResultsError, by_view
from serving.dicom_results.supersede import supersede

__all__ = ["ResultsConfig", "ResultsError", "build_refusal", "build_results", "by_view", "supersede", "write_results"]
