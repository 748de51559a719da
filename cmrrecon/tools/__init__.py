"""Shared helpers: errors, files, prefetching, devices, memory, configuration, provenance."""
