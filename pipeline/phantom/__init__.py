"""Phantom exams: synthetic four-view mammograms as DICOM with labels and ground truth.

The phantoms stand in for a hospital archive where none may be shown: the demo and the tests run on them. They
are pictures with the statistics of mammograms, not a simulation of X-ray physics, and prove nothing clinical.
"""
