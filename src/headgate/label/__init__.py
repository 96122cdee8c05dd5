"""Label whole corpora: routes, verdicts and relevance as columns of Parquet files and JSON lines.

:func:`label` is the pure step, from a batch of rows to the same with more columns; :func:`begun` and :class:`Labeller`
do it to files, part by part, so that a run that was killed goes on. Who brings another way to run parts names a
:class:`Runner` as an entry point of the group ``headgate.label``.
"""

from headgate.label.arrow import labelled_table
from headgate.label.batch import OnError, added, label
from headgate.label.columns import Added, BadRowError, Columns, Reads, Stage, Task, Values
from headgate.label.job import Job, Labeller, Settings, begun
from headgate.label.parts import PART_ROWS, Part, cut, runs
from headgate.label.running import Here, Runner, in_turn, runner
from headgate.label.stages import stage

__all__ = [
    "PART_ROWS",
    "Added",
    "BadRowError",
    "Columns",
    "Here",
    "Job",
    "Labeller",
    "OnError",
    "Part",
    "Reads",
    "Runner",
    "Settings",
    "Stage",
    "Task",
    "Values",
    "added",
    "begun",
    "cut",
    "in_turn",
    "label",
    "labelled_table",
    "runner",
    "runs",
    "stage",
]
