"""Read one mammography file as one view: a library that needs neither TFX nor Beam, and the only reader of DICOM."""
