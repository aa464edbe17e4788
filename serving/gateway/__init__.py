"""The gateway: receives mammograms by DICOM or DICOMweb, grades them on a model server, sends results to a PACS."""
