"""Training of the small network with which MammogramPreprocessor finds the pectoral muscle.

    python -m pipeline.segmenter --masks DIR --films DIR --out DIR

It is run by hand when the network changes; no run of the pipeline trains it.
"""
