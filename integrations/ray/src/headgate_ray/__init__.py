"""headgate on Ray: label datasets and corpora with Ray Data, serve with Ray Serve. Importing it imports no Ray."""

from headgate_ray._ray import MissingRayError
from headgate_ray.data import Actors, guard, label, rerank, route
from headgate_ray.deployments import Replicas, application
from headgate_ray.runner import label_files

__all__ = [
    "Actors",
    "MissingRayError",
    "Replicas",
    "application",
    "guard",
    "label",
    "label_files",
    "rerank",
    "route",
]
