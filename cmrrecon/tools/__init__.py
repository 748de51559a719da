"""What every room may use: errors, atomic files, prefetching, devices and memory, configuration, provenance."""
