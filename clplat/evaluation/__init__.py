"""What is measured: retrieval, continual scores from R, compatibility from C, zero-shot probes."""

from clplat.evaluation.compatibility import (
    average_compatibility,
    average_matrix,
    compatibility_scores,
    flip_rates,
    update_gain,
)
from clplat.evaluation.continual import continual_scores, score_rows, zs_drop, zs_retention
from clplat.evaluation.probes import classification_accuracy, image_text_recall
from clplat.evaluation.retrieval import (
    average_precision_at_k,
    per_query_metrics,
    rank_of_targets,
    recall_at_k,
    retrieval_metrics,
    target_rows,
    top_k,
)

__all__ = [
    "average_compatibility",
    "average_matrix",
    "average_precision_at_k",
    "classification_accuracy",
    "compatibility_scores",
    "continual_scores",
    "flip_rates",
    "image_text_recall",
    "per_query_metrics",
    "rank_of_targets",
    "recall_at_k",
    "retrieval_metrics",
    "score_rows",
    "target_rows",
    "top_k",
    "update_gain",
    "zs_drop",
    "zs_retention",
]
