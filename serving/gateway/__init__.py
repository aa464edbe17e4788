"""The gateway in front of a model server: mammograms in by DICOM or DICOMweb, graded, results on to a PACS."""
