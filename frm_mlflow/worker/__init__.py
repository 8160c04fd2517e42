"""The program on the device: loads one model in one runtime, times it, and measures memory and energy.

It exchanges JSON lines on standard input and output (see the table in `docs/architecture.md`) and
imports only the standard library, numpy and the requested runtime, using relative
imports, so that the package can be copied on its own (`devices.archive`) to a Jetson or a
Raspberry Pi.
"""

PROTOCOL_VERSION = 2
