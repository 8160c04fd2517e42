"""The paper's analyses with their controls: pure functions from a tidy frame to frozen results."""
