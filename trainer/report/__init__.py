"""From finished runs to pages for people: what a run was made of, what it learnt, and how runs compare.

Reads what the trainer wrote; trains nothing and changes no number.
"""
