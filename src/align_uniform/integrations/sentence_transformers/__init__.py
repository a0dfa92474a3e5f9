"""A loss, a regulariser and an evaluator for sentence-transformers.

Each keeps the conventions of its place: the losses take a model, and `SentenceTransformerTrainer` calls them;
the evaluator returns numbers of which more is better. All of them divide embeddings by their norms, as the
cosine similarity does.
"""

from __future__ import annotations

from align_uniform.integrations.sentence_transformers.evaluator import AlignUniformEvaluator
from align_uniform.integrations.sentence_transformers.losses import AlignUniformLoss, UniformityRegularizer

__all__ = ["AlignUniformEvaluator", "AlignUniformLoss", "UniformityRegularizer"]
