"""Phantom exams: synthetic four-view mammograms as DICOM with labels and ground truth.

The phantoms replace a hospital archive, which must not be published: the demo and the tests run on them. They are
pictures with the statistics of mammograms, not a simulation of X-ray physics. They prove nothing clinical.
"""
