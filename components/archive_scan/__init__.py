"""The ArchiveScan node: looks the archive up where the pipeline runs, for runners that cannot before it starts.

The local runner knows spans, fingerprints and the key of the hashes before a run. A cluster's archive is in reach of
its pods alone, and open-source Kubeflow Pipelines v2 calls no driver of an ExampleGen, which would resolve ``{SPAN}``.
"""
