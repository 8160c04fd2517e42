"""Hardware detection, and the transports that start workers on a device."""

from frm_mlflow.devices.adb_connection import phones
from frm_mlflow.devices.environment import conditions, environment
from frm_mlflow.devices.hardware import Gpu, Hardware, probe
from frm_mlflow.devices.host import Host, LocalHost, WorkerHost, opened, with_workers
from frm_mlflow.devices.phone import Phone
from frm_mlflow.devices.resolve import Device, known_devices, resolve

__all__ = [
    "Device",
    "Gpu",
    "Hardware",
    "Host",
    "LocalHost",
    "Phone",
    "WorkerHost",
    "conditions",
    "environment",
    "known_devices",
    "opened",
    "phones",
    "probe",
    "resolve",
    "with_workers",
]
