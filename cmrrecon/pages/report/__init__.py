"""The report on a folder of reconstructions: one HTML file, with CSV and JSON beside it."""
