"""Measuring scorers, rerankers, routers and guards on labelled rows (needs the extra ``evaluate``)."""
