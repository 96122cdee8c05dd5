"""What holds for every test: no model hub, and no deadlines on a busy machine."""

import os

from hypothesis import settings

# Before anything imports huggingface_hub, which reads it once. A test marked `network` is run by
# hand, with the variable set to 0.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# A deadline measures the machine's other work as well.
settings.register_profile("headgate", deadline=None)
settings.load_profile("headgate")
