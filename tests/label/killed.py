"""Labels a corpus, and kills itself at the n-th moment that matters: ``python -m tests.label.killed IN OUT N``."""

import os
import signal
import sys
from pathlib import Path

from tests.label.corpora import labelled

left = int(sys.argv[3])
replace, fsync = Path.replace, os.fsync


def moment():
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)


def killing_fsync(file):
    moment()  # written, and perhaps not on the disk
    fsync(file)


def killing_replace(self, target):
    moment()  # on the disk, and not under its name
    replace(self, target)
    moment()  # there


os.fsync = killing_fsync
Path.replace = killing_replace
labelled([sys.argv[1]], sys.argv[2])
