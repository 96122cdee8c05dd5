"""How ``mini``, the embedded default model, is made: ``python -m headgate.train.mini --help``."""
