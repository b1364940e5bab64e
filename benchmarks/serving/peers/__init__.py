"""The same classifier behind other frameworks, each as its own people would write it.

They run in an environment of their own (`make .venv-peers/.installed`) and import nothing of ours but `classifier`.
"""
