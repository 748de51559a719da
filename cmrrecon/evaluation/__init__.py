"""Scores by the exact rules of the challenges, tables of scores, and comparison figures."""
