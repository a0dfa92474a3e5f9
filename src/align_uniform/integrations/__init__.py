"""Losses, regularisers, evaluators and callbacks for the tools that others train with.

Each module has the name of its tool, and imports no other tool: `sentence_transformers`, `transformers`,
`lightning` (the package pytorch-lightning), `metric_learning` (pytorch-metric-learning) and `sklearn`. The
extra that installs a tool has the same name. `online` is shared by all that train.
"""
