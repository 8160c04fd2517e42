"""The program on the device: loads one model in one runtime, times it, meters memory and energy.

It speaks JSON lines on standard input and output (`docs/architecture.md` has the table) and
imports only the standard library, numpy and the one runtime that it was asked for, by relative
imports, so that the package can be shipped alone (`devices.archive`) to a Jetson or a
Raspberry Pi.
"""

PROTOCOL_VERSION = 2
