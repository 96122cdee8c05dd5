"""Headgate's own endpoints: route, guard, ground, decide, and a guard for streams."""
