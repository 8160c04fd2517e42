"""Hooks for other programs: MLflow's evaluators and autologging, Lightning's and Transformers' callbacks.

They are a layer above `sweep`, and are called by MLflow and by training loops, never by the rest of
frm-mlflow. Each imports its framework only when it is used.
"""
