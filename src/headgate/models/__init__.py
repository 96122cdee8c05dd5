"""The torch modules that transformers does not have."""
