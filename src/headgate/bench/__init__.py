"""What this machine makes of a model, beside other libraries: ``headgate bench`` and ``benchmarks/`` run on it.

Everybody gets the same folder, the same texts and the same process, in turns, so that a ratio means something on a
machine that has other work too.
"""
