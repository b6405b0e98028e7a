"""Files on disk: run folders, checkpoints, logs."""
