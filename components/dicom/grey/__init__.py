"""Turn stored values into grey: unused bits, modality and VOI LUTs, and windows."""
