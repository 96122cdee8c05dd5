"""Training of the models that headgate ships (needs the extra ``train``)."""
