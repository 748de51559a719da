"""Scores by the exact rules of the challenges, tables of them, and figures to look at."""
