"""What holds for every test: no model hub, and no deadlines on a busy machine."""

import os
import tempfile

from hypothesis import settings

# Before anything imports huggingface_hub, which reads it once. A test marked `network` is run by
# hand, with the variable set to 0.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Before anything imports torch. OpenMP's threads spin while they wait for one another; on a busy
# machine a forward pass of a tiny model then takes 500 ms instead of 8.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# What is measured of this machine or made of a model is kept for the run alone.
os.environ["HEADGATE_CACHE"] = tempfile.mkdtemp(prefix="headgate-tests-")

# A deadline measures the machine's other work as well.
settings.register_profile("headgate", deadline=None)
settings.load_profile("headgate")
