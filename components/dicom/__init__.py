"""One mammography file to one view: the only place that reads DICOM. A library: no TFX, no Beam."""
