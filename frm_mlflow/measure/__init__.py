"""The controller: warm-up, interleaving with the baseline, stopping rule, estimators."""
