"""Connects the other packages: each module runs one command's stages, from validated settings to logged results.

Only this package imports all the others. They do not import each other.
"""
