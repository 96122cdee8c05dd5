"""Text to token ids, rows to batches, batches through a model."""
