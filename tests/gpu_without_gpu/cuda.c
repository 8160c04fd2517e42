/* A stand-in for libcuda.so.1 on a machine without a GPU: it starts, and reports CUDA's own "no device". */
int cuInit(unsigned flags) { (void)flags; return 100; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuGetErrorString(int code, const char **text) { (void)code; *text = "no CUDA-capable device is detected"; return 0; }
int cuGetErrorName(int code, const char **text) { (void)code; *text = "CUDA_ERROR_NO_DEVICE"; return 0; }
int cuTensorMapEncodeTiled(void) { return 100; }
