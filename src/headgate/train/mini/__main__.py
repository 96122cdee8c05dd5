"""``python -m headgate.train.mini``."""

from headgate.train.mini.training import main

main()
