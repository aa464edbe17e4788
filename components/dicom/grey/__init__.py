"""From stored values to grey: unused bits, modality and VOI LUTs, windows."""
