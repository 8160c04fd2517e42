"""Hooks of other programs: MLflow's evaluators and autologging, Lightning's and Transformers' callbacks.

They stand above the stages and are called by MLflow and by training loops, never by the rest of
frm-mlflow. Each imports its framework when it is used, not before.
"""
