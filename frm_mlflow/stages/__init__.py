"""The joints: each module runs one command's stages, from checked settings to logged results.

Only this package sees all the others; they do not see each other.
"""
