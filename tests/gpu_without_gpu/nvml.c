/* A stand-in for libnvidia-ml.so.1 under the real pynvml, for machines without a GPU.
 *
 *   FAKE_GPUS="NAME|MiB;NAME|MiB"   the cards, in PCI order
 *   FAKE_MIG="1g.10gb|9856,3g.40gb|40192"   MIG instances of card 0; "none": MIG is on without any; "denied": no rights
 *   FAKE_RC_<call>=N                a call returns NVML's error N: Init, Memory, UUID, Name, Processes, Energy, ...
 *   FAKE_DRIVER, FAKE_CUDA          driver version and the CUDA version that it supports (13000)
 *   FAKE_CAPABILITY="8.0", FAKE_COMPUTE_MODE=3, FAKE_USED_MIB=500, FAKE_CLOCK, FAKE_THROTTLE
 *   FAKE_PID, FAKE_PROC_MIB         the one process on the card (default: the caller); FAKE_PROCESSES: how many
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long long u64;
enum { OK = 0, UNSUPPORTED = 3, DENIED = 4, NOT_FOUND = 6, TOO_SMALL = 7 };
#define CARDS 16
#define SLICE 100 /* handles: 1 + card for a card, SLICE + k for card 0's k-th MIG instance */

static char names[CARDS][128], slices[CARDS][64];
static u64 mib[CARDS], slice_mib[CARDS];
static int cards = -1, n_slices;

static int number(const char *key, int otherwise) {
  const char *value = getenv(key);
  return value ? atoi(value) : otherwise;
}

static int fails(const char *call) {
  char key[80];
  snprintf(key, sizeof key, "FAKE_RC_%s", call);
  return number(key, OK);
}

static int split(const char *text, const char *separator, char out[][128], u64 *sizes) {
  char copy[4096], *rest = copy, *part;
  int n = 0;
  snprintf(copy, sizeof copy, "%s", text);
  while ((part = strsep(&rest, separator)) && n < CARDS) {
    char *bar = strchr(part, '|');
    if (!*part) continue;
    if (bar) *bar++ = 0;
    snprintf(out[n], 128, "%s", part);
    sizes[n++] = (bar ? strtoull(bar, 0, 10) : 81920ULL) << 20;
  }
  return n;
}

static const char *mig(void) { const char *value = getenv("FAKE_MIG"); return value ? value : ""; }

static void load(void) {
  char parts[CARDS][128];
  if (cards >= 0) return;
  cards = getenv("FAKE_GPUS") ? split(getenv("FAKE_GPUS"), ";", names, mib) : 0;
  if (*mig() && strcmp(mig(), "none") && strcmp(mig(), "denied")) {
    n_slices = split(mig(), ",", parts, slice_mib);
    for (int k = 0; k < n_slices; k++) snprintf(slices[k], 64, "%.63s", parts[k]);
  }
}

static long id(void *handle) { return (long)handle; }
static int is_slice(void *handle) { return id(handle) >= SLICE; }
static int card(void *handle) { return is_slice(handle) ? 0 : (int)id(handle) - 1; }

int nvmlInitWithFlags(unsigned flags) { (void)flags; load(); return fails("Init"); }
int nvmlInit_v2(void) { load(); return fails("Init"); }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) {
  static char text[64];
  snprintf(text, sizeof text, "fake NVML error %d", code);
  return text;
}

int nvmlSystemGetDriverVersion(char *out, unsigned size) {
  const char *value = getenv("FAKE_DRIVER");
  snprintf(out, size, "%s", value ? value : "580.95.05");
  return fails("Driver");
}
int nvmlSystemGetCudaDriverVersion_v2(int *out) { *out = number("FAKE_CUDA", 13000); return fails("Cuda"); }

int nvmlDeviceGetCount_v2(unsigned *out) { load(); *out = cards; return fails("Count"); }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **out) {
  char call[16];
  load();
  if ((int)index >= cards) return 2;
  snprintf(call, sizeof call, "Handle%u", index);
  *out = (void *)(long)(index + 1);
  return fails(call);
}
int nvmlDeviceGetUUID(void *handle, char *out, unsigned size) {
  if (is_slice(handle)) snprintf(out, size, "MIG-%08ld-aaaa-bbbb-cccc-dddddddddddd", id(handle) - SLICE);
  else snprintf(out, size, "GPU-%08d-aaaa-bbbb-cccc-dddddddddddd", card(handle));
  return fails("UUID");
}
int nvmlDeviceGetName(void *handle, char *out, unsigned size) {
  if (is_slice(handle)) snprintf(out, size, "%s MIG %s", names[0], slices[id(handle) - SLICE]);
  else snprintf(out, size, "%s", names[card(handle)]);
  return fails("Name");
}
int nvmlDeviceGetMemoryInfo(void *handle, u64 *out) {
  u64 used = (u64)number("FAKE_USED_MIB", 500) << 20;
  out[0] = is_slice(handle) ? slice_mib[id(handle) - SLICE] : mib[card(handle)];
  out[1] = out[0] - used;
  out[2] = used;
  return fails("Memory");
}

int nvmlDeviceGetMigMode(void *handle, unsigned *now, unsigned *pending) {
  if (is_slice(handle)) return UNSUPPORTED;
  *now = *pending = *mig() && card(handle) == 0;
  return fails("MigMode");
}
int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *out) { (void)handle; *out = 7; return fails("MigCount"); }
int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **out) {
  if (!strcmp(mig(), "denied")) return DENIED;
  if (card(handle) || (int)index >= n_slices) return NOT_FOUND;
  *out = (void *)(long)(SLICE + index);
  return OK;
}
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(void *handle, void **out) {
  if (!is_slice(handle)) return 2;
  *out = (void *)1L;
  return OK;
}

struct process { unsigned pid; u64 bytes; unsigned gpu_instance, compute_instance; };
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, struct process *out) {
  unsigned n = number("FAKE_PROCESSES", 1), room = *count;
  int code = fails("Processes");
  (void)handle;
  if (code) return code;
  *count = n;
  if (n == 0) return OK;
  if (!out || room < n) return TOO_SMALL;
  for (unsigned k = 0; k < n; k++) {
    struct process one = {k ? 1u : (unsigned)number("FAKE_PID", getpid()), (u64)number("FAKE_PROC_MIB", 612) << 20, ~0u, ~0u};
    out[k] = one;
  }
  return OK;
}

int nvmlDeviceGetTemperature(void *h, int sensor, unsigned *out) { (void)h; (void)sensor; *out = 41; return fails("Temp"); }
int nvmlDeviceGetClockInfo(void *h, int which, unsigned *out) { (void)h; (void)which; *out = number("FAKE_CLOCK", 1410); return fails("Clock"); }
int nvmlDeviceGetPowerUsage(void *h, unsigned *out) { (void)h; *out = 52000; return fails("Power"); }
int nvmlDeviceGetEnforcedPowerLimit(void *h, unsigned *out) { (void)h; *out = 400000; return fails("PowerLimit"); }
int nvmlDeviceGetPersistenceMode(void *h, int *out) { (void)h; *out = 1; return fails("Persistence"); }
int nvmlDeviceGetComputeMode(void *h, int *out) { (void)h; *out = number("FAKE_COMPUTE_MODE", 0); return fails("ComputeMode"); }
int nvmlDeviceGetCurrentClocksThrottleReasons(void *h, u64 *out) { (void)h; *out = number("FAKE_THROTTLE", 1); return fails("Throttle"); }
int nvmlDeviceGetCurrentClocksEventReasons(void *h, u64 *out) { return nvmlDeviceGetCurrentClocksThrottleReasons(h, out); }
int nvmlDeviceGetTotalEnergyConsumption(void *h, u64 *out) {
  static u64 millijoules = 0;
  (void)h;
  *out = millijoules += 5000;
  return fails("Energy");
}
int nvmlDeviceGetCudaComputeCapability(void *h, int *major, int *minor) {
  const char *value = getenv("FAKE_CAPABILITY");
  (void)h;
  sscanf(value ? value : "8.0", "%d.%d", major, minor);
  return fails("Capability");
}
