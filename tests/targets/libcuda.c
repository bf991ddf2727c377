/* SPDX-License-Identifier: Apache-2.0
 * As much of NVIDIA's driver as evit_deploy.targets.driver asks, answering from the environment. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long long number(const char *name) {
    const char *text = getenv(name);
    return text ? atoll(text) : 0;
}

int cuInit(unsigned flags) { return (int)number("FAKE_CUDA_INIT"); }
int cuDriverGetVersion(int *version) { *version = (int)number("FAKE_CUDA_VERSION"); return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return index ? 101 : 0; }

int cuDeviceGetName(char *name, int size, int device) {
    snprintf(name, (size_t)size, "%s", getenv("FAKE_CUDA_NAME") ? getenv("FAKE_CUDA_NAME") : "");
    return 0;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)number("FAKE_CUDA_MEMORY"); return 0; }

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    switch (attribute) {
    case 13: *value = (int)number("FAKE_CUDA_CLOCK"); return 0;
    case 16: *value = (int)number("FAKE_CUDA_SMS"); return 0;
    case 18: *value = (int)number("FAKE_CUDA_INTEGRATED"); return 0;
    case 75: *value = (int)number("FAKE_CUDA_CC") / 10; return 0;
    case 76: *value = (int)number("FAKE_CUDA_CC") % 10; return 0;
    default: return 1;
    }
}

static int held, current;
int cuDevicePrimaryCtxRetain(void **context, int device) { held++; *context = &held; return 0; }
int cuDevicePrimaryCtxRelease_v2(int device) { return --held ? 1 : 0; }
int cuCtxPushCurrent_v2(void *context) { current++; return context == (void *)&held ? 0 : 1; }
int cuCtxPopCurrent_v2(void **context) { current--; return 0; }

int cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
    if (current != 1) return 201; /* CUDA_ERROR_INVALID_CONTEXT */
    *free_bytes = (size_t)number("FAKE_CUDA_FREE");
    *total = (size_t)number("FAKE_CUDA_MEMORY");
    return 0;
}
