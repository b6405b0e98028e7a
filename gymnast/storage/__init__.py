"""What is kept on disk: run folders, checkpoints, logs."""
